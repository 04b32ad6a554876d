//! The acceptor: promises, acceptances, and the answers once these are durable.

use crate::id::{NodeId, Slot};
use crate::mutants::{Mutant, broken};

use super::node::send;
use super::roles::{PrimarySeen, RoleState};
use super::state::Following;
use super::{Ballot, Effects, Entry, Message, Node, Reason, SlotRange, WriteNumber};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Handles phase 1b. The answer waits until the promise is durable.
    // specs: P2
    pub(super) fn on_prepare(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) {
        if !ballot.belongs_to(from) {
            return;
        }
        self.recall_promise(from, ballot);
        if !self.may_vote() {
            return;
        }
        if ballot < self.acceptor.promised {
            return send(out, from, Message::Refused { ballot, promised: self.acceptor.promised });
        }
        if ballot > self.acceptor.promised {
            self.promise(ballot, out);
            self.wait_for_candidate();
            self.emit_role(Reason::HigherBallot, out);
        }
        if self.following.ballot.is_none() {
            self.acceptor.answer_due = true;
            self.answer_prepare(out);
        }
    }

    /// Answers the candidate of the last promise, once that promise is durable.
    // specs: P3
    fn answer_prepare(&mut self, out: &mut Effects) {
        let durable = self.acceptor.promise_is_durable() || broken(Mutant::PromiseEarly);
        if !self.acceptor.answer_due || !durable {
            return;
        }
        self.acceptor.answer_due = false;
        if let (Some(epoch), Some(candidate)) = (self.epoch(), self.acceptor.promised.node()) {
            let (ballot, end, committed) =
                (self.acceptor.promised, self.end(), self.acceptor.committed);
            send(out, candidate, Message::Promised { ballot, epoch, end, committed });
        }
    }

    /// Returns whether a primary's message counts. If it does, this node follows that primary from
    /// now on.
    // specs: P2
    fn follow(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) -> bool {
        if !ballot.belongs_to(from) {
            return false;
        }
        // This ballot was promised, and no other one has been promised since.
        if self.following.ballot == Some(ballot) {
            self.timer.restart(self.now);
            return true;
        }
        self.follow_new(from, ballot, out)
    }

    /// Begins to follow the primary of `ballot`, or refuses it for a higher promise.
    #[cold]
    fn follow_new(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) -> bool {
        self.recall_promise(from, ballot);
        if ballot < self.acceptor.promised && !broken(Mutant::PromiseIgnored) {
            send(out, from, Message::Refused { ballot, promised: self.acceptor.promised });
            return false;
        }
        if ballot > self.acceptor.promised {
            self.promise(ballot, out);
        }
        self.acceptor.answer_due = false;
        self.role_state = RoleState::Backup;
        self.timer.attempts = 0;
        // A log that was accepted under this ballot is the beginning of the primary's log. Of any
        // other log, only the committed part is certain to be in the primary's log.
        let own = self.acceptor.accepted == ballot;
        let matched = if own { self.acceptor.log.last() } else { self.acceptor.committed };
        self.following = Following::primary(ballot, matched);
        self.timer.primary_heard = self.now;
        self.wait_for_primary();
        self.emit_role(Reason::PrimaryFound, out);
        true
    }

    /// Handles phase 2b for a range of entries.
    // specs: P4
    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        seen: PrimarySeen,
        first: Slot,
        before: Ballot,
        entries: &[Entry],
        out: &mut Effects,
    ) {
        let possible = entries.iter().all(|entry| entry.ballot <= seen.ballot);
        if !possible || !self.follow(from, seen.ballot, out) {
            return;
        }
        let previous = Slot(first.0 - 1);
        let unchecked = broken(Mutant::RunUnchecked) && previous <= self.acceptor.log.last();
        if previous <= self.acceptor.committed
            || self.acceptor.log.ballot(previous) == Some(before)
            || unchecked
        {
            self.accept_range(first, entries, out);
        }
        self.advance(seen, out);
    }

    /// Accepts entries of the primary that this node follows. Below them, the log here equals that
    /// primary's log.
    // specs: P4
    fn accept_range(&mut self, first: Slot, entries: &[Entry], out: &mut Effects) {
        let decided = (self.acceptor.committed.0 + 1).saturating_sub(first.0);
        let Ok(skipped) = usize::try_from(decided) else { return };
        let Some(mut rest) = entries.get(skipped..) else { return };
        let mut slot = Slot(first.0 + decided);
        while let Some((entry, after)) = rest.split_first()
            && (self.acceptor.log.ballot(slot) == Some(entry.ballot)
                || broken(Mutant::ConflictKept) && slot <= self.acceptor.log.last())
        {
            (slot, rest) = (slot.next(), after);
            if broken(Mutant::RunSkipped) {
                (slot, rest) =
                    (Slot(slot.0 + rest.len() as u64).min(self.acceptor.log.last().next()), &[]);
            }
        }
        self.following.matched = self.following.matched.max(Slot(slot.0 - 1));
        let room = if self.is_disk_behind() { 0 } else { self.acceptor.log.room_from(slot) };
        let rest = &rest[..rest.len().min(room)];
        if !rest.is_empty() {
            self.put_all(slot, rest.iter().copied(), out);
            self.following.matched = self.acceptor.log.last();
        }
    }

    /// Takes a heartbeat, which names the end of the primary's log, and answers it.
    pub(super) fn on_heartbeat(
        &mut self,
        from: NodeId,
        seen: PrimarySeen,
        last: Slot,
        last_ballot: Ballot,
        beat: u64,
        out: &mut Effects,
    ) {
        if !self.follow(from, seen.ballot, out) {
            return;
        }
        if self.acceptor.log.ballot(last) == Some(last_ballot) {
            self.following.matched = self.following.matched.max(last);
        }
        self.advance(seen, out);
        self.acknowledge(beat, out);
    }

    /// Takes the primary's new commit index.
    // specs: P10
    pub(super) fn on_commit(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        committed: Slot,
        out: &mut Effects,
    ) {
        if self.follow(from, ballot, out) {
            self.commit(committed.min(self.following.matched));
        }
    }

    /// Adopts, commits and acknowledges the part of the log here that is newly known to equal the
    /// primary's.
    // specs: P10
    #[inline]
    fn advance(&mut self, seen: PrimarySeen, out: &mut Effects) {
        self.adopt(seen, out);
        let known = if broken(Mutant::CommittedUnmatched) {
            self.acceptor.log.last()
        } else {
            self.following.matched
        };
        self.commit(seen.committed.min(known));
        self.acknowledge(0, out);
    }

    /// Accepts the log as a whole under the primary's ballot, once it has every entry that the
    /// primary took over.
    // specs: P8
    fn adopt(&mut self, PrimarySeen { ballot, start, .. }: PrimarySeen, out: &mut Effects) {
        if self.acceptor.accepted >= ballot || self.following.matched < start {
            return;
        }
        // No entry of this ballot is here yet, so the rest is not the primary's.
        let up_to = if broken(Mutant::TailKept) {
            self.acceptor.log.last()
        } else {
            self.following.matched
        };
        if up_to < self.acceptor.log.last() {
            self.truncate(up_to.next());
        }
        self.accept_under(ballot, up_to, out);
    }

    /// Acknowledges the durable part of the log to the primary, when that part has grown, and with
    /// each heartbeat.
    // specs: P3, P8
    fn acknowledge(&mut self, beat: u64, out: &mut Effects) {
        let Some(ballot) = self.following.ballot else { return };
        let Some(primary) = ballot.node() else { return };
        let early = broken(Mutant::AcknowledgedEarly);
        let matched = self.following.matched;
        let up_to = if early { matched } else { matched.min(self.acceptor.durable) };
        let votes = self.acceptor.accepted == ballot
            && (self.acceptor.accepted_is_durable() || early)
            || broken(Mutant::OldBallotCounts);
        let epoch = if votes { self.epoch() } else { None };
        let news =
            up_to > self.following.acknowledged || (epoch.is_some() && !self.following.vote_sent);
        if news {
            self.following.acknowledged = up_to;
            self.following.vote_sent = epoch.is_some();
        }
        if news || beat > 0 {
            let received = self.following.matched;
            send(out, primary, Message::Accepted { ballot, up_to, received, epoch, beat });
        }
    }

    /// Takes chosen entries from any node. They replace any other entries in their slots.
    // specs: P10
    pub(super) fn on_chosen(&mut self, range: SlotRange, entries: &[Entry], out: &mut Effects) {
        let news =
            range.first <= self.acceptor.committed.next() && self.acceptor.committed < range.last();
        let highest = entries.iter().map(|entry| entry.ballot).max();
        let Some(highest) = highest.filter(|_| news) else { return };
        if self.role_state.is_primary() {
            return;
        }
        if highest > self.acceptor.promised {
            self.promise(highest, out);
            self.wait_for_primary();
            self.emit_role(Reason::HigherBallot, out);
        }
        let first = self.acceptor.committed.next();
        for (slot, entry) in range.slots().zip(entries) {
            if slot < first {
                continue;
            }
            if !self.acceptor.log.has_room(slot) {
                break;
            }
            if self.acceptor.log.ballot(slot) != Some(entry.ballot) {
                if self.is_disk_behind() {
                    break;
                }
                self.put(slot, *entry, out);
            }
            self.commit(slot);
            self.following.matched = self.following.matched.max(slot);
        }
        if first <= self.acceptor.committed {
            self.go_on_fetching(SlotRange::between(first, self.acceptor.committed), out);
        }
    }

    /// Takes a report of durable writes, and sends the answers that waited for them.
    // specs: P3
    pub(super) fn on_durable(&mut self, up_to: WriteNumber, out: &mut Effects) {
        assert!(up_to <= self.acceptor.written, "a write is durable before it was asked for");
        self.acceptor.settled = self.acceptor.settled.max(up_to);
        self.acceptor.durable =
            self.acceptor.durable.max(self.acceptor.log.written_by(self.acceptor.settled));
        if let Some(lead) = self.role_state.leadership_mut() {
            lead.recount = true;
        }
        self.on_voting_durable(out);
        self.answer_prepare(out);
        self.ask_for_promises(out);
        self.acknowledge(0, out);
    }
}
