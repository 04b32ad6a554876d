//! The right to vote: how a new group starts, and how a node that lost its storage returns.
//!
//! A node that has lost its storage has forgotten its promises, and cannot see the loss in an empty
//! directory. It therefore asks all other members first:
//!
//! * If all other members are new as well (`Blank` or `Ready`), no node has voted yet, and the node
//!   becomes `Ready`, durably. Once all members are `Ready`, or one of them votes already, the node
//!   votes. A new group therefore needs all its members once.
//! * If a member votes while this node's own storage is still blank, the storage counts as lost.
//!   The node then only learns, and asks the primary to put [`Content::Rejoin`] into the log, which
//!   names the new epoch of its storage. A node that knows that entry counts no promise and no
//!   acknowledgement of an older epoch; and the node votes again when the entry is committed in its
//!   own durable log.
//!
//! This is safe because the entry was chosen by a quorum without that node, so the log of every
//! later candidate, as completed from the quorum that promised, has it; an older promise of the
//! node that is still on its way does not count for that candidate. Entries that were chosen
//! earlier with the node's vote are in the log below the entry, on that quorum. (Viewstamped
//! Replication's recovery protocol, which asks a quorum for the state, forgets promises: Michael,
//! Ports, Sharma and Szekeres, "Recovering Shared Objects Without Stable Storage", 2017.)
//!
//! Answers count only if they carry the nonce of this run, because an answer from before the loss
//! describes an older state.

use crate::id::NodeId;
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};

use super::node::send;
use super::roles::RoleState;
use super::{Content, Effects, Message, Node, Reason, Record, StorageEpoch, VotingStatus};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Asks all other members for their status, as long as this node may not vote.
    pub(super) fn say_hello(&mut self, out: &mut Effects) {
        let (nonce, voting, named) = (self.config.nonce, self.voting.status, self.voting.named);
        for to in self.others().iter() {
            send(out, to, Message::Hello { nonce, voting, named });
        }
        self.settle_beginning(out);
    }

    /// Answers a node that may not vote yet. A primary also proposes an entry that names the node's
    /// new epoch.
    // specs: R7
    pub(super) fn on_hello(
        &mut self,
        from: NodeId,
        nonce: u64,
        voting: VotingStatus,
        named: StorageEpoch,
        out: &mut Effects,
    ) {
        let in_log = self.acceptor.log.end().epoch(from);
        let is_member = self.members().all().contains(from);
        send(out, from, Message::HelloBack { nonce, voting: self.voting.status, named: in_log });
        if let VotingStatus::Rejoining { epoch } = voting
            && is_member
            && let RoleState::Primary(lead) = &mut self.role_state
            && (in_log != epoch || broken(Mutant::RejoinRepeated))
            && (in_log == named || broken(Mutant::RejoinUninformed))
        {
            // The node has forgotten its vote and can no longer be a successor, or a witness that
            // waits for one would propose nothing.
            lead.progress[from.index()].voted = false;
            if self.may_reconfigure() {
                self.propose_content(Content::Rejoin { node: from, epoch }, out);
            }
        }
    }

    /// Takes an answer to this node's own question, if it carries the present nonce.
    // specs: R6
    pub(super) fn on_hello_back(
        &mut self,
        from: NodeId,
        nonce: u64,
        voting: VotingStatus,
        named: StorageEpoch,
        out: &mut Effects,
    ) {
        if nonce != self.config.nonce && !broken(Mutant::OldAnswersCount) {
            return;
        }
        if self.primary().is_none_or(|primary| primary == from) {
            self.voting.named = named;
        }
        self.voting.met[from.index()] = Some(voting);
        match voting {
            VotingStatus::Voter { .. } | VotingStatus::Rejoining { .. } => {
                self.on_group_exists(out)
            }
            VotingStatus::Blank | VotingStatus::Ready => self.settle_beginning(out),
        }
    }

    /// Leaves the state of a new group, because a member votes or has voted.
    // specs: R2, R3
    pub(super) fn on_group_exists(&mut self, out: &mut Effects) {
        match self.voting.status {
            VotingStatus::Blank if broken(Mutant::LossUnnoticed) => {
                self.change_voting(VotingStatus::Voter { epoch: StorageEpoch::FIRST }, out);
            }
            VotingStatus::Blank => {
                self.change_voting(
                    VotingStatus::Rejoining { epoch: StorageEpoch(self.config.nonce) },
                    out,
                );
            }
            VotingStatus::Ready => {
                self.change_voting(VotingStatus::Voter { epoch: StorageEpoch::FIRST }, out)
            }
            VotingStatus::Rejoining { .. } | VotingStatus::Voter { .. } => {}
        }
    }

    /// Takes the next step of a new group once all other members have reached it.
    // specs: R1, R2
    fn settle_beginning(&mut self, out: &mut Effects) {
        // A node that is not among the first voters joins a group that exists.
        if !self.members().voters.contains(self.config.me) {
            return;
        }
        let met = |node: NodeId| self.voting.met[node.index()];
        let hasty = broken(Mutant::ReadyUnmet) && self.voting.met.iter().any(Option::is_some);
        match self.voting.status {
            VotingStatus::Blank
                if hasty
                    || self.others().iter().all(|node| {
                        matches!(met(node), Some(VotingStatus::Blank | VotingStatus::Ready))
                    }) =>
            {
                self.change_voting(VotingStatus::Ready, out);
            }
            VotingStatus::Ready
                if broken(Mutant::ReadyVotes)
                    || self.others().iter().all(|node| met(node) == Some(VotingStatus::Ready)) =>
            {
                self.change_voting(VotingStatus::Voter { epoch: StorageEpoch::FIRST }, out);
            }
            _ => {}
        }
    }

    /// Emits the write of a new voting status, which takes effect once it is durable.
    fn change_voting(&mut self, voting: VotingStatus, out: &mut Effects) {
        if self.voting.due.is_none() {
            let number = self.write(Record::VotingStatus(voting), out);
            self.voting.due = Some((number, voting));
        }
    }

    /// Changes the voting status once the change is durable.
    pub(super) fn on_voting_durable(&mut self, out: &mut Effects) {
        let Some((number, voting)) = self.voting.due else { return };
        if number > self.acceptor.settled {
            return;
        }
        self.voting.due = None;
        self.voting.status = voting;
        self.voting.hello_at = self.now;
        match voting {
            // The storage is still to be checked.
            VotingStatus::Voter { .. } if !self.check.passed => {}
            VotingStatus::Voter { .. } => {
                self.voting.met = [None; NODES_MAX];
                self.start_election_soon();
                self.emit_role(Reason::Admitted, out);
            }
            VotingStatus::Rejoining { .. } => {
                // Nothing has been said under the new epoch.
                (self.check.passed, self.check.ends_epoch) = (true, false);
                self.voting.rejoined = None;
                self.role_state = RoleState::Backup;
                self.emit_role(Reason::StorageLost, out);
            }
            VotingStatus::Blank | VotingStatus::Ready => {}
        }
    }

    /// Checks whether the log has admitted this node, or names another epoch of it.
    // specs: R5, R8
    #[inline]
    pub(super) fn check_voting(&mut self, out: &mut Effects) {
        let named = self.acceptor.log.base().epoch(self.config.me);
        if self.voting.status != (VotingStatus::Voter { epoch: named }) {
            self.change_by_log(out);
        }
    }

    /// Makes a rejoining node a voter once the log names its epoch, and makes a voter rejoin if its
    /// epoch has ended.
    #[cold]
    fn change_by_log(&mut self, out: &mut Effects) {
        let me = self.config.me;
        match self.voting.status {
            VotingStatus::Rejoining { epoch } => {
                let early = broken(Mutant::ReturnedEarly);
                let decided = if early {
                    self.acceptor.durable
                } else {
                    self.acceptor.committed.min(self.acceptor.durable)
                };
                if self.voting.rejoined.is_some_and(|slot| slot <= decided) {
                    self.change_voting(VotingStatus::Voter { epoch }, out);
                }
            }
            // An older copy of the storage has been put back. Its votes no longer count, so the
            // node begins another epoch.
            VotingStatus::Voter { epoch }
                if !broken(Mutant::EndedEpochKept)
                    && self.acceptor.log.base().epoch(me) != epoch
                    && self
                        .voting
                        .rejoined
                        .is_none_or(|slot| slot <= self.acceptor.log.base().slot)
                    && self.voting.due.is_none() =>
            {
                self.begin_epoch(out);
            }
            _ => {}
        }
    }

    /// Begins another epoch of this node's storage, which has lost a part of what the node has said
    /// with it.
    pub(super) fn begin_epoch(&mut self, out: &mut Effects) {
        self.voting.epochs_used += 1;
        self.voting.rejoined = None;
        let epoch = StorageEpoch(self.config.nonce.wrapping_add(self.voting.epochs_used));
        self.change_voting(VotingStatus::Rejoining { epoch }, out);
    }
}
