//! Tests of restarts: by order, and after crashes of the program.

use super::memory::{POISON, base_of};
use super::*;
use crate::checkpoint::store::Checkpoint;
use crane_core::wire::Genesis;

/// Starts a group whose servers listen, with one client at each replica that has sent `first`.
fn serving() -> Group {
    let mut group = Group::new();
    group.run(1000);
    listen(&mut group);
    for place in 0..3 {
        group.input(place, DriverInput::Client(1, connected()));
    }
    send(&mut group, 0, b"first ");
    group
}

fn listen(group: &mut Group) {
    for place in (0..3).filter(|place| !group.cut_off.contains(place)).collect::<Vec<_>>() {
        let record = RingRecord { kind: output::LISTEN, numbers: [80, 0, 0], bytes: &[0; 16] };
        group.say(place, &record);
    }
    group.run(10);
}

fn send(group: &mut Group, place: usize, bytes: &[u8]) {
    group.input(place, DriverInput::Client(1, ClientInput::Sent(bytes.to_vec())));
    group.run(100);
}

/// Connects a new client, by the key 1, at a replica, and sends bytes.
fn send_anew(group: &mut Group, place: usize, bytes: &[u8]) {
    group.input(place, DriverInput::Client(1, connected()));
    send(group, place, bytes);
}

fn order(group: &mut Group) {
    let primary = group.primary();
    group.drivers[primary].order_restart().ok().expect("an order");
    group.run(500);
}

fn runs(group: &mut Group, place: usize) -> Vec<u32> {
    group.drivers[place].host().incarnations.iter().map(|incarnation| incarnation.0).collect()
}

fn files(group: &mut Group, place: usize) -> Vec<u8> {
    group.drivers[place].host().files.last().expect("it runs").clone()
}

/// Requires that all servers have received the same script, and have the same files.
fn require_equal(group: &mut Group) {
    for place in (1..3).filter(|place| !group.cut_off.contains(place)).collect::<Vec<_>>() {
        assert_eq!(group.script(place), group.script(0), "replica {place}");
        assert_eq!(files(group, place), files(group, 0), "replica {place}");
    }
}

#[test]
fn a_restart_by_order_keeps_files_and_ends_connections_on_all_replicas() {
    let mut group = serving();
    let before = group.script(0);
    order(&mut group);
    for place in 0..3 {
        assert_eq!(runs(&mut group, place), [1, 2], "replica {place}");
        assert_eq!(group.drivers[place].host().resets, [1], "replica {place}");
        assert!(group.drivers[place].host().ports.is_empty(), "it announces them again");
        // Of a connection that has ended.
        send(&mut group, place, b"late ");
    }
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    require_equal(&mut group);
    assert_eq!(files(&mut group, 2), b"first second ");
    let (slot, kind, payload) = group.script(0)[0].clone();
    assert_eq!((slot > before[before.len() - 2].0, kind), (true, script::GENESIS));
    let (old, new) = (Genesis::decode(&before[0].2).unwrap(), Genesis::decode(&payload).unwrap());
    assert!(new.timestamp > old.timestamp);
    assert_eq!(Genesis { timestamp: 0, ..old }, Genesis { timestamp: 0, ..new });
    assert_eq!(group.drivers[0].shown_incarnation(), Incarnation(2));
    // A second order begins a third incarnation.
    order(&mut group);
    assert_eq!(runs(&mut group, 0), [1, 2, 3]);
    require_equal(&mut group);
}

#[test]
fn a_crash_on_all_replicas_is_followed_by_a_restart_without_the_request() {
    let mut group = serving();
    send(&mut group, 0, POISON);
    group.run(500);
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    require_equal(&mut group);
    assert_eq!(files(&mut group, 0), b"first second ");
    for place in 0..3 {
        assert_eq!(runs(&mut group, place), [1, 2], "replica {place}");
        assert!(!group.sent(place).windows(6).any(|part| part == POISON), "replica {place}");
        assert_eq!(group.drivers[place].watch.texts(true), Vec::<&str>::new());
    }
    // The primary proposes it once, and servers compare their marks behind it.
    let primary = group.primary();
    assert_eq!(group.drivers[primary].script.restarts.len(), 1);
    group.run(3000);
    let behind = group.drivers[primary].script.restarts[0].slot;
    assert!(group.drivers[primary].divergence.agreed > behind);
}

#[test]
fn a_crash_of_one_server_alone_is_no_restart() {
    let mut group = serving();
    let place = (group.primary() + 1) % 3;
    group.end_server(place, 5, 11);
    group.run(3000);
    assert_eq!(runs(&mut group, place), [1, 1]);
    assert_eq!(group.drivers[0].script.restarts, []);
    require_equal(&mut group);
}

#[test]
fn the_third_crash_within_a_minute_stops_the_group_and_a_later_one_does_not() {
    for pause in [100, 31_000] {
        let mut group = serving();
        for _ in 0..2 {
            send(&mut group, 0, POISON);
            group.run(500);
            listen(&mut group);
            group.run(pause);
            group.input(0, DriverInput::Client(1, connected()));
        }
        group.may_stop = vec![0, 1, 2];
        send(&mut group, 0, POISON);
        group.run(3000);
        if pause > 1000 {
            assert_eq!(runs(&mut group, 0), [1, 2, 3, 4]);
            require_equal(&mut group);
            continue;
        }
        for place in 0..3 {
            let stop = group.drivers[place].stop().expect("it has stopped");
            let why = "has crashed 3 times within a minute";
            assert!(stop.status == 1 && stop.why.contains(why), "{}", stop.why);
            // Those that are started again find it in the log, and continue behind it.
            assert_eq!(group.drivers[place].script.restarts.len(), 3);
        }
    }
}

#[test]
fn a_server_that_is_built_again_passes_through_all_incarnations() {
    let mut group = serving();
    send(&mut group, 0, POISON);
    group.run(500);
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    order(&mut group);
    listen(&mut group);
    send_anew(&mut group, 2, b"third ");
    let place = (group.primary() + 1) % 3;
    // Its host kills the server, in the third incarnation, and has lost the files behind it.
    group.drivers[place].checkpoint.usable.clear();
    group.end_server(place, 5, libc::SIGKILL);
    group.run(3000);
    assert_eq!(runs(&mut group, place), [1, 2, 3, 1, 2, 3]);
    require_equal(&mut group);
    assert_eq!(files(&mut group, place), b"first second third ");
}

#[test]
fn a_replica_that_lags_ends_its_incarnations_where_the_others_did() {
    let mut group = Group::new();
    group.drivers[2].host().starts_late = true;
    group.run(1000);
    listen(&mut group);
    send_anew(&mut group, 0, b"first ");
    order(&mut group);
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    order(&mut group);
    listen(&mut group);
    send_anew(&mut group, 0, b"third ");
    assert_eq!(runs(&mut group, 2), [1]);
    assert_eq!(group.drivers[2].script.restarts.len(), 2, "it observes ahead");
    group.drivers[2].host().starts_late = false;
    group.input(2, DriverInput::Server(1, ServerChange::Ready));
    group.run(3000);
    assert_eq!(runs(&mut group, 2), [1, 2, 3]);
    require_equal(&mut group);
    assert_eq!(files(&mut group, 2), b"first second third ");
}

#[test]
fn a_server_that_does_not_crash_where_a_quorum_did_is_built_again_once() {
    let mut group = serving();
    // Its first two runs do not crash.
    group.drivers[2].host().immune = vec![1, 2];
    group.may_stop = vec![2];
    send(&mut group, 0, POISON);
    group.run(3000);
    let stop = group.drivers[2].stop().expect("it stops").clone();
    assert!(stop.status == 1 && stop.why.contains("did not crash"), "{}", stop.why);
    assert_eq!(runs(&mut group, 2), [1, 1], "it is built from the base in between");
    assert_eq!(runs(&mut group, 0), [1, 2], "the others continue");
}

/// The order is committed while the crash is on its way: no server reaches it.
#[test]
fn a_crash_before_an_ordered_restart_skips_its_incarnation() {
    let mut group = serving();
    let primary = group.primary();
    group.input(primary, DriverInput::Client(1, ClientInput::Sent(POISON.to_vec())));
    group.run(1);
    group.drivers[primary].order_restart().ok().expect("an order");
    group.run(1000);
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    for place in 0..3 {
        assert_eq!(runs(&mut group, place), [1, 3], "replica {place}");
    }
    require_equal(&mut group);
    assert_eq!(files(&mut group, 0), b"first second ");
}

#[test]
fn restarts_are_ordered_at_the_primary_one_at_a_time() {
    let mut group = serving();
    let primary = group.primary();
    let other = (primary + 1) % 3;
    assert!(group.drivers[other].order_restart().is_err());
    for _ in 0..3 {
        group.drivers[primary].order_restart().ok().expect("an order");
    }
    group.run(1000);
    assert_eq!(runs(&mut group, other), [1, 2]);
}

/// Has all replicas look at a program, and the primary propose it.
fn upgrade(group: &mut Group, words: &[String], base: [u8; 32]) -> bool {
    for place in 0..3 {
        group.drivers[place].order_look(words.to_vec()).ok().expect("an order");
    }
    group.run(10);
    let primary = group.primary();
    let ordered = group.drivers[primary].order_upgrade(words, base).is_ok();
    group.run(500);
    ordered
}

#[test]
fn an_upgrade_keeps_the_files_as_a_checkpoint_from_which_later_runs_start() {
    let mut group = serving();
    let words = ["server".to_string(), "--new".to_string()];
    let base = base_of(&words).digest();
    assert!(!upgrade(&mut group, &words, [9; 32]), "another base than the one that was found");
    assert_eq!(runs(&mut group, 0), [1]);
    assert!(upgrade(&mut group, &words, base));
    let slot = group.drivers[0].script.restarts[0].slot;
    for place in 0..3 {
        let driver = &mut group.drivers[place];
        assert_eq!(driver.meta.program_since(), Incarnation(2), "replica {place}");
        assert_eq!(driver.hello.program_since, Incarnation(2));
        assert_eq!(driver.hello.base.digest(), base);
        assert_eq!(driver.host().programs, [words.to_vec()]);
        assert_eq!(runs(&mut group, place), [1, 2]);
    }
    listen(&mut group);
    send_anew(&mut group, 1, b"second ");
    require_equal(&mut group);

    // A server that died alone starts behind the upgrade: the program before is gone.
    let place = (group.primary() + 1) % 3;
    group.end_server(place, 5, libc::SIGKILL);
    group.run(3000);
    assert_eq!(group.drivers[place].host().started_from, [None, None, Some(slot)]);
    assert_eq!(runs(&mut group, place), [1, 2, 2]);
    require_equal(&mut group);
    assert_eq!(files(&mut group, place), b"first second ");

    // Without its checkpoint it needs one of another replica.
    group.drivers[place].checkpoint.usable.clear();
    group.end_server(place, 6, libc::SIGKILL);
    group.run(3000);
    assert_eq!(group.drivers[place].checkpoint.needed, slot);
    assert_eq!(runs(&mut group, place), [1, 2, 2]);
}

/// As of a checkpoint that came from another replica: the log here begins behind the restarts.
#[test]
fn a_checkpoint_may_be_the_first_to_say_which_incarnation_it_is() {
    let mut group = serving();
    let place = (group.primary() + 1) % 3;
    let driver = &mut group.drivers[place];
    let slot = Slot(driver.committed.0 - 1);
    let mut checkpoint = memory::checkpoint("g", slot);
    checkpoint.manifest.incarnation = Incarnation(3);
    driver.checkpoint.add(checkpoint);
    group.end_server(place, 5, libc::SIGKILL);
    group.run(3000);
    assert_eq!(runs(&mut group, place), [1, 3]);
    let generation = group.drivers[place].clients.generation();
    assert!(generation > Generation::before(Incarnation(3)), "{generation:?}");
}

/// Lets the second runs of all servers do enough for a comparison, with these outputs, and clients
/// ask through one of them.
fn do_much(group: &mut Group, output: u64) {
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (5000, vec![1, output, output]);
    }
    listen(group);
    send_anew(group, 1, b"second ");
    group.run(5000);
}

#[test]
fn the_files_behind_an_ordered_restart_are_proved_by_the_run_that_began_with_them() {
    let mut group = serving();
    order(&mut group);
    let slot = group.drivers[0].script.restarts[0].slot;
    let kept = |group: &Group| {
        let newest = |driver: &Driver<MemoryHost>| driver.checkpoint.newest().cloned();
        group.drivers.iter().filter_map(newest).collect::<Vec<_>>()
    };
    let all = kept(&group);
    assert!(all.len() == 3 && all.iter().all(|it| it.manifest.slot == slot && !it.has_image()));
    let fronts = |group: &Group| group.drivers.iter().map(|it| it.log.front()).collect::<Vec<_>>();
    // Without a reply they show nothing.
    do_much(&mut group, 0);
    assert!(kept(&group).iter().all(|it| !it.is_proved()));
    assert_eq!(fronts(&group), [Slot::NONE; 3]);
    do_much(&mut group, 7);
    assert!(kept(&group).iter().all(Checkpoint::is_proved));
    assert_eq!(fronts(&group), [slot; 3], "the logs are cut behind them");
    for place in 0..3 {
        assert_eq!(group.drivers[place].host().proofs, 0, "no second server was needed");
        assert_eq!(runs(&mut group, place), [1, 2]);
    }
    // A server that dies alone begins with a copy of them, and is in step.
    let place = (group.primary() + 1) % 3;
    group.end_server(place, 5, libc::SIGKILL);
    group.run(3000);
    assert_eq!(group.drivers[place].host().started_from, [None, None, Some(slot)]);
    require_equal(&mut group);
}

#[test]
fn files_are_not_kept_behind_a_crash_or_when_they_were_kept_before() {
    let mut group = serving();
    send(&mut group, 0, POISON);
    group.run(500);
    assert_eq!(runs(&mut group, 0), [1, 2]);
    assert!(group.drivers[0].checkpoint.usable.is_empty(), "the group waits for its server");
    let words = ["server".to_string(), "--new".to_string()];
    assert!(upgrade(&mut group, &words, base_of(&words).digest()));
    assert_eq!(runs(&mut group, 0), [1, 2, 3]);
    let driver = &mut group.drivers[0];
    assert_eq!(driver.checkpoint.usable.len(), 1);
    assert_eq!(driver.host().kept_files.len(), 1);
    assert_eq!(driver.checkpoint.started_from, driver.checkpoint.newest().cloned());
}

#[test]
fn files_of_an_upgrade_that_a_crash_cut_short_are_not_given_to_the_program_before() {
    let mut group = serving();
    let words = ["server".to_string(), "--new".to_string()];
    assert!(upgrade(&mut group, &words, base_of(&words).digest()));
    let place = (group.primary() + 1) % 3;
    // The replica had kept the files, and not yet that it runs another program.
    let driver = &mut group.drivers[place];
    driver.meta.upgrades.clear();
    let found = driver.checkpoint_for_start().ok().expect("the log has everything");
    assert_eq!(found, None, "it begins with the base");
    assert_eq!(driver.checkpoint.usable.len(), 1);
}

#[test]
fn a_signal_that_cannot_be_sent_is_refused_and_another_is_agreed_on_once() {
    let mut group = serving();
    let primary = group.primary();
    for number in [0, 9, 11, 32, 65, u8::MAX] {
        assert!(group.drivers[primary].order_signal(number).is_err(), "{number}");
    }
    let other = (primary + 1) % 3;
    assert!(group.drivers[other].order_signal(1).is_err());
    let answer = group.drivers[primary].order_signal(1).ok().expect("an order");
    group.run(1000);
    require_equal(&mut group);
    for driver in &group.drivers {
        let told = driver.events.kept().filter_map(|told| match &told.event {
            Event::Signal { signal, slot } => Some((&**signal, *slot)),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [("SIGHUP", answer["slot"].as_u64().unwrap())]);
    }
}
