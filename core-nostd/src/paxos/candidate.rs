//! Election: when a node starts one, whom it asks, and how it completes its log.
//!
//! ```text
//! Backup ── election timeout, closed link ──▶ PreCandidate: asks for pre-votes
//!   ▲                                            │ refused: asks again later
//!   │                                            ▼ a quorum would promise
//!   ├──── higher ballot, no answer ──────────── Candidate: promise durable, then
//!   │                                            │  Prepare, quorum promised, entries fetched
//!   │                                            ▼
//!   └──── higher ballot, no quorum ──────────── Primary
//! ```

use crate::id::{NodeId, Slot};
use crate::mutants::{Mutant, broken};

use super::node::send;
use super::roles::{Candidacy, Fetching, Promise, RoleState};
use super::{Ballot, Effect, Effects, LogEnd, Message, Node, NodeSet, Reason};

impl<const WINDOW: usize> Node<WINDOW> {
    pub(super) fn on_link_down(&mut self, node: NodeId, out: &mut Effects) {
        self.progress[node.index()].lose_track();
        if self.following.ballot.is_some_and(|ballot| ballot.belongs_to(node)) {
            self.following.ballot = None;
            self.why = Reason::LinkDown;
            self.start_election_soon();
            self.emit_role(Reason::LinkDown, out);
        }
    }

    /// No primary was heard for too long, or the last pre-vote came to nothing.
    pub(super) fn on_election_timeout(&mut self, out: &mut Effects) {
        if self.following.ballot.take().is_some() {
            self.why = Reason::Silence;
        }
        self.start_election_later();
        if !self.may_start_election() {
            self.part = RoleState::Backup;
            return self.emit_role(self.why, out);
        }
        let ballot = self.next_ballot();
        self.part =
            RoleState::PreCandidate { ballot, granted: NodeSet::EMPTY.with(self.config.me) };
        self.emit_role(self.why, out);
        for to in self.others().intersection(self.members().voters).iter() {
            send(out, to, Message::PreVote { ballot });
        }
        self.start_election_if_granted(out);
    }

    // specs: P1
    fn next_ballot(&self) -> Ballot {
        self.acceptor.promised.max(self.ballot_seen).next_of(self.config.me)
    }

    // specs: P12
    pub(super) fn on_pre_vote(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) {
        let primary_lives = match self.part {
            RoleState::Primary { .. } => true,
            _ => self.following.ballot.is_some_and(|followed| {
                !followed.belongs_to(from)
                    && self.now.since(self.timer.primary_heard) < self.config.election_timeout
            }),
        };
        let granted = self.voting.status.is_voter()
            && ballot.belongs_to(from)
            && ballot > self.acceptor.promised
            && !primary_lives;
        let (promised, committed) = (self.acceptor.promised, self.acceptor.committed);
        send(out, from, Message::PreVoteReply { ballot, granted, promised, committed });
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        from: NodeId,
        asked: Ballot,
        granted: bool,
        promised: Ballot,
        committed: Slot,
        out: &mut Effects,
    ) {
        self.ballot_seen = self.ballot_seen.max(promised);
        let alone =
            self.following.ballot.is_none() && !matches!(self.part, RoleState::Primary { .. });
        if alone && committed > self.acceptor.committed {
            self.learn_from(from, out);
        }
        if let RoleState::PreCandidate { ballot, granted: by } = self.part
            && granted
            && asked == ballot
        {
            self.part = RoleState::PreCandidate { ballot, granted: by.with(from) };
            self.start_election_if_granted(out);
        }
    }

    fn start_election_if_granted(&mut self, out: &mut Effects) {
        if let RoleState::PreCandidate { ballot, granted } = self.part
            && self.members().is_quorum(granted)
        {
            self.start_election(ballot, out);
        }
    }

    /// The primary wants this node in its place.
    pub(super) fn on_take_over(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) {
        if ballot.belongs_to(from)
            && self.following.ballot == Some(ballot)
            && self.may_start_election()
        {
            self.why = Reason::LeadershipTransferred;
            self.start_election(self.next_ballot(), out);
        }
    }

    /// Becomes a candidate. It asks the others when its own promise is durable: so it never uses a
    /// ballot twice.
    fn start_election(&mut self, ballot: Ballot, out: &mut Effects) {
        if ballot <= self.acceptor.promised {
            return self.start_election_later();
        }
        self.promise(ballot, out);
        self.part = RoleState::Candidate(Candidacy {
            ballot,
            asked: false,
            taken: self.end(),
            fetching: None,
            give_up_at: self.now + self.config.election_timeout.times(2),
            again_at: self.now + self.config.heartbeat,
        });
        self.emit_role(self.why, out);
    }

    /// Phase 1a, as soon as the own promise is durable.
    // specs: P1
    pub(super) fn ask_for_promises(&mut self, out: &mut Effects) {
        let RoleState::Candidate(mut candidacy) = self.part else { return };
        let Some(epoch) = self.epoch() else { return };
        if candidacy.asked || !self.acceptor.promise_is_durable() {
            return;
        }
        candidacy.asked = true;
        candidacy.taken = self.end();
        self.part = RoleState::Candidate(candidacy);
        let promise = Promise { epoch, end: self.end(), committed: self.acceptor.committed };
        self.promises[self.config.me.index()] = Some(promise);
        self.prepare(candidacy.ballot, out);
        self.weigh_promises(out);
    }

    fn prepare(&self, ballot: Ballot, out: &mut Effects) {
        for to in self.others().intersection(self.members().voters).iter() {
            if self.promises[to.index()].is_none() {
                send(out, to, Message::Prepare { ballot });
            }
        }
    }

    pub(super) fn on_promised(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        promise: Promise,
        out: &mut Effects,
    ) {
        if let RoleState::Candidate(candidacy) = self.part
            && candidacy.asked
            && candidacy.ballot == ballot
        {
            self.promises[from.index()] = Some(promise);
            self.weigh_promises(out);
        }
    }

    /// Looks whether a quorum has promised, and what the best of its logs has more than this one.
    ///
    /// Whether it is a quorum, and which promises count, is read from the log here. Fetching may
    /// change that (other members, an epoch that has ended): so it is looked at again afterwards.
    // specs: P6, P7, R4
    pub(super) fn weigh_promises(&mut self, out: &mut Effects) {
        let RoleState::Candidate(mut candidacy) = self.part else { return };
        // What ends with something committed here need not be fetched: the next log is looked for.
        while let Some((donor, target)) = self.highest_promise(candidacy.taken) {
            if target == candidacy.taken {
                return self.become_primary(candidacy, out);
            }
            if candidacy.fetching.is_some_and(|fetching| fetching.target >= target) {
                return;
            }
            candidacy.give_up_at = self.now + self.config.election_timeout.times(2);
            let got = self.acceptor.committed;
            if got < target.slot {
                // Of what is here the last entry is asked for once more: its coming says that all
                // below it agrees.
                let from = self.acceptor.log.last().min(target.slot).max(got.next());
                candidacy.fetching = Some(Fetching { donor, target, asked_from: from, got });
                self.part = RoleState::Candidate(candidacy);
                return self.fetch(donor, candidacy.ballot, from, out);
            }
            candidacy.fetching = None;
            candidacy.taken = target;
            self.part = RoleState::Candidate(candidacy);
        }
    }

    /// Who of a quorum has promised with the highest log, and which that is, if a quorum has
    /// promised: this node itself with what it has `taken`, unless another one's is higher.
    fn highest_promise(&self, taken: LogEnd) -> Option<(NodeId, LogEnd)> {
        let mut valid = NodeSet::EMPTY;
        let mut best = (self.config.me, taken);
        for node in self.members().voters.iter() {
            let Some(promise) = self.promises[node.index()] else { continue };
            if promise.epoch != self.acceptor.log.end().epoch(node) {
                continue;
            }
            valid = valid.with(node);
            let better = if broken(Mutant::LongestLogTaken) {
                promise.end.slot > best.1.slot
            } else {
                promise.end > best.1 && !broken(Mutant::OwnLogTaken)
            };
            if better {
                best = (node, promise.end);
            }
        }
        let less = usize::from(broken(Mutant::ElectedByOneLess));
        (valid.len() + less >= self.members().quorum()).then_some(best)
    }

    /// Something of the candidacy is late: it was lost, or a quorum is out of reach.
    pub(super) fn on_candidate_waiting(&mut self, mut candidacy: Candidacy, out: &mut Effects) {
        if self.now >= candidacy.give_up_at {
            self.start_election_later();
            return self.step_down(Reason::NoQuorum, out);
        }
        candidacy.again_at = self.now + self.config.heartbeat;
        if let Some(fetching) = &mut candidacy.fetching {
            if fetching.got > self.acceptor.committed {
                fetching.asked_from = fetching.got.next();
            }
            let Fetching { donor, asked_from, .. } = *fetching;
            self.fetch(donor, candidacy.ballot, asked_from, out);
        }
        if candidacy.asked {
            self.prepare(candidacy.ballot, out);
        }
        self.part = RoleState::Candidate(candidacy);
    }

    pub(super) fn on_refused(&mut self, asked: Ballot, promised: Ballot, out: &mut Effects) {
        self.ballot_seen = self.ballot_seen.max(promised);
        match self.part {
            RoleState::Candidate(Candidacy { ballot, .. })
                if asked == ballot && promised > ballot =>
            {
                self.start_election_later();
                self.step_down(Reason::HigherBallot, out);
            }
            // Somebody has promised more than this primary has. If the others still follow it, they
            // let it stand again.
            RoleState::Primary { ballot } if asked == ballot && promised > ballot => {
                self.start_election_soon();
                self.step_down(Reason::HigherBallot, out);
            }
            _ => {}
        }
    }

    // specs: P7, P14
    fn become_primary(&mut self, candidacy: Candidacy, out: &mut Effects) {
        let Candidacy { ballot, taken, .. } = candidacy;
        assert!(ballot == self.acceptor.promised, "whoever promised more is no candidate");
        if !self.may_start_election() {
            self.wait_for_primary();
            return self.step_down(Reason::Removed, out);
        }
        let start = taken.slot;
        // What was chosen under a lower ballot is in the log that was taken over. If more has been
        // learnt since, or something else in place of it, another primary has got ahead of this
        // one. So it has if what was fetched is to be cut off again: that it is to be written
        // stands among the effects already.
        let appended = out.iter().any(|effect| match effect {
            Effect::Append { range, .. } => range.last() > start,
            _ => false,
        });
        if self.acceptor.committed > start || self.acceptor.log.last() < start || appended {
            self.start_election_later();
            return self.step_down(Reason::HigherBallot, out);
        }
        if start < self.acceptor.log.last() {
            self.truncate(start.next());
        }
        for promise in self.promises.into_iter().flatten() {
            self.commit(promise.committed.min(start));
        }
        self.part = RoleState::Primary { ballot };
        self.accept_under(ballot, start, out);
        self.lead(start, taken.ballot, out);
    }
}
