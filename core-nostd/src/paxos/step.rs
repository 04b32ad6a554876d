//! Dispatch: the handler of each input, and the end of every step.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::time::{Duration, Instant};

use super::node::push;
use super::recollection::StorageCheck;
use super::roles::{Acknowledged, PrimarySeen, Promise, RoleState};
use super::state::{Acceptor, ElectionTimer, Emitted, Following, Voting};
use super::window::Window;
use super::{
    Ballot, Config, DurableState, Effect, Effects, Entry, Input, LogEnd, Members, Message, Node,
    Reason, Recollection, SnapshotMeta, StorageEpoch, VotingStatus, WriteNumber,
};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Starts a node from the contents of its storage. `log` yields every entry of the log, in the
    /// order of the slots and without gaps, from slot 1 or from the slot after the snapshot. The
    /// start has no effects; step the node with [`Input::Wake`] next.
    ///
    /// # Panics
    /// Panics if `config` or `log` is not as described here and in [`Config`].
    pub fn restore(
        config: Config,
        now: Instant,
        stored: DurableState,
        log: impl IntoIterator<Item = (Slot, Entry)>,
    ) -> Self {
        assert!(config.nonce != 0, "a nonce of 0 is no nonce");
        assert!(config.members.is_sound(), "the members do not fit together");
        let snapshot = stored.snapshot.unwrap_or_else(|| SnapshotMeta::genesis(config.members));
        let mut window = Window::new(snapshot);
        let mut rejoined = match stored.voting {
            VotingStatus::Rejoining { epoch } | VotingStatus::Voter { epoch }
                if epoch != StorageEpoch::FIRST && snapshot.epoch(config.me) == epoch =>
            {
                Some(snapshot.slot)
            }
            _ => None,
        };
        for (slot, entry) in log {
            assert_eq!(slot, window.last().next(), "the log has a gap");
            // An entry is accepted only if the window has room, so its presence proves that all
            // slots a window before it were committed by then.
            if !window.has_room(slot) {
                window.release(Slot(slot.0 - WINDOW as u64));
            }
            if stored.voting.is_named_by(config.me, &entry.content) {
                rejoined = Some(slot);
            }
            window.append(entry, WriteNumber(0));
        }
        let committed = stored.committed.min(window.last()).max(window.base().slot);
        window.release(committed);
        let accepted = stored.accepted.max(window.end().ballot);
        let emitted = Emitted::new(window.end().members);
        let alone = window.end().members.voters.without(config.me).is_empty();
        // A node without storage has said nothing with it.
        let trusted = stored == DurableState::BLANK || config.storage_check == Duration::ZERO;
        let end = LogEnd { ballot: accepted, slot: window.last() };
        let check = StorageCheck::new(
            stored.promised.max(accepted),
            end,
            now + config.storage_check,
            alone || trusted || broken(Mutant::StorageTrusted),
        );
        let mut node = Self {
            now,
            timer: ElectionTimer::new(now, config.nonce ^ (u64::from(config.me.number()) << 56)),
            acceptor: Acceptor::new(stored.promised, accepted, window, committed),
            voting: Voting::new(now, stored.voting, rejoined),
            check,
            recalled: [Recollection::default(); NODES_MAX],
            following: Following::none(committed),
            why: Reason::Started,
            learning: None,
            ballot_seen: Ballot::ZERO,
            heard: [None; NODES_MAX],
            role_state: RoleState::Backup,
            emitted,
            config,
        };
        node.wait_for_primary();
        node.check();
        node
    }

    /// Gives the node an input, and collects its effects in `out`.
    ///
    /// # Panics
    /// Panics if `out` is not empty, or if an invariant of the protocol does not hold: a node that
    /// has stopped does less harm than one that is wrong.
    pub fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Effects) {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        match input {
            Input::Wake => {}
            Input::Message { from, message, entries } => {
                self.on_message(from, message, entries, out);
            }
            Input::LinkUp { node } => {
                self.on_link_up(node, out);
                self.ask_late(node, out);
            }
            Input::LinkDown { node } => self.on_link_down(node, out),
            Input::Durable { up_to } => self.on_durable(up_to, out),
        }
        self.on_time(out);
        self.conclude(out);
    }

    /// Passes a message to its handler, if the message is complete and this node may answer it.
    // specs: R3
    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: &Message,
        entries: &[Entry],
        out: &mut Effects,
    ) {
        let complete = match message.range() {
            Some(range) => range.is_sound() && range.count as usize == entries.len(),
            None => entries.is_empty(),
        };
        if from == self.config.me || !complete {
            return;
        }
        self.heard[from.index()] = Some(self.now);
        match *message {
            Message::Hello { nonce, voting, named } => {
                self.on_hello(from, nonce, voting, named, out);
            }
            Message::HelloBack { nonce, voting, named } => {
                self.on_hello_back(from, nonce, voting, named, out);
            }
            Message::Recall { nonce } => self.on_recall(from, nonce, out),
            Message::Recalled { nonce, epoch, promised, end } => {
                self.on_recalled(from, nonce, Recollection { epoch, promised, end }, out);
            }
            // Only a node that votes, or has voted, sends any other message.
            _ if matches!(self.voting.status, VotingStatus::Blank | VotingStatus::Ready) => {
                self.on_group_exists(out);
            }
            Message::PreVote { ballot } => self.on_pre_vote(from, ballot, out),
            Message::PreVoteReply { ballot, granted, promised, committed } => {
                self.on_pre_vote_reply(from, ballot, granted, promised, committed, out);
            }
            Message::Prepare { ballot } => self.on_prepare(from, ballot, out),
            Message::Promised { ballot, epoch, end, committed } => {
                self.on_promised(from, ballot, Promise { epoch, end, committed }, out);
            }
            Message::Refused { ballot, promised } => self.on_refused(ballot, promised, out),
            Message::Fetch { ballot, committed, from: first, before } => {
                self.on_fetch(from, ballot, committed, (first, before), out);
            }
            Message::Copy { ballot, range, before } => {
                self.on_copies(from, ballot, range.first, before, entries, out);
            }
            Message::Chosen { range } => self.on_chosen(range, entries, out),
            Message::Accept { ballot, range, before, committed, start } => {
                let seen = PrimarySeen { ballot, committed, start };
                self.on_accept(from, seen, range.first, before, entries, out);
            }
            Message::Accepted { ballot, up_to, received, epoch, beat } => {
                self.on_accepted(from, ballot, Acknowledged { up_to, received, epoch, beat });
            }
            Message::Commit { ballot, committed } => self.on_commit(from, ballot, committed, out),
            Message::Heartbeat { ballot, committed, last, last_ballot, start, beat } => {
                let seen = PrimarySeen { ballot, committed, start };
                self.on_heartbeat(from, seen, last, last_ballot, beat, out);
            }
            Message::TakeOver { ballot } => self.on_take_over(from, ballot, out),
        }
    }

    /// Performs every action whose time has come.
    pub(super) fn on_time(&mut self, out: &mut Effects) {
        if !self.may_vote() && self.now >= self.voting.hello_at {
            self.voting.hello_at = self.now + self.config.heartbeat;
            if !self.voting.status.is_voter() {
                self.say_hello(out);
            }
            if !self.check.passed {
                self.ask_to_recall(out);
            }
        }
        match &self.role_state {
            RoleState::Backup | RoleState::PreCandidate { .. }
                if self.now >= self.timer.election_at =>
            {
                self.on_election_timeout(out);
            }
            RoleState::Candidate(candidacy) if self.now >= candidacy.next_at() => {
                self.on_candidate_waiting(out);
            }
            RoleState::Primary(lead) if self.now >= lead.beat_at => self.on_beat(out),
            _ => {}
        }
    }

    /// Ends every step: emits the effects that follow from the new state, whatever the input was.
    #[inline(always)]
    pub(super) fn conclude(&mut self, out: &mut Effects) {
        if self.role_state.is_primary() {
            self.conclude_lead(out);
        }
        if self.acceptor.committed > self.emitted.committed {
            self.emitted.committed = self.acceptor.committed;
            push(out, Effect::Committed { up_to: self.acceptor.committed });
        }
        let members = self.members();
        if members != self.emitted.members {
            self.on_members(members, out);
        }
        self.acceptor.log.release(self.acceptor.committed.min(self.acceptor.durable));
        self.check_voting(out);
        if !self.check.passed || self.check.ends_epoch {
            self.conclude_check(out);
        }
        if self.role_state.is_primary() && self.members_gone() {
            self.step_down(Reason::Removed, out);
        }
        self.check();
    }

    /// Applies a change of members in the log.
    #[cold]
    pub(super) fn on_members(&mut self, members: Members, out: &mut Effects) {
        self.emitted.members = members;
        self.draw_own_timeout();
        if let Some(lead) = self.role_state.leadership_mut() {
            lead.recount = true;
        }
        push(out, Effect::Members { members });
    }

    /// Returns the latest time at which to step the node with [`Input::Wake`]. If that time has
    /// passed, step the node at once.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let part = match &self.role_state {
            RoleState::Backup | RoleState::PreCandidate { .. } => self.timer.election_at,
            RoleState::Candidate(candidacy) => candidacy.next_at(),
            RoleState::Primary(lead) if lead.unsent => self.now,
            RoleState::Primary(lead) => lead.beat_at,
        };
        if self.may_vote() { part } else { part.min(self.voting.hello_at) }
    }
}

#[cfg(test)]
mod tests;
