//! Slot ranges at a backup, or at any other node that receives one.

use crane_core::id::Slot;
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, Content, Descriptor, Effect, Effects, Entry, LogEnd, Message, RANGE_ENTRIES_MAX, Role,
    SlotRange, StorageEpoch,
};

use crate::member::{Member, acknowledgements, appended, ballot, id, own_entries, payloads};

type Backup = Member<16>;

fn appends(out: &Effects) -> usize {
    out.iter().filter(|effect| matches!(effect, Effect::Append { .. })).count()
}

// specs: P3
#[test]
fn two_ranges_are_acknowledged_by_one_number() {
    let mut backup = Backup::new(2, 3);
    let out = backup.accepts(1, Ballot::ZERO, &payloads(5, 2));
    assert_eq!((appended(&out), acknowledgements(&out)), (vec![(1, 2)], vec![]));
    let out = backup.accepts(3, ballot(5), &payloads(5, 3));
    assert_eq!((appended(&out), acknowledgements(&out)), (vec![(3, 3)], vec![]));
    assert_eq!(acknowledgements(&backup.durable()), [(5, 5)]);
}

// specs: P4
#[test]
fn known_entries_are_not_written_again() {
    let mut backup = Backup::new(2, 3);
    let entries = payloads(5, 6);
    backup.accepts(1, Ballot::ZERO, &entries[..3]);
    let out = backup.accepts(2, ballot(5), &entries[1..]);
    assert_eq!((appended(&out), &backup.log), (vec![(4, 3)], &entries));
    let out = backup.accepts(1, Ballot::ZERO, &entries);
    assert_eq!((appended(&out), &backup.log), (vec![], &entries));
    assert_eq!(acknowledgements(&backup.durable()), [(6, 6)]);
}

// specs: P4
#[test]
fn a_range_that_conflicts_in_its_middle_cuts_the_log_there() {
    let mut backup = Backup::new(2, 3);
    let others = payloads(3, 6);
    backup.accepts_under(ballot(3), 1, Ballot::ZERO, &others);
    assert_eq!(acknowledgements(&backup.durable()), [(6, 6)]);
    let entries = [&others[..2], &payloads(4, 2)].concat();
    let out = backup.accepts(1, Ballot::ZERO, &entries);
    assert_eq!((appended(&out), &backup.log), (vec![(3, 2)], &entries));
    assert_eq!(backup.node.durable(), Slot(2), "entries that were cut off count as durable");
    assert_eq!(acknowledgements(&backup.durable()), [(4, 4)]);
}

#[test]
fn a_range_of_known_entries_cuts_nothing_off() {
    let mut backup = Backup::new(2, 3);
    let entries = payloads(5, 6);
    backup.accepts(1, Ballot::ZERO, &entries);
    let out = backup.accepts(2, ballot(5), &entries[1..3]);
    assert_eq!((appended(&out), &backup.log), (vec![], &entries));
}

// specs: P4
#[test]
fn a_range_behind_a_gap_or_another_log_is_not_accepted() {
    let mut backup = Backup::new(2, 3);
    let entries = payloads(5, 6);
    let out = backup.accepts(3, ballot(5), &entries[2..]);
    assert_eq!((appended(&out), backup.log.len()), (vec![], 0));
    backup.accepts(1, Ballot::ZERO, &payloads(4, 2));
    let out = backup.accepts(3, ballot(5), &entries[2..]);
    assert_eq!((appended(&out), backup.log), (vec![], payloads(4, 2)));
}

// specs: P4
#[test]
fn committed_entries_stay_below_a_range_that_overlaps_them() {
    let mut backup = Backup::new(2, 3);
    let entries = payloads(5, 6);
    backup.accepts(1, Ballot::ZERO, &entries[..4]);
    backup.durable();
    backup.hears(1, Message::Commit { ballot: ballot(5), committed: Slot(3) }, &[]);
    assert_eq!((backup.node.committed(), backup.node.snapshot().slot), (Slot(3), Slot(3)));
    let out = backup.accepts(1, Ballot::ZERO, &entries[..3]);
    assert_eq!((appended(&out), backup.log.len()), (vec![], 4));
    // Neither the committed entries of the range are checked, nor the ballot before it.
    let mut repeated = entries.clone();
    repeated[..3].copy_from_slice(&payloads(2, 3));
    let out = backup.accepts(2, ballot(1), &repeated[1..]);
    assert_eq!((appended(&out), &backup.log), (vec![(5, 2)], &entries));
    assert_eq!(acknowledgements(&backup.durable()), [(6, 6)]);
}

#[test]
fn a_range_is_accepted_as_far_as_the_window_has_room() {
    let mut backup = Member::<4>::new(2, 3);
    let entries = payloads(5, 6);
    let out = backup.accepts(1, Ballot::ZERO, &entries);
    assert_eq!((appended(&out), &backup.log[..]), (vec![(1, 4)], &entries[..4]));
    assert_eq!(acknowledgements(&backup.durable()), [(4, 4)]);
    backup.hears(1, Message::Commit { ballot: ballot(5), committed: Slot(1) }, &[]);
    let out = backup.accepts(1, Ballot::ZERO, &entries);
    assert_eq!((appended(&out), &backup.log[..]), (vec![(5, 1)], &entries[..5]));
    // A conflict does not make room for more entries.
    let others = payloads(5, 1)[0];
    let others = [vec![Entry { ballot: ballot(4), ..others }], payloads(5, 9)].concat();
    let mut backup = Member::<4>::new(2, 3);
    backup.accepts(1, Ballot::ZERO, &payloads(3, 4));
    let out = backup.accepts(1, Ballot::ZERO, &others);
    assert_eq!((appended(&out), &backup.log[..]), (vec![(1, 4)], &others[..4]));
}

#[test]
fn a_range_with_an_entry_above_its_primarys_ballot_is_not_accepted() {
    let mut backup = Backup::new(2, 3);
    let entries = [payloads(5, 3), payloads(6, 1)].concat();
    let out = backup.accepts(1, Ballot::ZERO, &entries);
    assert_eq!((out.len(), backup.log.len()), (0, 0));
}

/// Returns messages with a range: of a primary, of a donor, and of a node that knows its entries to
/// be chosen.
fn with_range(range: SlotRange) -> [Message; 3] {
    let (before, committed, start) = (ballot(5), Slot::NONE, Slot::NONE);
    [
        Message::Accept { ballot: ballot(5), range, before, committed, start },
        Message::Copy { ballot: ballot(5), range, before },
        Message::Chosen { range },
    ]
}

/// Returns a backup with two entries, a candidate that fetches entries, and a primary.
fn in_each_role() -> [Backup; 3] {
    let mut backup = Backup::new(2, 3);
    backup.accepts(1, Ballot::ZERO, &payloads(5, 2));
    let mut candidate = Backup::new(2, 3);
    candidate.accepts(1, Ballot::ZERO, &payloads(4, 2));
    candidate.start_election();
    candidate.promised(3, LogEnd { ballot: ballot(5), slot: Slot(u64::MAX - 1) });
    let mut primary = Backup::leading(3, 1 << 20);
    primary.propose(&[1; 2]);
    assert_eq!(candidate.node.role(), Role::Candidate);
    [backup, candidate, primary]
}

#[test]
fn a_message_without_its_entries_changes_nothing() {
    for mut member in in_each_role() {
        let before = member.node.clone();
        let counts = [0, 1, 2, 63, 64, 65, 128, 1 << 16, u32::MAX - 1, u32::MAX];
        for (named, there) in counts.iter().flat_map(|named| [0, 1, 3, 64, 65].map(|n| (*named, n)))
        {
            if named as usize == there && (1..=RANGE_ENTRIES_MAX).contains(&there) {
                continue;
            }
            for message in with_range(SlotRange { first: Slot(3), count: named }) {
                let out = member.hears(3, message, &payloads(5, there));
                assert_eq!(out.len(), 0, "{message:?} with {there} entries");
                assert!(member.node == before, "{message:?} with {there} entries");
            }
        }
        let message = Message::Commit { ballot: ballot(5), committed: Slot(2) };
        assert_eq!(member.hears(1, message, &payloads(5, 1)).len(), 0);
        assert!(member.node == before, "a message without a range has used entries");
    }
}

#[test]
fn ranges_at_the_last_slots_and_before_the_first_change_nothing() {
    for mut member in in_each_role() {
        let log = member.log.clone();
        let known = (member.node.committed(), member.node.durable());
        let ends = (0..140).map(|back| u64::MAX - back);
        for first in ends.chain([0, u64::MAX / 2, 1 << 32]) {
            for count in [1, 2, 63, 64] {
                for message in with_range(SlotRange { first: Slot(first), count }) {
                    for from in [1, 3] {
                        let out = member.hears(from, message, &payloads(5, count as usize));
                        assert_eq!(appends(&out), 0, "{message:?}");
                        assert_eq!(member.log, log, "{message:?}");
                        let knows = (member.node.committed(), member.node.durable());
                        assert_eq!(knows, known, "{message:?}");
                    }
                }
            }
        }
    }
}

/// The group has seven members, and each entry of the range has an effect.
#[test]
fn a_range_of_entries_without_payloads_keeps_to_the_bound_of_effects() {
    let entries = own_entries(64);
    let range = SlotRange { first: Slot(1), count: 64 };
    let mut backup = Member::<128>::new(2, NODES_MAX);
    let (before, committed, start) = (Ballot::ZERO, Slot(64), Slot(40));
    let message = Message::Accept { ballot: ballot(64), range, before, committed, start };
    let out = backup.hears(1, message, &entries);
    assert_eq!((appended(&out), backup.log.len()), (vec![(1, 64)], 64));
    assert_eq!(backup.node.committed(), Slot(64));
    let members = |out: &Effects| {
        out.iter().filter(|effect| matches!(effect, Effect::Members { .. })).count()
    };
    assert!(members(&out) <= 1, "the members are reported twice");
}

/// An entry names the epoch that counts from then on, even if the whole range is decided at once.
// specs: R5, R8
#[test]
fn a_range_may_end_the_epoch_of_its_receiver() {
    let mut backup = Member::<128>::new(2, 3);
    let epoch = StorageEpoch(77);
    let content = Content::Rejoin { node: id(2), epoch };
    let payload = Content::Payload(Descriptor { length: 1, digest: 1 });
    let entries = [payload, content, payload].map(|content| Entry { ballot: ballot(5), content });
    backup.hears(1, Message::Chosen { range: SlotRange { first: Slot(1), count: 3 } }, &entries);
    backup.durable();
    backup.durable();
    assert!(!backup.node.voting().is_voter(), "{:?}", backup.node.voting());
}
