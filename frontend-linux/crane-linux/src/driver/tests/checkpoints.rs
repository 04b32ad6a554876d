//! Tests of checkpoints: taking them, proving them, starting from them.

use crane_core::paxos::{Effect, Effects};

use super::*;
use crate::driver::agreement::InputPayloads;
use crate::report::CheckpointMessage;

/// Ends the program of one replica by a signal, and lets the replica judge it.
fn crash(group: &mut Group, place: usize, clock: u64) {
    group.end_server(place, clock, 11);
    group.run(3000);
}

#[test]
fn a_server_that_died_alone_starts_from_its_checkpoint_until_it_dies_there_again() {
    let (mut group, place, _) = Group::with_backups();
    let primary = group.primary();
    assert!(group.drivers[primary].order_checkpoint().is_err(), "clients of a primary would wait");
    group.drivers[place].order_checkpoint().ok().expect("an order");
    assert!(group.drivers[place].order_checkpoint().is_err(), "one at a time");
    group.run(10);
    let slot = group.drivers[place].checkpoint.newest().expect("one").manifest.slot;
    group.input(place, DriverInput::Client(1, connected()));
    group.run(100);
    crash(&mut group, place, 7);
    let host = group.drivers[place].host();
    assert_eq!(host.started_from, [None, Some(slot)]);
    let script = host.scripts.last().expect("a run").clone();
    assert_eq!(script, group.script(primary), "each entry behind the slot, once");
    // At the same clock again: the image may be the cause.
    crash(&mut group, place, 7);
    let host = group.drivers[place].host();
    assert_eq!(host.started_from.last(), Some(&None));
    assert_eq!(host.aside.len(), 1);
    assert_eq!(host.scripts.last().and_then(|script| script.first()).map(|it| it.0), Some(Slot(1)));
}

#[test]
fn a_checkpoint_that_cannot_be_restored_is_set_aside_and_the_server_replays() {
    let (mut group, place, _) = Group::with_backups();
    group.drivers[place].order_checkpoint().ok().expect("an order");
    group.run(10);
    group.drivers[place].host().starts_late = true;
    crash(&mut group, place, 7);
    group.drivers[place].host().starts_late = false;
    let run = group.drivers[place].host().scripts.len() as u64;
    let failed = ServerChange::Failed("a part is damaged".into());
    group.input(place, DriverInput::Server(run, failed));
    group.run(3000);
    let driver = &mut group.drivers[place];
    assert!(driver.last_error.as_ref().is_some_and(|text| text.contains("a part is damaged")));
    assert_eq!(driver.host().started_from.last(), Some(&None));
    assert_eq!(driver.host().aside[0].1, "failed");
    assert!(driver.checkpoint.usable.is_empty());
}

#[test]
fn backups_take_checkpoints_by_themselves_in_turn_and_a_primary_takes_none() {
    let mut group = Group::new();
    group.run(1000);
    for driver in &mut group.drivers {
        driver.settings.args.checkpoint_every = Some("3s".parse().unwrap());
    }
    let primary = group.primary();
    let taken = |group: &Group| {
        let newest = |place: usize| group.drivers[place].checkpoint.newest();
        (0..3).map(|place| newest(place).map(|it| it.manifest.slot)).collect::<Vec<_>>()
    };
    assert_eq!(taken(&group), [None; 3]);
    let mut first = Vec::new();
    for _ in 0..8 {
        group.input(0, DriverInput::Client(1, connected()));
        group.run(500);
        first.push(taken(&group).iter().flatten().count());
    }
    assert!(first.contains(&1) && first.last() == Some(&2), "one after the other: {first:?}");
    let before = taken(&group);
    assert_eq!(before[primary], None);
    // Without an entry there is nothing new to keep.
    group.run(20_000);
    assert_eq!(taken(&group).iter().flatten().count(), 2);
}

/// Orders a checkpoint of a backup's server, and returns the backup. The servers' clocks and
/// outputs are then such that a comparison says something.
fn with_checkpoint(group: &mut Group) -> usize {
    group.run(1000);
    let place = (group.primary() + 1) % 3;
    take(group, place);
    place
}

fn take(group: &mut Group, place: usize) {
    group.drivers[place].order_checkpoint().ok().expect("an order");
    group.run(10);
}

fn do_much(group: &mut Group) {
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (5000, vec![7; 4]);
    }
    group.input(0, DriverInput::Client(1, connected()));
    group.run(3000);
}

fn text_of(driver: &Driver<MemoryHost>) -> String {
    driver.watch.findings.values().map(|finding| finding.text.as_str()).collect()
}

#[test]
fn a_checkpoint_is_proved_by_a_second_server_that_does_the_same() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let slot = group.drivers[place].checkpoint.newest().expect("one").manifest.slot;
    // Too few calls, then no byte for a client: both say nothing.
    group.run(3000);
    group.drivers.iter_mut().for_each(|driver| driver.host().clock = 5000);
    group.input(0, DriverInput::Client(2, connected()));
    group.run(3000);
    assert!(group.drivers[place].checkpoint.agreed.is_some_and(|mark| mark.clock == 5000));
    assert_eq!(group.drivers[place].host().proofs, 0);
    do_much(&mut group);
    let driver = &mut group.drivers[place];
    assert_eq!(driver.host().proofs, 1);
    assert!(driver.host().proof.is_none(), "it is ended");
    let proved = driver.checkpoint.newest_proved().expect("proved").clone();
    assert_eq!(proved.manifest.slot, slot);
    let proof = proved.manifest.proof.expect("as above");
    assert_eq!(proof.prefix.snapshot.slot, slot);
    assert_eq!(Some(&proof.prefix.genesis.1[..]), driver.log.genesis_payload().map(|it| &it[..]));
    assert_eq!(driver.host().started_from, [None], "the server itself ran on");
    assert_eq!(driver.events.counters.faults, 0);
}

#[test]
fn a_checkpoint_that_fails_its_proof_is_set_aside_with_the_cause() {
    // By the servers that are made from it: whether each is wrong, and what is said.
    let same = (&[3, 3][..], "CRIU has not restored all of it");
    let each_time = (&[3, 4][..], "does not order");
    let once = (&[3, 0][..], "does not order");
    for (wrong, cause) in [same, each_time, once] {
        let mut group = Group::new();
        let place = with_checkpoint(&mut group);
        group.drivers[place].host().wrong_proofs = wrong.to_vec();
        do_much(&mut group);
        let driver = &mut group.drivers[place];
        assert_eq!(driver.host().aside[0].1, "wrong");
        assert_eq!(driver.host().proofs, 2);
        let text = text_of(driver);
        assert!(text.contains(cause), "{text}");
        assert_eq!(driver.checkpoint.newest_proved(), None);
        assert_eq!(driver.host().scripts.len(), 1, "the server itself ran on");
    }
}

#[test]
fn a_server_that_cannot_be_made_or_ends_disproves_its_checkpoint() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    group.drivers.iter_mut().for_each(|driver| driver.host().clock = 9000);
    group.drivers.iter_mut().for_each(|driver| driver.host().outputs = vec![8; 4]);
    group.input(0, DriverInput::Client(2, connected()));
    while group.drivers[place].checkpoint.proving.is_none() {
        group.run(1);
    }
    let number = group.drivers[place].checkpoint.proofs;
    group.input(place, DriverInput::Proof(number, ProofChange::Ended("it was killed".to_string())));
    group.run(1);
    let driver = &mut group.drivers[place];
    assert!(text_of(driver).contains("it was killed"));
    assert_eq!(driver.host().aside[0].1, "failed");
}

#[test]
fn a_message_about_a_proof_that_was_given_up_has_no_effect_on_the_next_one() {
    let ended = ProofChange::Ended("it was killed".to_string());
    for stale in [ended, ProofChange::NoRoom("of memory".to_string())] {
        let mut group = Group::new();
        let place = with_checkpoint(&mut group);
        // The first server is never ready, and its proof ends by its time limit.
        group.drivers[place].host().proof_is_late = true;
        do_much(&mut group);
        let first = group.drivers[place].checkpoint.proofs;
        assert!(first > 0 && group.drivers[place].checkpoint.proving.is_some());
        group.run(125_000);
        assert!(group.drivers[place].checkpoint.proving.is_none(), "it is given up");
        group.run(15_000);
        let driver = &group.drivers[place];
        assert!(driver.checkpoint.proving.is_some() && driver.checkpoint.proofs > first);
        group.input(place, DriverInput::Proof(first, stale));
        group.run(10);
        let driver = &mut group.drivers[place];
        let proving = driver.checkpoint.proving.as_ref().expect("the second one is made");
        assert!(!proving.in_place);
        assert!(driver.host().aside.is_empty(), "{}", text_of(driver));
        let number = driver.checkpoint.proofs;
        group.input(place, DriverInput::Proof(number, ProofChange::Ready));
        group.run(100);
        assert!(group.drivers[place].checkpoint.newest_proved().is_some());
    }
}

#[test]
fn a_second_server_that_takes_too_much_is_ended_and_the_proof_is_made_in_place() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let newest =
        |group: &Group| group.drivers[place].checkpoint.newest().expect("one").manifest.slot;
    let first = newest(&group);
    // A newer one does not take its place.
    group.input(0, DriverInput::Client(9, connected()));
    group.run(100);
    take(&mut group, place);
    assert!(newest(&group) > first);
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (9000, vec![8; 4]);
    }
    group.drivers[place].host().proof_is_late = true;
    group.input(0, DriverInput::Client(2, connected()));
    while group.drivers[place].checkpoint.proving.is_none() {
        group.run(1);
    }
    let number = group.drivers[place].checkpoint.proofs;
    group.input(place, DriverInput::Proof(number, ProofChange::Ready));
    let no_room = ProofChange::NoRoom("it has 90 MiB".to_string());
    group.input(place, DriverInput::Proof(number, no_room.clone()));
    group.run(1);
    let driver = &mut group.drivers[place];
    assert!(driver.host().proof.is_none(), "it is ended");
    assert!(driver.checkpoint.proving.as_ref().is_some_and(|it| it.in_place && it.fed.is_none()));
    // The measurement may come twice.
    group.input(place, DriverInput::Proof(number, no_room));
    group.run(3000);
    let driver = &mut group.drivers[place];
    let proved = driver.checkpoint.newest_proved().map(|it| it.manifest.slot);
    assert_eq!(proved, Some(first), "{:?}", driver.checkpoint.proving);
    assert_eq!(driver.host().scripts.len(), 2, "the server itself was made from it");
    assert!(driver.host().aside.is_empty());
}

#[test]
fn one_server_is_held_at_a_time_and_only_if_a_majority_agrees() {
    let (mut group, one, other) = Group::with_backups();
    let primary = group.primary();
    let taken = |group: &Group, place: usize| group.drivers[place].checkpoint.newest().is_some();
    // Both at once: a majority agrees to one at most.
    for place in [one, other] {
        group.drivers[place].order_checkpoint().ok().expect("an order");
    }
    group.run(10);
    assert!(!(taken(&group, one) && taken(&group, other)));
    group.run(2000);
    for place in [one, other] {
        if !taken(&group, place) {
            take(&mut group, place);
        }
        assert!(taken(&group, place), "replica {place}");
    }
    // A replica that has the permission, and does not give it back, keeps it for a while.
    let wanted = CheckpointMessage::HoldWanted { number: 9 };
    for place in [primary, other] {
        group.input(place, DriverInput::Checkpoint(node(one), wanted));
    }
    group.run(10);
    assert!(group.drivers[other].order_checkpoint().is_err_and(|why| why.is_worth_repeating()));
    group.run(76_000);
    group.drivers[other].order_checkpoint().ok().expect("it has ended");
    group.run(10);
    // Alone, a replica holds nothing.
    group.cut_off(primary);
    group.cut_off(one);
    group.run(10);
    group.drivers[other].order_checkpoint().ok().expect("the order is taken");
    group.run(3000);
    let state = group.drivers[other].show_checkpoint();
    assert_eq!(state["phase"], "failed", "{state}");
    assert!(state["error"].as_str().is_some_and(|why| why.contains("1 of 3")), "{state}");
}

#[test]
fn the_log_is_cut_behind_what_a_majority_has_proved_and_not_before() {
    let mut group = Group::new();
    let one = with_checkpoint(&mut group);
    let slot = group.drivers[one].checkpoint.newest().expect("one").manifest.slot;
    do_much(&mut group);
    group.run(3000);
    let fronts = |group: &Group| group.drivers.iter().map(|it| it.log.front()).collect::<Vec<_>>();
    assert_eq!(fronts(&group), [Slot::NONE; 3], "one of three servers has a proved one");
    let other = 3 - one - group.primary();
    take(&mut group, other);
    let second = group.drivers[other].checkpoint.newest().expect("one").manifest.slot;
    assert!(second > slot);
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (9000, vec![8; 4]);
    }
    group.input(0, DriverInput::Client(3, connected()));
    group.run(5000);
    assert_eq!(fronts(&group), [slot; 3], "the lower one of the two");
    // The group serves on, and a server that dies is made from its checkpoint.
    group.input(other, DriverInput::Client(4, connected()));
    group.run(100);
    crash(&mut group, other, 7);
    assert_eq!(group.drivers[other].host().started_from, [None, Some(second)]);
    assert_eq!(group.script(other), group.script(group.primary()));
    // One that has none asks a replica that has one.
    let primary = group.primary();
    crash(&mut group, primary, 7);
    let asked = &group.drivers[primary].host().asked_for_checkpoint;
    assert_eq!(asked[..], [(node(other), true)]);
    let arrived = DriverInput::Arriving(Arriving::Failed("no room".to_string()));
    group.input(primary, arrived);
    group.run(10);
    assert!(text_of(&group.drivers[primary]).contains("no room"));
    group.run(2000);
    assert_eq!(group.drivers[primary].host().asked_for_checkpoint.len(), 2);
    group.may_stop.push(primary);
    group.input(primary, DriverInput::Arriving(Arriving::Here { slot: second, sent: 1, bytes: 2 }));
    group.run(10);
    assert!(group.drivers[primary].stop().is_some_and(|stop| stop.again));
}

#[test]
fn a_replica_that_asks_for_deleted_entries_learns_what_it_needs() {
    let mut group = Group::new();
    let one = with_checkpoint(&mut group);
    let (lagging, other) = (group.primary(), 3 - one - group.primary());
    do_much(&mut group);
    take(&mut group, other);
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (9000, vec![8; 4]);
    }
    group.input(0, DriverInput::Client(3, connected()));
    group.run(5000);
    let front = group.drivers[one].log.front();
    assert!(front > Slot::NONE);
    // The primary's log is wiped: its committed entries are those of a new replica.
    let driver = &mut group.drivers[lagging];
    driver.committed = Slot::NONE;
    let effect = Effect::ServeCatchUp { to: node(lagging), from: Slot(1), up_to: Slot(64) };
    let mut effects = Effects::new();
    effects.push(effect).expect("there is room");
    group.drivers[one].carry_out(&effects, InputPayloads::NONE);
    group.run(1);
    let driver = &mut group.drivers[lagging];
    assert_eq!(driver.checkpoint.needed, front);
    let asked = driver.host().asked_for_checkpoint.clone();
    assert_eq!(asked.len(), 1, "the newest one, of {asked:?}");
    assert_eq!(asked[0], (node(other), true));
    let piece = Arriving::Piece { got: 30, of: 120 };
    group.input(lagging, DriverInput::Arriving(piece));
    group.run(1);
    assert_eq!(group.drivers[lagging].show_checkpoint()["arriving"]["percent"], 25);
}

/// Writes bytes for a client as a server does, whose earlier bytes may be known.
fn write(group: &mut Group, place: usize, offset: u64, bytes: &[u8]) {
    let generation = group.drivers[place].clients.generation().0;
    group.say(place, &RingRecord { kind: output::DATA, numbers: [1, generation, offset], bytes });
}

#[test]
fn without_room_a_checkpoint_is_proved_in_place_and_no_client_notices() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let listens = RingRecord { kind: output::LISTEN, numbers: [80, 0, 0], bytes: &[0; 16] };
    group.say(place, &listens);
    group.input(place, DriverInput::Client(5, connected()));
    group.run(10);
    write(&mut group, place, 0, b"first ");
    group.drivers[place].host().no_room = Some("no memory".to_string());
    let slot = group.drivers[place].checkpoint.newest().expect("one").manifest.slot;
    do_much(&mut group);
    let driver = &mut group.drivers[place];
    assert_eq!(driver.host().started_from, [None, Some(slot)]);
    assert!(driver.checkpoint.newest_proved().is_some());
    assert!(driver.host().resets.is_empty() && driver.clients.has_clients());
    assert_eq!((driver.events.counters.faults, driver.events.counters.divergences), (0, 0));
    // The server says some things once more.
    group.say(place, &listens);
    write(&mut group, place, 0, b"fir");
    write(&mut group, place, 3, b"st second");
    let host = group.drivers[place].host();
    assert_eq!(host.replies[&5], b"first second");
    assert_eq!(host.ports, [80]);
    let script = group.script(place);
    assert_eq!(script, group.script(group.primary()), "it was given everything in the end");
    // Another may be held at once.
    let other = 3 - place - group.primary();
    take(&mut group, other);
    assert!(group.drivers[other].checkpoint.newest().is_some());
}

#[test]
fn a_checkpoint_that_fails_in_place_is_set_aside_and_its_server_built_again() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    group.drivers[place].host().no_room = Some("no memory".to_string());
    group.drivers[place].host().wrong = vec![0, 7];
    do_much(&mut group);
    group.run(3000);
    let driver = &mut group.drivers[place];
    assert_eq!(driver.host().aside[0].1, "wrong");
    assert_eq!(driver.host().started_from.len(), 3, "it was built again, from slot 1");
    assert_eq!(driver.host().started_from[2], None);
    assert_eq!(group.script(place), group.script(group.primary()));
}

#[test]
fn a_proof_in_place_waits_until_all_others_serve() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let other = 3 - place - group.primary();
    group.drivers[place].host().no_room = Some("no memory".to_string());
    group.drivers[other].host().starts_late = true;
    group.end_server(other, 7, 11);
    do_much(&mut group);
    let driver = &group.drivers[place];
    assert_eq!(driver.checkpoint.newest_proved(), None);
    let why = driver.checkpoint.unproved_because.clone().expect("a reason");
    assert!(why.contains("no memory") && why.contains("in step"), "{why}");
    assert_eq!(group.drivers[place].host().scripts.len(), 1);
}

#[test]
fn a_checkpoint_before_the_front_of_the_log_is_not_proved() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let (primary, other) = (group.primary(), 3 - place - group.primary());
    group.input(0, DriverInput::Client(2, connected()));
    group.run(100);
    let behind = group.drivers[place].script.observed;
    let progress =
        CheckpointMessage::Progress { proved: behind, observed: behind, needed: Slot::NONE };
    for from in [primary, other] {
        group.input(place, DriverInput::Checkpoint(node(from), progress));
    }
    group.run(100);
    let driver = &mut group.drivers[place];
    assert_eq!(driver.log.front(), behind);
    assert!(driver.checkpoint.newest().is_none());
    assert_eq!(driver.host().aside.iter().map(|(_, why)| *why).collect::<Vec<_>>(), ["cut"]);
    do_much(&mut group);
    assert_eq!(group.drivers[place].host().proofs, 0, "no entry leads on from it");
}

#[test]
fn a_permission_that_comes_after_the_servers_end_ends_no_other_server() {
    let mut group = Group::new();
    let place = with_checkpoint(&mut group);
    let other = 3 - place - group.primary();
    group.drivers[place].host().no_room = Some("no memory".to_string());
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (5000, vec![7; 4]);
    }
    group.input(0, DriverInput::Client(1, connected()));
    while group.drivers[place].checkpoint.hold.wish.is_none() {
        group.run(1);
        assert!(group.time < 10_000 * STEP, "it wishes to prove in place");
    }
    let number = group.drivers[place].checkpoint.hold.number;
    // The answers are on their way when the server dies.
    group.queues[place].borrow_mut().clear();
    let run = group.drivers[place].host().scripts.len();
    group.end_server(place, 7, 11);
    let granted = CheckpointMessage::HoldGranted { number };
    group.input(place, DriverInput::Checkpoint(node(other), granted));
    group.run(1);
    let driver = &group.drivers[place];
    assert!(driver.checkpoint.hold.wish.is_none() && !driver.server.proves_next);
    group.run(3000);
    let runs = group.drivers[place].host().scripts.len();
    assert_eq!(runs, run + 1, "it was built again, once");
}
