//! Tests of the phases of a checkpoint that is being taken.

use super::*;

/// Orders a checkpoint, whose outcomes the test gives.
fn order_late(group: &mut Group, place: usize) {
    group.drivers[place].host().checkpoints_are_late = true;
    group.drivers[place].order_checkpoint().ok().expect("an order");
    group.run(10);
}

/// Lets a server be held for a checkpoint, whose end the test gives.
pub(super) fn hold(group: &mut Group, place: usize) {
    order_late(group, place);
    group.input(place, DriverInput::CheckpointPrepared(1, Ok(())));
    group.run(10);
    assert_eq!(phase(group, place), "held");
}

fn phase(group: &Group, place: usize) -> String {
    group.drivers[place].show_checkpoint()["phase"].as_str().unwrap_or_default().to_string()
}

fn order(group: &mut Group, place: usize) -> Result<(), String> {
    let answer = members::outcome(group.drivers[place].order_checkpoint());
    answer["error"].as_str().map_or(Ok(()), |why| Err(why.to_string()))
}

#[test]
fn only_a_held_server_prevents_that_another_one_is_held() {
    let (mut group, one, other) = Group::with_backups();
    order_late(&mut group, one);
    assert_eq!(phase(&group, one), "copying");
    assert!(order(&mut group, one).is_err(), "one at a time");
    // The server is not held while its files are copied.
    order(&mut group, other).unwrap();
    group.run(10);
    assert_eq!(phase(&group, other), "taken");
    group.input(one, DriverInput::CheckpointPrepared(1, Ok(())));
    group.run(10);
    assert_eq!(phase(&group, one), "held");
    let why = order(&mut group, other).unwrap_err();
    assert!(why.contains("is held at the moment"), "{why}");
    // Nor while its checkpoint is made durable.
    group.input(one, DriverInput::CheckpointPhase(1, TakingPhase::Written));
    group.run(10);
    assert_eq!(phase(&group, one), "writing");
    group.input(0, DriverInput::Client(1, connected()));
    group.run(10);
    order(&mut group, other).unwrap();
    group.run(10);
    assert_eq!(phase(&group, other), "taken");
    let taken =
        Taken { checkpoint: memory::checkpoint("group", Slot(3)), held_ms: 5, held_bytes: 7 };
    group.input(one, DriverInput::CheckpointTaken(1, Ok(taken)));
    group.run(10);
    assert_eq!(phase(&group, one), "taken");
}

#[test]
fn copies_for_a_server_that_may_not_be_held_are_dropped() {
    let (mut group, one, other) = Group::with_backups();
    order_late(&mut group, one);
    order_late(&mut group, other);
    group.input(other, DriverInput::CheckpointPrepared(1, Ok(())));
    group.run(10);
    assert_eq!(phase(&group, other), "held");
    group.input(one, DriverInput::CheckpointPrepared(1, Ok(())));
    group.run(10);
    assert_eq!(phase(&group, one), "failed");
    assert!(!group.drivers[one].host().prepared);
}

#[test]
fn copies_of_a_run_that_has_ended_are_dropped() {
    let (mut group, one, _) = Group::with_backups();
    order_late(&mut group, one);
    group.input(one, DriverInput::CheckpointPrepared(7, Ok(())));
    group.run(10);
    assert_eq!(phase(&group, one), "failed");
    assert!(!group.drivers[one].host().prepared);
    order_late(&mut group, one);
    group.input(one, DriverInput::CheckpointPrepared(1, Err("the disk is full".into())));
    group.run(10);
    let error = group.drivers[one].show_checkpoint()["error"].clone();
    assert_eq!(error, "the disk is full");
}
