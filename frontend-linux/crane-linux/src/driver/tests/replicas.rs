//! Tests of a group that serves, and loses its primary or a server.

use super::*;

#[test]
fn a_clients_bytes_reach_every_server_and_its_reply_only_the_client() {
    let (mut group, entry, _) = Group::with_backups();
    group.say(entry, &RingRecord { kind: output::LISTEN, numbers: [80, 0, 0], bytes: &[0; 16] });
    group.run(10);
    assert_eq!(group.drivers[entry].host().ports, [80]);
    group.input(entry, DriverInput::Client(9, connected()));
    group.input(entry, DriverInput::Client(9, ClientInput::Sent(b"question".to_vec())));
    group.run(100);
    for place in 0..3 {
        assert_eq!(group.sent(place), b"question", "replica {place}");
        assert_eq!(group.script(place), group.script(0), "replica {place}");
    }
    for place in 0..3 {
        let numbers = [1, 1, 0];
        let kind = output::DATA;
        group.say(place, &RingRecord { kind, numbers, bytes: b"answer" });
        let reply = group.drivers[place].host().replies.get(&9).cloned();
        assert_eq!(reply.is_some(), place == entry, "replica {place}");
    }
}

#[test]
fn another_primary_takes_over_with_nothing_committed_lost() {
    let mut group = Group::new();
    group.run(1000);
    let first = group.primary();
    let entry = (first + 1) % 3;
    group.input(entry, DriverInput::Client(1, connected()));
    group.input(entry, DriverInput::Client(1, ClientInput::Sent(b"before ".to_vec())));
    group.run(100);
    group.cut_off(first);
    group.input(entry, DriverInput::Client(1, ClientInput::Sent(b"after".to_vec())));
    group.run(2000);
    assert_ne!(group.primary(), first);
    for place in (0..3).filter(|place| *place != first) {
        assert_eq!(group.sent(place), b"before after", "replica {place}");
    }
    assert_eq!(group.sent(first), b"before ");
}

#[test]
fn a_server_that_died_alone_is_fed_again_from_the_disk() {
    let (mut group, place, _) = Group::with_backups();
    group.input(place, DriverInput::Client(1, connected()));
    // The log grows beyond what it keeps in memory.
    for _ in 0..200 {
        group.input(place, DriverInput::Client(1, ClientInput::Sent(vec![5; 4000])));
        group.run(2);
    }
    group.run(200);
    let before = group.script(place);
    assert_eq!(group.sent(place).len(), 200 * 4000);
    assert_eq!(group.drivers[place].host().fetches, 0);

    let run = group.drivers[place].host().scripts.len() as u64;
    let (ending, trouble) = (Ending::Killed(11), String::new());
    let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason: None };
    let metas = group.drivers[place].host().metas;
    group.input(place, DriverInput::Server(run, ServerChange::Ended(end)));
    group.run(3000);
    assert_eq!(group.drivers[place].host().scripts.len(), run as usize + 1);
    let after = group.script(place);
    assert_eq!(after[..before.len()], before[..]);
    let host = group.drivers[place].host();
    assert!(host.fetches > 0);
    // Its clients were reset, after the generation of the next clients was stored.
    assert_eq!((host.resets.as_slice(), host.metas), (&[1][..], metas + 1));
    let generation = group.drivers[place].clients.generation();
    assert!(generation > Generation(1));
    // The next client is the first of its generation, whatever key the host gives it.
    group.input(place, DriverInput::Client(2, connected()));
    group.run(100);
    assert_eq!(
        group.connects(place).last(),
        Some(&ConnId { entry: node(place), generation, number: 1 })
    );
}

#[test]
fn a_program_that_the_library_refuses_ends_the_replica_and_is_not_built_again() {
    let mut group = Group::new();
    group.run(1000);
    let (moment, driver) = (group.moment(), &mut group.drivers[0]);
    let run = driver.host().scripts.len() as u64;
    let ending = Ending::Killed(libc::SIGKILL);
    let trouble = "a child serves".to_string();
    let end =
        ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason: Some(EndReason::Unfit) };
    driver.handle(moment, DriverInput::Server(run, ServerChange::Ended(end)));
    let stop = driver.stop().expect("the replica ends");
    assert_eq!(stop.status, 1);
    assert!(stop.why.ends_with("cannot run replicated: a child serves"), "{}", stop.why);
}

fn end_program(group: &mut Group, place: usize) {
    let run = group.drivers[place].host().scripts.len() as u64;
    let (ending, trouble) = (Ending::Exited(0), String::new());
    let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason: None };
    group.input(place, DriverInput::Server(run, ServerChange::Ended(end)));
}

/// The primary sends nothing to a node that the log has removed, so the members do.
#[test]
fn a_replica_that_did_not_hear_of_its_removal_is_informed_and_leaves() {
    let mut group = Group::new();
    group.run(1000);
    let (primary, removed) = (group.primary(), (group.primary() + 1) % 3);
    group.may_stop = vec![removed];
    group.drivers[primary].order_remove(node(removed).number(), false).ok().expect("an order");
    // It hears nothing, while no link is lost, until the others have gone on.
    group.cut_off = vec![removed];
    group.run(100);
    group.input(primary, DriverInput::Client(1, connected()));
    group.run(1000);
    assert!(group.drivers[primary].roster().get(node(removed)).is_none());
    group.queues[removed].borrow_mut().clear();
    group.cut_off.clear();
    group.run(5000);
    let stop = group.drivers[removed].stop().expect("the replica has left");
    assert_eq!(stop.status, 0);
    assert!(stop.why.contains("has been removed from the group"), "{}", stop.why);
}

/// A second order for the same address finds the first one undecided.
#[test]
fn an_address_that_is_added_twice_has_one_number() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let add = |group: &mut Group| members::outcome(group.drivers[primary].order_add("d:1", false));
    assert_eq!(add(&mut group)["id"], 4);
    let busy = add(&mut group);
    assert_eq!(busy["retry"], true, "{busy}");
    group.run(1000);
    assert_eq!(add(&mut group)["id"], 4);
    let members = group.drivers[primary].node.members();
    assert_eq!(members.learners.iter().map(|node| node.number()).collect::<Vec<_>>(), [4]);
}

/// The order comes again when the first one is decided, and its entries were not read yet.
#[test]
fn an_address_whose_member_was_not_read_gets_no_second_number() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let roster = group.drivers[primary].roster();
    let add = |group: &mut Group| members::outcome(group.drivers[primary].order_add("d:1", false));
    assert_eq!(add(&mut group)["id"], 4);
    group.run(1000);
    let driver = &mut group.drivers[primary];
    driver.hello.roster = roster;
    driver.script.observed = Slot(driver.script.observed.0 - 2);
    let busy = add(&mut group);
    assert_eq!(busy["retry"], true, "{busy}");
}

#[test]
fn replicas_stay_for_the_last_server_to_end_but_not_for_ever() {
    for slow in [true, false] {
        let mut group = Group::new();
        group.run(1000);
        end_program(&mut group, 0);
        end_program(&mut group, 1);
        group.run(2000);
        assert!(group.drivers.iter().all(|driver| driver.stop().is_none()));
        group.may_stop = vec![0, 1, 2];
        if slow {
            group.run(2000);
            assert!(group.drivers[2].stop().is_none());
        } else {
            end_program(&mut group, 2);
            group.run(10);
            assert_eq!(group.drivers[2].stop().map(|stop| stop.status), Some(1));
        }
        for place in [0, 1] {
            let stop = group.drivers[place].stop().expect("the replica has left");
            let why = "on 2 of 3 replicas, before it listened";
            assert_eq!(stop.why.contains(why), slow, "{}", stop.why);
        }
    }
}

#[test]
fn a_server_whose_disk_is_full_is_built_again_when_there_is_room() {
    let (mut group, place, _) = Group::with_backups();
    let measured = |free| Some(DiskRoom { free, size: 1600 });
    for (times, too_little) in [(1, 99), (2, 199)] {
        group.drivers[place].host().room = measured(too_little);
        let run = group.drivers[place].host().scripts.len() as u64;
        let (ending, trouble) = (Ending::Killed(libc::SIGKILL), "write of /x finds no room".into());
        let end_reason = Some(EndReason::DiskFull);
        let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason };
        group.input(place, DriverInput::Server(run, ServerChange::Ended(end)));
        group.run(5000);
        let driver = &mut group.drivers[place];
        assert_eq!(driver.host().scripts.len(), run as usize);
        let texts = driver.watch.texts(true);
        assert!(texts[0].contains("write of /x finds no room; make room on the disk"), "{texts:?}");
        // The others have heard of it.
        assert!(matches!(
            group.drivers[(place + 1) % 3].reports[place],
            ServerReport::Ended { .. }
        ));

        group.drivers[place].host().room = measured(100 * times);
        group.run(5000);
        let driver = &mut group.drivers[place];
        assert_eq!(driver.host().scripts.len(), run as usize + 1);
        assert!(driver.watch.texts(true).is_empty());
    }
}

#[test]
fn a_server_for_which_its_host_has_failed_is_built_again_after_longer_and_longer() {
    let (mut group, place, _) = Group::with_backups();
    for (times, milliseconds) in [(1, 1000), (2, 2000), (3, 4000)] {
        let run = group.drivers[place].host().scripts.len();
        let (ending, trouble) = (Ending::Killed(libc::SIGKILL), "read of /x: EIO".into());
        let end_reason = Some(EndReason::HostFault);
        let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason };
        group.input(place, DriverInput::Server(run as u64, ServerChange::Ended(end)));
        group.run(milliseconds * 9 / 10);
        let driver = &mut group.drivers[place];
        assert_eq!(driver.host().scripts.len(), run, "the {times}th time");
        let texts = driver.watch.texts(true);
        assert!(texts[0].contains("an error of this host") && texts[0].contains("read of /x: EIO"));
        group.run(1000);
        let driver = &mut group.drivers[place];
        assert_eq!(driver.host().scripts.len(), run + 1, "the {times}th time");
    }
    group.run(5000);
    assert!(group.drivers[place].watch.texts(true).is_empty());
}

#[test]
fn full_files_in_memory_are_faults_of_their_own_while_they_are_full() {
    let mut group = Group::new();
    group.run(1000);
    for full in [&["dev/shm"][..], &["run", "dev/shm"], &["run"], &[]] {
        let seen = SeenCell { full: full.to_vec(), ..SeenCell::default() };
        group.input(0, DriverInput::CellSeen(1, seen));
        // Before the host looks again.
        group.run(1);
        let texts = group.drivers[0].watch.texts(true);
        let named =
            |name: &str| texts.iter().any(|text| text.contains(&format!("server's /{name} ")));
        assert_eq!(texts.len(), full.len(), "{texts:?}");
        assert!(full.iter().all(|name| named(name)), "{texts:?}");
    }
}

#[test]
fn a_full_disk_is_a_fault_while_it_is_full() {
    let mut group = Group::new();
    group.run(1000);
    for (free, faults) in [(3, 1), (4, 0), (0, 1), (1000, 0)] {
        group.drivers[0].host().room = Some(DiskRoom { free, size: 1024 });
        group.run(4000);
        let texts = group.drivers[0].watch.texts(true);
        assert_eq!(texts.len(), faults, "{free} bytes are free: {texts:?}");
    }
    // A server that SIGBUS ends may have found no room, and waits for it.
    for (free, runs) in [(63, 1), (64, 2)] {
        let (ending, trouble) = (Ending::Killed(libc::SIGBUS), String::new());
        let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, end_reason: None };
        group.drivers[0].host().room = Some(DiskRoom { free, size: 1024 });
        group.input(0, DriverInput::Server(1, ServerChange::Ended(end)));
        group.run(4000);
        let driver = &mut group.drivers[0];
        assert_eq!((driver.host().scripts.len(), driver.watch.texts(true).len()), (runs, 2 - runs));
    }
    // A disk that does not tell its size has room.
    group.drivers[0].host().room = Some(DiskRoom { free: 0, size: 0 });
    group.run(4000);
    assert!(group.drivers[0].watch.texts(true).is_empty());
}

#[test]
fn a_generation_begins_when_it_is_kept_and_not_an_older_one() {
    let mut group = Group::new();
    group.run(1000);
    let (moment, driver) = (group.moment(), &mut group.drivers[0]);
    let before = driver.clients.generation();
    driver.begin_generation();
    let next = Generation(driver.meta.generation);
    driver.handle(moment, DriverInput::MetaKept(before));
    assert!(!driver.has_room_for_clients() && driver.clients.generation() == before);
    driver.handle(moment, DriverInput::MetaKept(next));
    assert!(driver.has_room_for_clients() && driver.clients.generation() == next);
}

/// A server at both families of addresses is healthy where clients have one of them alone.
#[test]
fn a_listener_that_no_client_reaches_is_a_note_until_it_closes() {
    let mut group = Group::new();
    group.run(1000);
    let driver = &mut group.drivers[0];
    let at = |port| ServerListener { at: Endpoint::from_ipv4([0; 4], port), v6only: false };
    driver.host().unreached = 7001;
    for port in [7001, 7002] {
        driver.on_listen(at(port), PathBuf::new());
    }
    assert_eq!(driver.watch.texts(false), ["no client reaches it"]);
    assert_eq!((driver.watch.texts(true).len(), &driver.last_error), (0, &None));
    driver.on_unlisten(at(7001));
    assert!(driver.watch.texts(false).is_empty());
}
