//! Requested entries: a candidate completes its log with them, and a learner catches up.

use crate::id::{NodeId, Slot};

use super::fetching::FETCH_SLOTS;
use super::roles::{Fetching, RoleState};
use super::{Ballot, Effects, Entry, Node, SlotRange};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Takes entries with which this candidate completes its log.
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

    /// Takes one entry, and returns whether the log here equals the donor's up to that entry.
    // specs: P4
    pub(super) fn on_copy(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        slot: Slot,
        before: Ballot,
        entry: &Entry,
        out: &mut Effects,
    ) -> bool {
        let RoleState::Candidate(candidacy) = &self.role_state else { return false };
        let Some(fetching) = candidacy.fetching else { return false };
        let expected = candidacy.ballot == ballot
            && fetching.donor == from
            && slot > fetching.got
            && slot <= fetching.target.slot
            && entry.ballot < ballot;
        let previous = Slot(slot.0.saturating_sub(1));
        let agrees = previous <= self.acceptor.committed
            || self.acceptor.log.ballot(previous) == Some(before);
        if !expected || !agrees {
            return false;
        }
        if slot > self.acceptor.committed && self.acceptor.log.ballot(slot) != Some(entry.ballot) {
            if !self.acceptor.log.has_room(slot) {
                return false;
            }
            self.put(slot, *entry, out);
        }
        true
    }

    /// Asks for the next range after one has arrived, or proceeds if none is missing. The whole
    /// range is requested at once, because the slots in between are here already.
    pub(super) fn go_on_fetching(&mut self, come: SlotRange, out: &mut Effects) {
        if let Some((node, from)) = self.learning
            && come.first.0 < from.0 + FETCH_SLOTS
            && come.last().next().0 >= from.0 + FETCH_SLOTS
            && self.following.ballot.is_none()
        {
            self.learn_from(node, out);
        }
        let give_up_at = self.now + self.candidacy_timeout();
        let RoleState::Candidate(candidacy) = &mut self.role_state else { return };
        let Some(fetching) = &mut candidacy.fetching else { return };
        fetching.got = fetching.got.max(come.last());
        candidacy.give_up_at = give_up_at;
        let Fetching { donor, target, asked_from, got } = *fetching;
        if got >= target.slot {
            candidacy.fetching = None;
            candidacy.taken = target;
            return self.weigh_promises(out);
        }
        if got.0 + 1 >= asked_from.0 + FETCH_SLOTS {
            fetching.asked_from = got.next();
            let ballot = candidacy.ballot;
            self.fetch(donor, ballot, got.next(), out);
        }
    }
}
