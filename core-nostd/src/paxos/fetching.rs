//! Ranges of another node's log: asked for by a candidate that completes its own, or by one that
//! learns of a higher commit index; and how they are answered.

use crate::id::{NodeId, Slot};

use super::node::{RoleState, push, send};
use super::{Ballot, Effect, Effects, Entry, LogEnd, Message, Node, SlotRange};

/// Slots that one [`Message::Fetch`] asks for.
const FETCH_SLOTS: u64 = 32;

/// What a candidate takes from another log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Fetching {
    pub(super) donor: NodeId,
    pub(super) target: LogEnd,
    /// What the last question asked for, and how far the log here is the donor's.
    pub(super) asked_from: Slot,
    pub(super) got: Slot,
}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Asks a node that knows more to be committed. It need not be, or reach, the primary.
    pub(super) fn learn_from(&mut self, node: NodeId, out: &mut Effects) {
        let from = self.committed.next();
        self.learning = Some((node, from));
        self.fetch(node, Ballot::ZERO, from, out);
    }

    pub(super) fn fetch(&self, node: NodeId, ballot: Ballot, from: Slot, out: &mut Effects) {
        let before = self.log.ballot(Slot(from.0 - 1)).unwrap_or_default();
        let committed = self.committed;
        send(out, node, Message::Fetch { ballot, committed, from, before });
    }

    /// Sends a range of the log: the decided part from the frontend's storage, for a candidate also
    /// the undecided part.
    pub(super) fn on_fetch(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        committed: Slot,
        (wanted, before): (Slot, Ballot),
        out: &mut Effects,
    ) {
        let agrees = wanted > committed && self.log.ballot(Slot(wanted.0 - 1)) == Some(before);
        let first = if agrees { wanted } else { Slot(committed.0.saturating_add(1)) };
        if first > self.log.last() {
            return;
        }
        let base = self.log.base().slot;
        let range_end = Slot(first.0.saturating_add(FETCH_SLOTS - 1)).min(self.log.last());
        if first <= base {
            push(out, Effect::ServeCatchUp { to: from, from: first, up_to: range_end.min(base) });
        }
        if !ballot.belongs_to(from) || ballot != self.promised || self.following.is_some() {
            return;
        }
        let mut slot = first.max(base.next());
        while slot <= range_end {
            let range = self.log.range(slot, range_end);
            let before = self.log.ballot(Slot(slot.0 - 1)).expect("the window has no gaps");
            send(out, from, Message::Copy { ballot, range, before });
            slot = range.last().next();
        }
    }

    pub(super) fn on_copies(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        first: Slot,
        before: Ballot,
        entries: &[Entry],
        out: &mut Effects,
    ) {
        let (mut slot, mut before) = (first, before);
        let mut come = None;
        for entry in entries {
            if self.on_copy(from, ballot, slot, before, entry, out) {
                come =
                    Some(SlotRange::between(come.map_or(slot, |come: SlotRange| come.first), slot));
            }
            (slot, before) = (slot.next(), entry.ballot);
        }
        if let Some(come) = come {
            self.go_on_fetching(come, out);
        }
    }

    /// Says whether the log here is the donor's up to this entry.
    // specs: P4
    fn on_copy(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        before: Ballot,
        entry: &Entry,
        out: &mut Effects,
    ) -> bool {
        let RoleState::Candidate(candidacy) = self.part else { return false };
        let Some(fetching) = candidacy.fetching else { return false };
        let expected = candidacy.ballot == ballot
            && fetching.donor == from
            && slot > fetching.got
            && slot <= fetching.target.slot
            && entry.ballot < ballot;
        let previous = Slot(slot.0.saturating_sub(1));
        let agrees = previous <= self.committed || self.log.ballot(previous) == Some(before);
        if !expected || !agrees {
            return false;
        }
        if slot > self.committed && self.log.ballot(slot) != Some(entry.ballot) {
            if !self.log.has_room(slot) {
                return false;
            }
            self.put(slot, *entry, out);
        }
        true
    }

    /// After a range has come: asks for the next range, or goes on to what the entries were for.
    /// Once for all of them: what is between is here already.
    pub(super) fn go_on_fetching(&mut self, come: SlotRange, out: &mut Effects) {
        if let Some((node, from)) = self.learning
            && come.first.0 < from.0 + FETCH_SLOTS
            && come.last().next().0 >= from.0 + FETCH_SLOTS
            && self.following.is_none()
        {
            self.learn_from(node, out);
        }
        let RoleState::Candidate(mut candidacy) = self.part else { return };
        let Some(fetching) = &mut candidacy.fetching else { return };
        fetching.got = fetching.got.max(come.last());
        candidacy.give_up_at = self.now + self.config.election_timeout.times(2);
        let Fetching { donor, target, asked_from, got } = *fetching;
        if got >= target.slot {
            candidacy.fetching = None;
            candidacy.taken = target;
            self.part = RoleState::Candidate(candidacy);
            return self.weigh_promises(out);
        }
        if got.0 + 1 >= asked_from.0 + FETCH_SLOTS {
            fetching.asked_from = got.next();
            self.part = RoleState::Candidate(candidacy);
            return self.fetch(donor, candidacy.ballot, got.next(), out);
        }
        self.part = RoleState::Candidate(candidacy);
    }
}
