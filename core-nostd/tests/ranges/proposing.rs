//! A primary that proposes several payloads at once.

use crane_core::id::Slot;
use crane_core::paxos::{Descriptor, Effect, Effects, Input, Members, ProposeError};

use crate::member::{Member, appended, id, ranges_to};

const MANY_BYTES: u64 = 1 << 40;

// specs: P5
#[test]
fn several_payloads_are_one_write_and_one_message_for_each_backup() {
    let mut primary = Member::<128>::leading(3, MANY_BYTES);
    let (taken, out) = primary.propose(&[10; 5]);
    assert_eq!((taken, appended(&out)), (5, vec![(1, 5)]));
    assert_eq!((ranges_to(&out, 2), ranges_to(&out, 3)), (vec![(1, 5)], vec![(1, 5)]));
    let (_, out) = primary.propose(&[10; 2]);
    assert_eq!((appended(&out), ranges_to(&out, 2)), (vec![(6, 2)], vec![(6, 2)]));
    assert_eq!(out.len(), 3, "the proposal has other effects: {out:?}");
}

#[test]
fn a_range_has_at_most_64_entries() {
    let mut primary = Member::<256>::leading(2, MANY_BYTES);
    let (taken, out) = primary.propose(&[10; 200]);
    assert_eq!((taken, appended(&out)), (200, vec![(1, 200)]));
    assert_eq!(ranges_to(&out, 2), [(1, 64), (65, 64), (129, 64), (193, 8)]);
}

#[test]
fn a_range_has_at_most_64_kib_and_a_longer_entry_goes_alone() {
    let mut primary = Member::<128>::leading(2, MANY_BYTES);
    const KIB: u32 = 1024;
    let (_, out) = primary.propose(&[32 * KIB, 32 * KIB, 1, 128 * KIB, 128 * KIB, 0, 0]);
    assert_eq!(ranges_to(&out, 2), [(1, 2), (3, 1), (4, 1), (5, 1), (6, 2)]);
    // The bytes of decided entries, which have left the window, do not count any more.
    primary.durable();
    primary.acknowledged(2, 7);
    assert_eq!(primary.node.committed(), Slot(7));
    let (_, out) = primary.propose(&[64 * KIB, 1, 64 * KIB - 1, 1]);
    assert_eq!(ranges_to(&out, 2), [(8, 1), (9, 2), (11, 1)]);
}

#[test]
fn entries_beyond_the_room_for_effects_follow_later() {
    let mut primary = Member::<256>::leading(2, MANY_BYTES);
    let (taken, mut out) = primary.propose(&[100_000; 120]);
    let mut sent = ranges_to(&out, 2);
    while primary.node.deadline() <= primary.now {
        out = primary.step(Input::Wake);
        sent.extend(ranges_to(&out, 2));
    }
    assert_eq!(taken, 120);
    assert!(sent.into_iter().eq((1..=120).map(|slot| (slot, 1))));
}

/// Makes the largest number of effects: entries for one member as far as they have room, service
/// from the log for all others, which are far behind, and the committed index for all.
#[test]
fn effects_behind_entries_have_room() {
    let voters = [1].into_iter().map(id).collect();
    let learners = (2..=7).map(id).collect();
    let members = Members { voters, learners, ..Members::default() };
    let mut primary = Member::<256>::leading_of(members, MANY_BYTES);
    primary.propose(&[100_000; 250]);
    primary.durable_up_to(50);
    let out = primary.durable();
    let served = out.iter().filter(|effect| matches!(effect, Effect::ServeCatchUp { .. })).count();
    assert_eq!((ranges_to(&out, 2).len(), served), (42, 5));
    assert_eq!(primary.node.committed(), Slot(250));
}

#[test]
fn payloads_are_taken_as_far_as_the_window_has_room() {
    let mut primary = Member::<4>::leading(3, MANY_BYTES);
    let (taken, out) = primary.propose(&[10; 6]);
    assert_eq!((taken, appended(&out), ranges_to(&out, 3)), (4, vec![(1, 4)], vec![(1, 4)]));
    assert_eq!(primary.node.capacity_left(), 0);
    let before = primary.node.clone();
    let mut out = Effects::new();
    let descriptor = Descriptor { length: 1, digest: 1 };
    let refused = primary.node.propose(primary.now, &[descriptor; 2], &mut out);
    assert_eq!((refused, out.len()), (Err(ProposeError::Full), 0));
    assert!(primary.node == before, "a refused proposal has changed the node");
    primary.durable();
    primary.acknowledged(2, 3);
    let (taken, out) = primary.propose(&[10; 6]);
    assert_eq!((taken, ranges_to(&out, 2)), (3, vec![(5, 3)]));
}

#[test]
fn undecided_bytes_are_bounded_but_one_payload_is_always_taken() {
    let mut primary = Member::<16>::leading(2, 100);
    assert_eq!(primary.propose(&[1000, 1]).0, 1);
    primary.durable();
    primary.acknowledged(2, 1);
    assert_eq!(primary.propose(&[40, 40, 20, 1]).0, 3);
    primary.durable();
    primary.acknowledged(2, 3);
    assert_eq!(primary.propose(&[80, 1]).0, 1, "20 undecided bytes leave room for 80");
}

#[test]
fn a_primary_whose_disk_lacks_many_decided_bytes_waits_for_its_sync() {
    let mut primary = Member::<16>::leading(3, u64::from(u32::MAX));
    primary.propose(&[60 << 20, 10 << 20]);
    primary.acknowledged(2, 2);
    primary.acknowledged(3, 2);
    assert_eq!((primary.node.committed(), primary.node.durable()), (Slot(2), Slot::NONE));
    let one = [Descriptor { length: 1, digest: 9 }];
    let refused = primary.node.propose(primary.now, &one, &mut Effects::new());
    assert_eq!(refused, Err(ProposeError::Full));
    primary.durable();
    assert_eq!(primary.propose(&[1]).0, 1);
}

#[test]
fn a_proposal_without_payloads_has_no_effect() {
    let mut primary = Member::<16>::leading(3, MANY_BYTES);
    let (taken, out) = primary.propose(&[]);
    assert_eq!((taken, out.len(), primary.node.last()), (0, 0, Slot::NONE));
}

// specs: P9
#[test]
fn one_number_decides_several_proposals() {
    let mut primary = Member::<16>::leading(3, MANY_BYTES);
    primary.propose(&[10; 2]);
    primary.propose(&[10; 3]);
    primary.durable();
    let out = primary.acknowledged(3, 5);
    let committed = |effect: &Effect| matches!(effect, Effect::Committed { up_to: Slot(5) });
    assert_eq!(out.iter().filter(|effect| committed(effect)).count(), 1);
    assert_eq!(primary.node.committed(), Slot(5));
}

#[test]
fn a_member_with_a_part_of_the_log_gets_the_rest_in_one_range() {
    let mut primary = Member::<16>::leading(3, MANY_BYTES);
    primary.propose(&[10; 6]);
    primary.step(Input::LinkUp { node: id(2) });
    let out = primary.acknowledged(2, 2);
    assert_eq!((ranges_to(&out, 2), ranges_to(&out, 3)), (vec![(3, 4)], vec![]));
}
