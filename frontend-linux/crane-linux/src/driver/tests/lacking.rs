//! Tests of replicas that need a checkpoint which nobody has yet.

use super::*;
use crate::driver::rooms::ReplicaProgress;

/// Lets the servers make many calls, and send bytes to clients.
fn do_much(group: &mut Group, times: u64) {
    for driver in &mut group.drivers {
        (driver.host().clock, driver.host().outputs) = (5000 * times, vec![7; 4 * times as usize]);
    }
    group.input(group.primary(), DriverInput::Client(times, connected()));
    group.run(3000);
}

fn taken(group: &Group) -> [bool; 3] {
    [0, 1, 2].map(|place| group.drivers[place].checkpoint.newest().is_some())
}

#[test]
fn a_backup_takes_a_checkpoint_for_a_replica_that_needs_one_and_proves_it() {
    let (mut group, lagging, other) = Group::with_backups();
    group.run(1000);
    do_much(&mut group, 1);
    assert_eq!(taken(&group), [false; 3], "the control");
    group.drivers[lagging].need_checkpoint(Slot(1));
    group.run(2000);
    let mut expected = [false; 3];
    expected[other] = true;
    assert_eq!(taken(&group), expected, "not the primary, and not the one that needs it");
    do_much(&mut group, 2);
    let asked = group.drivers[lagging].host().asked_for_checkpoint.clone();
    assert_eq!(asked, [(node(other), true)], "it is proved and fetched");
}

#[test]
fn a_replica_is_not_helped_by_a_proved_checkpoint_of_its_own() {
    let (mut group, lagging, other) = Group::with_backups();
    group.run(1000);
    do_much(&mut group, 1);
    let has = ReplicaProgress { proved: Slot(2), needed: Slot(1), ..ReplicaProgress::default() };
    for place in [group.primary(), other] {
        group.drivers[place].on_progress(node(lagging), has);
    }
    group.run(2000);
    assert!(taken(&group)[other], "{:?}", taken(&group));
}

#[test]
fn a_primary_with_the_only_server_takes_one_and_proves_it_by_its_own_marks() {
    let (mut group, one, other) = Group::with_backups();
    group.run(1000);
    do_much(&mut group, 1);
    let primary = group.primary();
    group.drivers[one].need_checkpoint(Slot(1));
    group.drivers[other].need_checkpoint(Slot(1));
    group.run(2000);
    assert!(taken(&group)[primary], "{:?}", taken(&group));
    // The marks of the others say nothing: they have no servers.
    for backup in [one, other] {
        group.drivers[backup].host().outputs = vec![1];
    }
    assert!(group.drivers[primary].has_the_only_server());
    do_much(&mut group, 2);
    assert!(group.drivers[primary].checkpoint.newest_proved().is_some());
}

#[test]
fn a_primary_without_a_server_hands_its_role_on() {
    let (mut group, _, _) = Group::with_backups();
    group.run(1000);
    let before = group.primary();
    group.run(5000);
    assert_eq!(group.primary(), before, "the control");
    group.drivers[before].lose_server();
    group.run(5000);
    assert_ne!(group.primary(), before, "nobody grants its servers steps");
}

#[test]
fn a_new_member_has_proved_nothing_that_an_old_one_of_its_number_had() {
    let (mut group, one, _) = Group::with_backups();
    group.run(1000);
    let (primary, gone) = (group.primary(), node(one));
    let driver = &mut group.drivers[primary];
    let progress = ReplicaProgress { proved: Slot(5), ..ReplicaProgress::default() };
    driver.on_progress(gone, progress);
    let left = NodeSet::first(3).without(gone);
    let members = Members { voters: left, learners: NodeSet::EMPTY, witnesses: NodeSet::EMPTY };
    driver.on_committed_change(Slot(100), &members);
    assert_eq!(driver.checkpoint.peers[gone.index()], ReplicaProgress::default());
}
