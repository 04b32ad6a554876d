//! Tests of servers that differ.

use super::*;
use crate::driver::rooms::Trial;
use crate::report::{Ending, MarkMessage, ServerReport};

/// Runs a group in which the first run of one replica's server goes wrong, with a client that sends
/// now and then.
fn run_with_wrong(group: &mut Group, wrong: &[(usize, &[u64])], steps: u64) {
    for (place, runs) in wrong {
        group.drivers[*place].host().wrong = runs.to_vec();
    }
    group.run(1000);
    let entry = (0..3).find(|place| group.cut_off.iter().all(|cut| cut != place)).unwrap();
    for key in 0..steps / 100 {
        group.input(entry, DriverInput::Client(key, connected()));
        group.input(entry, DriverInput::Client(key, ClientInput::Sent(b"more".to_vec())));
        group.run(100);
    }
}

#[test]
fn a_server_that_differs_from_two_is_built_again() {
    for wrong in 0..3 {
        let mut group = Group::new();
        run_with_wrong(&mut group, &[(wrong, &[5])], 6000);
        for place in 0..3 {
            let driver = &mut group.drivers[place];
            assert_eq!(driver.events.counters.divergences, u64::from(place == wrong), "{place}");
            assert_eq!(driver.host().scripts.len(), 1 + usize::from(place == wrong), "{place}");
            assert!(driver.divergence.agreed > Slot(10), "{place}: they agree again");
            assert_eq!(driver.watch.texts(true), Vec::<&str>::new(), "{place}");
            let named = driver.events.kept().any(|told| {
                told.event.to_string().contains("at clock 2: here lock of object 5 by thread 0")
            });
            assert_eq!(named, place == wrong, "{place}");
            assert_eq!(driver.host().frozen.len(), 1, "{place}: both sides freeze, once");
        }
        let slots = group.drivers.iter_mut().map(|driver| driver.host().frozen[0]);
        assert!(slots.collect::<Vec<_>>().windows(2).all(|two| two[0] == two[1]));
        assert_ne!(group.primary(), wrong, "a replica with a wrong server does not stay primary");
    }
}

#[test]
fn a_server_that_differs_again_at_the_same_place_stops_its_replica() {
    let mut group = Group::new();
    let wrong = (group.drivers.len() - 1) % 3;
    group.drivers[wrong].host().wrong = vec![5, 5, 5];
    group.may_stop = vec![wrong];
    run_with_wrong(&mut group, &[], 6000);
    let stop = group.drivers[wrong].stop().expect("it stops").clone();
    assert!(stop.status == 1 && stop.why.contains("at the same place"), "{}", stop.why);
}

#[test]
fn between_two_servers_a_third_opinion_decides() {
    for wrong in 0..2 {
        let mut group = Group::new();
        group.run(1000);
        group.cut_off(2);
        run_with_wrong(&mut group, &[(wrong, &[5])], 12_000);
        let runs = |group: &mut Group, place: usize| group.drivers[place].host().scripts.len();
        assert!(runs(&mut group, wrong) > 1, "the wrong one was built again");
        for place in 0..2 {
            let driver = &mut group.drivers[place];
            assert_eq!(driver.divergence.halted, None);
            assert!(driver.divergence.agreed > Slot(10), "{place}: they agree again");
            assert_eq!(driver.watch.texts(true), Vec::<&str>::new(), "{place}");
        }
    }
}

/// The replica that is to give the opinion may have seen no split, and gives none.
#[test]
fn a_majority_decides_while_an_opinion_is_awaited() {
    for wrong in 0..2 {
        let mut group = Group::new();
        group.drivers[0].divergence.awaited = Some(group.drivers[1].me());
        run_with_wrong(&mut group, &[(wrong, &[5])], 6000);
        for place in 0..3 {
            let driver = &mut group.drivers[place];
            assert_eq!(driver.events.counters.divergences, u64::from(place == wrong), "{place}");
            assert!(driver.divergence.agreed > Slot(10), "{place}: they agree again");
            assert_eq!(driver.watch.texts(true), Vec::<&str>::new(), "{place}");
        }
    }
}

/// The third replica's mark of the slot comes when no mark has a majority yet.
#[test]
fn a_mark_that_comes_late_makes_a_majority() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let [second, third] = [1, 2].map(|more| node((primary + more) % 3));
    let driver = &mut group.drivers[primary];
    let slot = Slot(driver.divergence.agreed.0 + 1000);
    let mark = |schedule| Mark { slot, clock: 1, schedule, output: 0 };
    let gone = ServerReport::Ended {
        incarnation: Incarnation::FIRST,
        clock: 1,
        admitted: 1,
        ending: Ending::Killed(9),
        listened: false,
    };
    let alive = std::mem::replace(&mut driver.reports[third.index()], gone);
    driver.divergence.marks.add(driver.me(), mark(1));
    driver.on_mark(second, MarkMessage::Mark(mark(2)));
    assert_eq!(driver.divergence.awaited, driver.opinion_of(slot));
    driver.reports[third.index()] = alive;
    driver.on_mark(third, MarkMessage::Mark(mark(2)));
    assert_eq!(driver.events.counters.divergences, 1);
}

/// A wrong server learns from marks of later slots that it is wrong if those of the first are lost.
#[test]
fn a_server_that_was_found_wrong_is_answered() {
    let mut group = Group::new();
    group.run(1000);
    let driver = &mut group.drivers[0];
    driver.divergence.stale = NodeSet::EMPTY.with(node(1));
    let slot = Slot(driver.divergence.agreed.0 + 1000);
    let mark = Mark { slot, clock: 1, schedule: 77, output: 0 };
    driver.on_mark(node(1), MarkMessage::Mark(mark));
    assert!(driver.divergence.wanted.contains(&slot));
    assert_eq!(driver.divergence.marks.mark(node(1), slot), None);
}

#[test]
fn a_program_that_is_another_each_time_halts_the_group_and_stays_halted() {
    let mut group = Group::new();
    let runs: [&[u64]; 3] = [&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]];
    let wrong: Vec<(usize, &[u64])> = (0..3).zip(runs).collect();
    run_with_wrong(&mut group, &wrong, 12_000);
    for place in 0..3 {
        let driver = &mut group.drivers[place];
        let halted = driver.divergence.halted.clone().expect("it is halted");
        assert!(halted.contains("halted"));
        assert!(driver.server.run.is_none() && driver.host().ports.is_empty(), "{place}");
        let runs = driver.host().scripts.len();
        group.run(100);
        assert_eq!(group.drivers[place].host().scripts.len(), runs, "{place}: no new server");
    }
}

/// The server of each host does the same in each run, and differs from those of the other hosts.
#[test]
fn to_be_like_itself_decides_nothing_among_three() {
    let mut group = Group::new();
    let runs: [&[u64]; 3] = [&[1, 1, 1], &[2, 2, 2], &[3, 3, 3]];
    let wrong: Vec<(usize, &[u64])> = (0..3).zip(runs).collect();
    run_with_wrong(&mut group, &wrong, 12_000);
    for place in 0..3 {
        assert!(group.drivers[place].divergence.halted.is_some(), "{place}");
    }
    let mut group = Group::new();
    for (place, outputs) in [vec![1, 1, 1], vec![2, 2, 2], vec![3, 3, 3]].into_iter().enumerate() {
        group.drivers[place].host().outputs = outputs;
    }
    run_with_wrong(&mut group, &[], 12_000);
    let mut runs = 0;
    for place in 0..3 {
        let driver = &mut group.drivers[place];
        let faults = driver.watch.texts(true);
        assert!(faults.len() == 1 && faults[0].contains("or on each host"), "{faults:?}");
        runs += driver.host().scripts.len();
    }
    assert_eq!(runs, 3, "no client is interrupted");
}

#[test]
fn all_replicas_ask_the_same_one_for_an_opinion_whether_its_server_lives_or_not() {
    let mut group = Group::new();
    run_with_wrong(&mut group, &[], 3000);
    let primary = group.primary();
    let slot = group.drivers[primary].divergence.agreed;
    let asked = group.drivers[primary].opinion_of(slot).expect("a backup");
    let driver = &mut group.drivers[primary];
    driver.reports[asked.index()] = ServerReport::Ended {
        incarnation: Incarnation::FIRST,
        clock: 1,
        admitted: slot.0,
        ending: Ending::Killed(9),
        listened: false,
    };
    assert_eq!(driver.opinion_of(slot), Some(asked));
    for driver in &group.drivers {
        assert_eq!(driver.opinion_of(slot), Some(asked));
    }
}

#[test]
fn the_server_that_is_to_be_built_again_gives_no_opinion() {
    let mut group = Group::new();
    run_with_wrong(&mut group, &[], 1000);
    let driver = &mut group.drivers[0];
    let slot = Slot(driver.server.view().expect("a server").admitted);
    let before = driver.host().mark(slot).expect("its mark");
    driver.divergence.trial = Some(Trial { slot, before, output_only: false });
    driver.server.stopped_for = Some("it is built again".into());
    driver.finish_trial(slot);
    assert!(driver.divergence.trial.is_some(), "the old server has given its opinion");
    driver.server.stopped_for = None;
    driver.finish_trial(slot);
    assert!(driver.divergence.trial.is_none());
}

/// A replica whose server is about to be stopped must not ask for the role that it has given away.
#[test]
fn the_server_that_is_to_be_built_again_is_not_in_step() {
    let (mut group, backup, _) = Group::with_backups();
    let time_left = |group: &mut Group| {
        group.run(20);
        let now = group.moment().instant();
        group.drivers[backup].node.deadline().since(now)
    };
    let before = time_left(&mut group);
    group.drivers[backup].server.stopped_for = Some("it is built again".into());
    assert!(time_left(&mut group) > before.times(2), "its election is as near as any other's");
}

#[test]
fn output_that_differs_each_time_is_reported_and_halts_nobody() {
    let mut group = Group::new();
    for (place, outputs) in [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]].into_iter().enumerate() {
        group.drivers[place].host().outputs = outputs;
    }
    run_with_wrong(&mut group, &[], 12_000);
    let mut runs = 0;
    for place in 0..3 {
        let driver = &mut group.drivers[place];
        assert_eq!(driver.divergence.halted, None, "{place}");
        let faults = driver.watch.texts(true);
        assert!(faults.len() == 1 && faults[0].contains("the bytes for its clients"), "{faults:?}");
        assert!(driver.divergence.agreed > Slot(10), "{place}: calls are compared all the same");
        runs += driver.host().scripts.len();
    }
    assert_eq!(runs, 3, "no client is interrupted");
}

#[test]
fn output_of_one_server_that_differs_again_is_reported_and_stops_nobody() {
    let mut group = Group::new();
    group.drivers[1].host().outputs = vec![1, 2, 3];
    run_with_wrong(&mut group, &[], 12_000);
    for place in 0..3 {
        let driver = &mut group.drivers[place];
        let faults = driver.watch.texts(true);
        assert!(faults.len() == 1 && faults[0].contains("the bytes for its clients"), "{faults:?}");
        assert_eq!(driver.host().scripts.len(), 1 + usize::from(place == 1), "{place}");
        assert!(driver.divergence.agreed > Slot(10), "{place}");
        let told = |words| driver.events.kept().any(|told| told.event.to_string().contains(words));
        let named = told("are of the call at clock 3: lock of object 3 by thread 0");
        assert_eq!(named, place == 1, "{place}");
    }
}

#[test]
fn what_a_server_did_last_is_compared_without_another_input() {
    let mut group = Group::new();
    group.run(3000);
    let before = group.drivers[0].host().admitted();
    group.run(3000);
    assert_eq!(group.drivers[0].host().admitted(), before, "a server at rest needs no entries");
    for driver in &mut group.drivers {
        driver.host().clock = 5000;
    }
    group.run(5000);
    for driver in &mut group.drivers {
        assert_eq!(driver.host().admitted(), before + 1);
        assert_eq!(driver.divergence.agreed, Slot(before + 1));
    }
}

#[test]
fn a_server_that_was_on_its_way_when_the_group_halted_is_ended() {
    let mut group = Group::new();
    group.drivers[0].host().starts_late = true;
    group.run(1000);
    assert!(group.drivers[0].server.run.is_none(), "it is on its way");
    group.drivers[0].on_halt(Slot(3));
    group.input(0, DriverInput::Server(1, ServerChange::Ready));
    group.run(3000);
    let driver = &mut group.drivers[0];
    assert!(driver.server.run.is_none() && driver.divergence.halted.is_some());
    assert_eq!(driver.host().scripts.len(), 1, "none is started after it");
}

#[test]
fn a_replica_that_was_not_asked_cannot_halt_the_group() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let message = MarkMessage::Alone { slot: Slot(3), output_only: false };
    group.input(primary, DriverInput::Mark(node((primary + 1) % 3), message));
    group.run(1000);
    assert!(group.drivers.iter().all(|driver| driver.divergence.halted.is_none()));
}

#[test]
fn a_late_verdict_looks_behind_its_own_slot() {
    let mut group = Group::new();
    group.run(1000);
    let driver = &mut group.drivers[0];
    let last = driver.divergence.agreed.0;
    for slot in [10, 20, 30, 40] {
        driver.agreed_at(Slot(last + slot));
    }
    for (slot, agreed) in [(45, 40), (40, 30), (25, 20), (11, 10)] {
        assert_eq!(driver.divergence.agreed_below(Slot(last + slot)), Slot(last + agreed));
    }
}

/// Until a wrong server has been stopped, the marks of later slots differ as well.
#[test]
fn calls_of_two_differences_are_kept() {
    let mut group = Group::new();
    group.run(1000);
    let driver = &mut group.drivers[0];
    for slot in [5, 6, 6] {
        driver.freeze_calls(Slot(slot));
    }
    assert_eq!(driver.host().frozen, [Slot(5), Slot(6)]);
    assert!(driver.frozen_at(Slot(5)).is_some() && driver.frozen_at(Slot(6)).is_some());
    driver.freeze_calls(Slot(7));
    assert!(driver.frozen_at(Slot(5)).is_none() && driver.frozen_at(Slot(6)).is_some());
}

#[test]
fn marks_of_a_run_that_was_wrong_do_not_count_against_the_next_run() {
    let mut group = Group::new();
    group.run(1000);
    let driver = &mut group.drivers[0];
    let (other, late) = (node(1), driver.divergence.agreed.0 + 5);
    let mark = |slot: u64| Mark { slot: Slot(slot), clock: 1, schedule: 77, output: 0 };
    let known = |driver: &Driver<MemoryHost>, slot: u64| {
        driver.divergence.marks.mark(other, Slot(slot)).is_some()
    };
    driver.divergence.stale = NodeSet::EMPTY.with(other);
    driver.on_mark(other, MarkMessage::Mark(mark(late)));
    assert!(!known(driver, late));
    driver.on_server_report(other, ServerReport::Alive { in_step: false });
    driver.on_mark(other, MarkMessage::Mark(mark(late)));
    assert!(known(driver, late));
    // An opinion about an earlier slot is of a new run.
    driver.on_mark(other, MarkMessage::Opinion(mark(late - 1)));
    assert!(!known(driver, late));
}

/// The image of a wrong server is wrong, and its replica would differ again.
#[test]
fn a_checkpoint_of_a_wrong_server_is_set_aside_and_not_used() {
    let (_, wrong, _) = Group::with_backups();
    let mut group = Group::new();
    group.drivers[wrong].host().wrong = vec![5];
    // Before the others have compared.
    while group.drivers[wrong].server.view().is_none_or(|view| view.admitted < 2) {
        group.run(1);
    }
    group.drivers[wrong].order_checkpoint().ok().expect("an order");
    run_with_wrong(&mut group, &[(wrong, &[5])], 6000);
    let driver = &mut group.drivers[wrong];
    assert_eq!(driver.events.counters.divergences, 1);
    assert!(driver.divergence.agreed > Slot(10), "they agree again");
    assert!(driver.checkpoint.usable.is_empty());
    let host = driver.host();
    assert_eq!(host.started_from, [None, None]);
    assert_eq!(host.aside.iter().map(|(_, why)| *why).collect::<Vec<_>>(), ["wrong"]);

    // One of the wrong run that is complete only now.
    let taken =
        Taken { checkpoint: memory::checkpoint("group", Slot(9)), held_ms: 5, held_bytes: 7 };
    group.input(wrong, DriverInput::CheckpointTaken(1, Ok(taken)));
    group.run(10);
    let driver = &mut group.drivers[wrong];
    assert!(driver.checkpoint.usable.is_empty());
    assert_eq!(driver.host().aside[1].1, "late");
}
