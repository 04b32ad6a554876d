//! Elections: when a node starts one, which nodes it asks, and how it completes its log.
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
use super::roles::{Candidacy, Fetching, Leadership, Promise, RoleState};
use super::{Ballot, Effect, Effects, LogEnd, Message, Node, NodeSet, Reason, SnapshotMeta};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Stops following a primary whose link is closed, and forgets the messages on their way to a
    /// member.
    pub(super) fn on_link_down(&mut self, node: NodeId, out: &mut Effects) {
        if let Some(lead) = self.role_state.leadership_mut() {
            lead.progress[node.index()].lose_track();
        }
        if self.following.ballot.is_some_and(|ballot| ballot.belongs_to(node)) {
            self.following.ballot = None;
            self.why = Reason::LinkDown;
            self.start_election_soon();
            self.emit_role(Reason::LinkDown, out);
        }
    }

    /// Asks for pre-votes, because no primary was heard for too long or the last pre-vote failed.
    // specs: H7
    pub(super) fn on_election_timeout(&mut self, out: &mut Effects) {
        if self.following.ballot.take().is_some() {
            self.why = Reason::Silence;
        }
        if self.timer.disk_stands {
            self.wait_for_disk();
        } else {
            self.start_election_later();
        }
        if !self.may_start_election() || self.timer.disk_stands {
            self.role_state = RoleState::Backup;
            self.emit_role(self.why, out);
            return self.ask_whether_removed(out);
        }
        let ballot = self.next_ballot();
        self.role_state =
            RoleState::PreCandidate { ballot, granted: NodeSet::EMPTY.with(self.config.me) };
        self.emit_role(self.why, out);
        for to in self.others().intersection(self.members().voters).iter() {
            send(out, to, Message::PreVote { ballot });
        }
        self.start_election_if_granted(out);
    }

    /// Asks the others for the decided entries that this node lacks, if its log removes it. A
    /// primary does not report a removal once it is decided.
    // specs: M6
    fn ask_whether_removed(&mut self, out: &mut Effects) {
        let removed = !self.members().all().contains(self.config.me);
        if !removed || !self.voting.status.is_voter() || broken(Mutant::RemovedUnaware) {
            return;
        }
        for node in self.others().iter() {
            self.learn_from(node, out);
        }
    }

    /// Returns this node's lowest ballot above all ballots that were promised here or claimed
    /// elsewhere.
    // specs: P1
    fn next_ballot(&self) -> Ballot {
        self.acceptor.promised.max(self.ballot_seen).next_of(self.config.me)
    }

    /// Answers whether this node would promise `ballot`; nothing changes. The answer is no while
    /// the node hears a primary.
    // specs: P12
    pub(super) fn on_pre_vote(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) {
        let primary_lives = match self.role_state {
            RoleState::Primary(_) => true,
            _ => self.following.ballot.is_some_and(|followed| {
                !followed.belongs_to(from)
                    && self.now.since(self.timer.primary_heard) < self.config.election_timeout
            }),
        };
        let granted = self.may_vote()
            && ballot.belongs_to(from)
            && ballot > self.acceptor.promised
            && (!primary_lives || broken(Mutant::CandidatesWelcome));
        let (promised, committed) = (self.acceptor.promised, self.acceptor.committed);
        send(out, from, Message::PreVoteReply { ballot, granted, promised, committed });
    }

    /// Counts a pre-vote, and learns ballots and commit indices that are higher than its own.
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
        let alone = self.following.ballot.is_none() && !self.role_state.is_primary();
        if alone && committed > self.acceptor.committed {
            self.learn_from(from, out);
        }
        if let RoleState::PreCandidate { ballot, granted: by } = self.role_state
            && granted
            && asked == ballot
        {
            self.role_state = RoleState::PreCandidate { ballot, granted: by.with(from) };
            self.start_election_if_granted(out);
        }
    }

    /// Starts the election once a quorum has granted the pre-vote.
    fn start_election_if_granted(&mut self, out: &mut Effects) {
        if let RoleState::PreCandidate { ballot, granted } = self.role_state
            && self.members().is_quorum(granted)
        {
            self.start_election(ballot, out);
        }
    }

    /// Starts an election because the primary asks this node to take over.
    // specs: H7
    pub(super) fn on_take_over(&mut self, from: NodeId, ballot: Ballot, out: &mut Effects) {
        if ballot.belongs_to(from)
            && self.following.ballot == Some(ballot)
            && self.may_start_election()
            && !self.timer.disk_stands
        {
            self.why = Reason::LeadershipTransferred;
            self.start_election(self.next_ballot(), out);
        }
    }

    /// Becomes a candidate. It asks the others once its own promise is durable, so that it never
    /// uses a ballot twice.
    fn start_election(&mut self, ballot: Ballot, out: &mut Effects) {
        if ballot <= self.acceptor.promised {
            return self.start_election_later();
        }
        self.promise(ballot, out);
        let give_up_at = self.now + self.candidacy_timeout();
        let again_at = self.now + self.config.heartbeat;
        let candidacy = Candidacy::new(ballot, self.end(), give_up_at, again_at);
        self.role_state = RoleState::Candidate(candidacy);
        self.emit_role(self.why, out);
    }

    /// Begins phase 1a, as soon as this node's own promise is durable.
    // specs: P1
    pub(super) fn ask_for_promises(&mut self, out: &mut Effects) {
        let RoleState::Candidate(candidacy) = &mut self.role_state else { return };
        let Some(epoch) = self.voting.epoch().filter(|_| self.check.passed) else { return };
        let durable = self.acceptor.promise_is_durable() || broken(Mutant::AskedEarly);
        if candidacy.asked || !durable {
            return;
        }
        let (end, committed) = (self.acceptor.end(), self.acceptor.committed);
        candidacy.asked = true;
        candidacy.taken = end;
        candidacy.promises[self.config.me.index()] = Some(Promise { epoch, end, committed });
        self.prepare(out);
        self.weigh_promises(out);
    }

    /// Asks each voter that has not promised for its promise.
    fn prepare(&self, out: &mut Effects) {
        let RoleState::Candidate(Candidacy { ballot, promises, .. }) = &self.role_state else {
            return;
        };
        for to in self.others().intersection(self.members().voters).iter() {
            if promises[to.index()].is_none() {
                send(out, to, Message::Prepare { ballot: *ballot });
            }
        }
    }

    /// Counts a promise for the present candidacy, and ignores promises for other candidacies.
    // specs: R10
    pub(super) fn on_promised(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        promise: Promise,
        out: &mut Effects,
    ) {
        if promise.epoch == self.acceptor.log.end().epoch(from) {
            self.recalled[from.index()].add(promise.epoch, ballot, LogEnd::default());
        }
        if let RoleState::Candidate(candidacy) = &mut self.role_state
            && candidacy.asked
            && candidacy.ballot == ballot
        {
            candidacy.promises[from.index()] = Some(promise);
            self.weigh_promises(out);
        }
    }

    /// Checks whether a quorum has promised, and fetches the entries that the highest of the
    /// promised logs has and this log lacks.
    ///
    /// The log here decides which nodes vote and which promises count. Fetched entries may change
    /// both (other members, an epoch that has ended), so all promises are weighed again afterwards.
    // specs: P6, P7, R4
    pub(super) fn weigh_promises(&mut self, out: &mut Effects) {
        let give_up_at = self.now + self.candidacy_timeout();
        let RoleState::Candidate(candidacy) = &mut self.role_state else { return };
        let (me, log) = (self.config.me, &self.acceptor.log);
        // A log that ends with an entry committed here need not be fetched: the next one is
        // considered.
        while let Some((donor, target)) = highest_promise(candidacy, me, log.end()) {
            if target == candidacy.taken {
                return self.become_primary(out);
            }
            if candidacy.fetching.is_some_and(|fetching| fetching.target >= target) {
                return;
            }
            candidacy.give_up_at = give_up_at;
            let got = self.acceptor.committed;
            if got < target.slot {
                // The last entry here is requested again: if it comes, the logs agree below it.
                let from = log.last().min(target.slot).max(got.next());
                candidacy.fetching = Some(Fetching { donor, target, asked_from: from, got });
                let ballot = candidacy.ballot;
                return self.fetch(donor, ballot, from, out);
            }
            candidacy.fetching = None;
            candidacy.taken = target;
        }
    }

    /// Repeats unanswered requests, or gives up the candidacy because a quorum is out of reach.
    pub(super) fn on_candidate_waiting(&mut self, out: &mut Effects) {
        let RoleState::Candidate(candidacy) = &mut self.role_state else { return };
        if self.now >= candidacy.give_up_at {
            self.start_election_later();
            return self.step_down(Reason::NoQuorum, out);
        }
        candidacy.again_at = self.now + self.config.heartbeat;
        let (ballot, asked) = (candidacy.ballot, candidacy.asked);
        if let Some(fetching) = &mut candidacy.fetching {
            if fetching.got > self.acceptor.committed {
                fetching.asked_from = fetching.got.next();
            }
            let Fetching { donor, asked_from, .. } = *fetching;
            self.fetch(donor, ballot, asked_from, out);
        }
        if asked {
            self.prepare(out);
        }
    }

    /// Gives up a candidacy or the role of the primary if another node has promised more.
    pub(super) fn on_refused(&mut self, asked: Ballot, promised: Ballot, out: &mut Effects) {
        self.ballot_seen = self.ballot_seen.max(promised);
        match self.role_state {
            RoleState::Candidate(Candidacy { ballot, .. })
                if asked == ballot && promised > ballot =>
            {
                self.start_election_later();
                self.step_down(Reason::HigherBallot, out);
            }
            // Another node has promised a higher ballot than this primary's. If the others still
            // follow this primary, they will elect it again.
            RoleState::Primary(Leadership { ballot, .. })
                if asked == ballot && promised > ballot =>
            {
                self.start_election_soon();
                self.step_down(Reason::HigherBallot, out);
            }
            _ => {}
        }
    }

    /// Takes over the highest log of the quorum, all of which is here, unless another primary has
    /// got ahead meanwhile.
    // specs: P7, P14
    fn become_primary(&mut self, out: &mut Effects) {
        let RoleState::Candidate(Candidacy { ballot, taken, promises, .. }) = self.role_state
        else {
            unreachable!("a candidate is elected");
        };
        assert!(ballot == self.acceptor.promised, "a candidate has promised a higher ballot");
        if !self.may_start_election() {
            self.wait_for_primary();
            return self.step_down(Reason::Removed, out);
        }
        let start = taken.slot;
        // Every entry that was chosen under a lower ballot is in the log that was taken over. If
        // this node has since learnt more entries, or another entry in a slot of that log, another
        // primary has got ahead of it. The same holds if fetched entries would have to be cut off
        // again: their write is among the effects already.
        let appended = out.iter().any(|effect| match effect {
            Effect::Append { range, .. } => range.last() > start,
            _ => false,
        });
        let overtaken =
            self.acceptor.committed > start || self.acceptor.log.last() < start || appended;
        if overtaken && !broken(Mutant::NeverOvertaken) {
            self.start_election_later();
            return self.step_down(Reason::HigherBallot, out);
        }
        if start < self.acceptor.log.last() {
            self.truncate(start.next());
        }
        for promise in promises.into_iter().flatten() {
            self.commit(promise.committed.min(start));
        }
        self.accept_under(ballot, start, out);
        self.lead(ballot, taken, &promises, out);
    }
}

/// Returns the highest log with which a quorum has promised, and the voter that has that log, or
/// `None` if no quorum has promised. The voter is `me`, with the log that the candidate has taken,
/// unless another log is higher. `end` is the state of the log here, which says which nodes vote
/// and which epochs count.
fn highest_promise(
    candidacy: &Candidacy,
    me: NodeId,
    end: &SnapshotMeta,
) -> Option<(NodeId, LogEnd)> {
    let mut valid = NodeSet::EMPTY;
    let mut best = (me, candidacy.taken);
    for node in end.members.voters.iter() {
        let Some(promise) = candidacy.promises[node.index()] else { continue };
        if promise.epoch != end.epoch(node) && !broken(Mutant::EpochsUncounted) {
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
    (valid.len() + less >= end.members.quorum()).then_some(best)
}
