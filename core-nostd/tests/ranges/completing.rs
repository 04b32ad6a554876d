//! The completion of logs: that of a candidate by its quorum, that of a learner by any node.

use crane_core::id::Slot;
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, Content, Effect, Effects, Entry, LogEnd, Members, Message, Role, SlotRange,
};

use crate::member::{Member, appended, ballot, id, own_entries, payloads, ranges_to};

fn fetches(out: &Effects) -> Vec<u64> {
    let fetches = out.iter().filter_map(|effect| match effect {
        Effect::Send { message: Message::Fetch { from, .. }, .. } => Some(from.0),
        _ => None,
    });
    fetches.collect()
}

fn copied<const WINDOW: usize>(
    candidate: &mut Member<WINDOW>,
    from: u8,
    first: u64,
    before: Ballot,
    entries: &[Entry],
) -> Effects {
    let range = SlotRange { first: Slot(first), count: entries.len() as u32 };
    let copy = Message::Copy { ballot: candidate.node.ballot(), range, before };
    candidate.hears(from, copy, entries)
}

// specs: P7
#[test]
fn a_candidate_whose_log_is_completed_by_one_range_leads() {
    let mut candidate = Member::<64>::new(2, 3);
    candidate.accepts(1, Ballot::ZERO, &payloads(5, 3));
    candidate.start_election();
    let entries = [&payloads(5, 2)[..], &payloads(6, 3)].concat();
    let asked = candidate.promised(3, LogEnd { ballot: ballot(6), slot: Slot(5) });
    assert_eq!(fetches(&asked), [3], "the candidate does not ask from its last entry on");
    let out = copied(&mut candidate, 3, 3, ballot(5), &entries[2..]);
    assert_eq!((candidate.node.role(), &candidate.log), (Role::Primary, &entries));
    assert_eq!(appended(&out), [(3, 3)]);
}

// specs: P7
#[test]
fn a_candidate_waits_for_the_rest_of_a_range_copied_in_part() {
    let mut candidate = Member::<64>::new(2, 3);
    candidate.start_election();
    let entries = payloads(1, 5);
    candidate.promised(3, LogEnd { ballot: ballot(1), slot: Slot(5) });
    copied(&mut candidate, 3, 1, Ballot::ZERO, &entries[..3]);
    assert_eq!((candidate.node.role(), candidate.log.len()), (Role::Candidate, 3));
    // Entries that do not follow the log are ignored, and repeated ones are not written.
    let out = copied(&mut candidate, 3, 5, ballot(0), &entries[4..]);
    assert_eq!((appended(&out), candidate.node.role()), (vec![], Role::Candidate));
    let out = copied(&mut candidate, 3, 2, ballot(1), &entries[1..]);
    assert_eq!((appended(&out), candidate.log), (vec![(4, 2)], entries));
    assert_eq!(candidate.node.role(), Role::Primary);
}

/// A donor promises with the end of its log, so a longer range does not come from that log.
// specs: P7
#[test]
fn nothing_is_copied_beyond_the_promised_end() {
    let mut candidate = Member::<64>::new(2, 3);
    candidate.start_election();
    candidate.promised(3, LogEnd { ballot: ballot(1), slot: Slot(5) });
    copied(&mut candidate, 3, 1, Ballot::ZERO, &payloads(1, 9));
    assert_eq!((candidate.node.role(), candidate.node.last()), (Role::Primary, Slot(5)));
}

#[test]
fn a_range_of_the_largest_size_leads_to_one_more_fetch() {
    let mut candidate = Member::<128>::new(2, 3);
    candidate.start_election();
    candidate.promised(3, LogEnd { ballot: ballot(1), slot: Slot(100) });
    let out = copied(&mut candidate, 3, 1, Ballot::ZERO, &payloads(1, 64));
    assert_eq!((fetches(&out), appended(&out)), (vec![65], vec![(1, 64)]));
}

#[test]
fn a_donor_sends_ranges_and_serves_committed_entries_from_its_log() {
    let mut donor = Member::<128>::new(2, 3);
    let (entries, candidate) = (payloads(5, 40), Ballot::new(9, Some(id(3))));
    donor.accepts(1, Ballot::ZERO, &entries);
    donor.durable();
    donor.hears(1, Message::Commit { ballot: ballot(5), committed: Slot(4) }, &[]);
    donor.hears(3, Message::Prepare { ballot: candidate }, &[]);
    donor.durable();
    let fetch = |committed: u64, from: u64, before| Message::Fetch {
        ballot: candidate,
        committed: Slot(committed),
        from: Slot(from),
        before,
    };
    let out = donor.hears(3, fetch(0, 1, Ballot::ZERO), &[]);
    let served = out.iter().find_map(|effect| match effect {
        Effect::ServeCatchUp { from, up_to, .. } => Some((from.0, up_to.0)),
        _ => None,
    });
    assert_eq!((served, ranges_to(&out, 3)), (Some((1, 4)), vec![(5, 28)]));
    let out = donor.hears(3, fetch(0, 33, ballot(5)), &[]);
    assert_eq!(ranges_to(&out, 3), [(33, 8)]);
}

// specs: P10
#[test]
fn a_learner_takes_the_entries_that_it_lacks_from_a_chosen_range() {
    let mut learner = Member::<64>::new(2, 3);
    let entries = [&payloads(1, 3)[..], &payloads(2, 3)].concat();
    let chosen = |learner: &mut Member<64>, first: usize, last: usize| {
        let range = SlotRange::between(Slot(first as u64), Slot(last as u64));
        learner.hears(3, Message::Chosen { range }, &entries[first - 1..last])
    };
    learner.accepts(1, Ballot::ZERO, &payloads(1, 5));
    assert_eq!(appended(&chosen(&mut learner, 2, 6)), [], "a range behind a gap was taken");
    assert_eq!(appended(&chosen(&mut learner, 1, 4)), [(4, 1)]);
    assert_eq!((learner.node.committed(), &learner.log[..]), (Slot(4), &entries[..4]));
    assert_eq!(appended(&chosen(&mut learner, 2, 3)), [], "known entries were taken");
    assert_eq!(appended(&chosen(&mut learner, 3, 6)), [(5, 2)]);
    assert_eq!((learner.node.committed(), learner.log), (Slot(6), entries));
}

/// A range of chosen entries lets a candidate or a learner continue at its end. The node asks once,
/// for entries behind the range, and all effects of the range fit into one step.
#[test]
fn chosen_ranges_keep_to_the_bound_of_effects() {
    let entries = own_entries(64);
    let range = SlotRange { first: Slot(1), count: 64 };
    let mut learner = Member::<128>::new(2, NODES_MAX);
    let (ballot, promised) = (Ballot::ZERO, Ballot::ZERO);
    let support = Message::PreVoteReply { ballot, granted: false, promised, committed: Slot(100) };
    assert_eq!(fetches(&learner.hears(3, support, &[])), [1]);
    let out = learner.hears(3, Message::Chosen { range }, &entries);
    assert_eq!((learner.node.committed(), learner.log.len()), (Slot(64), 64));
    assert_eq!((fetches(&out), appended(&out)), (vec![65], vec![(1, 64)]));
}

/// The copied entries change the members, so that promises begin or cease to count.
#[test]
fn copied_ranges_keep_to_the_bound_of_effects() {
    let entries = own_entries(64);
    let mut candidate = Member::<128>::new(2, NODES_MAX);
    let heartbeat = Message::Heartbeat {
        ballot: ballot(70),
        committed: Slot::NONE,
        last: Slot(70),
        last_ballot: ballot(70),
        start: Slot(70),
        beat: 1,
    };
    candidate.hears(1, heartbeat, &[]);
    candidate.durable();
    candidate.start_election();
    for (other, slot) in [(1, 30), (3, 34), (4, 64), (5, 64), (6, 20), (7, 10)] {
        candidate.promised(other, LogEnd { ballot: ballot(slot), slot: Slot(slot) });
    }
    assert_eq!(candidate.node.role(), Role::Candidate);
    let mut written = 0;
    for from in 1..=7 {
        if from != 2 {
            let out = copied(&mut candidate, from, 1, Ballot::ZERO, &entries);
            written += appended(&out).iter().map(|(_, count)| count).sum::<u32>();
        }
    }
    assert_eq!((written, candidate.log), (64, entries));
}

/// A member whose vote counts only by the fetched entries has promised a shorter log of a higher
/// ballot. The fetched entries are yet to be written, so the same step must not cut them off again.
// specs: P7
#[test]
fn appended_entries_are_not_cut_off_in_the_same_step() {
    let mut candidate = Member::<64>::new(2, 3);
    let with_four = Content::Change(Members::first(4));
    let change = |round| Entry { ballot: ballot(round), content: with_four };
    candidate.accepts_under(ballot(1), 1, Ballot::ZERO, &[payloads(1, 1)[0], change(1)]);
    candidate.durable();
    candidate.hears(1, Message::Commit { ballot: ballot(1), committed: Slot(1) }, &[]);
    candidate.hears(1, Message::Prepare { ballot: ballot(8) }, &[]);
    candidate.durable();
    candidate.start_election();
    candidate.promised(1, LogEnd { ballot: ballot(5), slot: Slot(3) });
    candidate.promised(3, LogEnd { ballot: ballot(5), slot: Slot(1) });
    // In the first member's log, the fourth node is no member until the next entry.
    copied(&mut candidate, 1, 2, ballot(1), &payloads(5, 1));
    candidate.promised(4, LogEnd { ballot: ballot(6), slot: Slot(1) });
    assert_eq!((candidate.node.role(), candidate.log.len()), (Role::Candidate, 2));
    let out = copied(&mut candidate, 1, 3, ballot(5), &[change(5)]);
    assert_eq!((appended(&out), candidate.log.len()), (vec![(3, 1)], 3));
    candidate.durable();
    if candidate.node.role() != Role::Primary {
        candidate.start_election();
        for member in [1, 3, 4] {
            candidate.promised(member, LogEnd { ballot: ballot(6), slot: Slot(1) });
        }
    }
    assert_eq!((candidate.node.role(), candidate.log.len()), (Role::Primary, 1));
}
