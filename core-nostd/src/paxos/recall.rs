//! The check of a node's own storage against what the other members remember of it.
//!
//! A node whose storage has gone back (an old copy of its directory was put back, a host was
//! restored from a snapshot) cannot see that from its storage: all of it is sound, and older than
//! what the node has said. The others can see it. Each member *recalls* what another has promised
//! and acknowledged to it, under the storage epoch with which it did. A node that starts with
//! storage asks for that, and votes only when the answers ask for nothing that it lacks; else it
//! has lost its storage, and rejoins under a new epoch (`voting`).
//!
//! Members recall in memory only. A primary knows what its backups have acknowledged, a candidate
//! what was promised to it, and everyone the ballots of candidates, which these have promised
//! themselves. Of a primary's own votes nobody is told: a copy of its storage that was made within
//! the term is not noticed, one from before is.

use crate::id::NodeId;
use crate::mutants::{Mutant, broken};

use super::node::send;
use super::{
    Ballot, Effects, LogEnd, Message, Node, NodeSet, Reason, Recollection, StorageEpoch,
    StorageGap, VotingStatus,
};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Returns what this node's storage lacked at the start although the node had said it, if
    /// another member recalls that.
    pub const fn storage_gap(&self) -> Option<StorageGap> {
        self.check.gap
    }

    /// Returns the voters that have not said yet what they recall of this node.
    fn silent_voters(&self) -> NodeSet {
        self.members().voters.without(self.config.me).difference(self.check.answered)
    }

    /// Asks the other voters what they recall of this node.
    // specs: R10
    pub(super) fn ask_to_recall(&mut self, out: &mut Effects) {
        let nonce = self.config.nonce;
        for to in self.silent_voters().iter() {
            send(out, to, Message::Recall { nonce });
        }
    }

    /// Asks a voter with a new link what it recalls, if it has not answered yet.
    pub(super) fn ask_late(&mut self, node: NodeId, out: &mut Effects) {
        let checks = self.config.storage_check.as_micros() > 0;
        if checks && self.silent_voters().contains(node) {
            send(out, node, Message::Recall { nonce: self.config.nonce });
        }
    }

    /// Recalls the promise of a candidate or a primary to itself, which was durable before the node
    /// said anything under that ballot.
    // specs: R10
    pub(super) fn recall_promise(&mut self, from: NodeId, ballot: Ballot) {
        let epoch = self.acceptor.log.end().epoch(from);
        self.recalled[from.index()].add(epoch, ballot, LogEnd::default());
    }

    /// Answers what this node recalls of another.
    pub(super) fn on_recall(&mut self, from: NodeId, nonce: u64, out: &mut Effects) {
        let recalled = self.recalled[from.index()];
        let Recollection { epoch, promised, end } = recalled;
        send(out, from, Message::Recalled { nonce, epoch, promised, end });
    }

    /// Takes in what another member recalls of this node, if it answers this run.
    // specs: R6, R11
    pub(super) fn on_recalled(
        &mut self,
        from: NodeId,
        nonce: u64,
        recalled: Recollection,
        out: &mut Effects,
    ) {
        if nonce != self.config.nonce || self.check.answered.contains(from) {
            return;
        }
        self.check.answered = self.check.answered.with(from);
        let own = match self.voting.status {
            VotingStatus::Voter { epoch } | VotingStatus::Rejoining { epoch } => epoch,
            VotingStatus::Blank | VotingStatus::Ready => StorageEpoch::FIRST,
        };
        // All that this run itself has said since is durable here.
        let (promised, end) = if self.check.passed {
            (self.acceptor.promised, self.end())
        } else {
            (self.check.promised, self.check.end)
        };
        if recalled.epoch == own
            && recalled.is_beyond(promised, end)
            && !broken(Mutant::OldCopyUnnoticed)
        {
            self.check.gap = Some(StorageGap { by: from, recalled, promised, end });
            (self.check.ends_epoch, self.check.passed) = (true, false);
            self.step_down(Reason::StorageLost, out);
        }
    }

    /// Ends the check once all other voters have answered, or a quorum and the time is up, and
    /// begins another epoch if the storage has gone back.
    // specs: R10, R11
    pub(super) fn conclude_check(&mut self, out: &mut Effects) {
        if self.check.ends_epoch {
            if self.voting.due.is_none() {
                self.check.ends_epoch = false;
                self.begin_epoch(out);
            }
            return;
        }
        let answered = self.check.answered.with(self.config.me);
        let in_time = self.now >= self.check.quorum_from && self.members().is_quorum(answered);
        let all = self.silent_voters().is_empty();
        if self.voting.due.is_none() && (all || in_time) {
            self.check.passed = true;
            // Elections that this node could not start must not make the next one late.
            if self.following.ballot.is_none() && self.timer.attempts > 0 {
                self.start_election_soon();
            }
            self.emit_role(Reason::Admitted, out);
        }
    }
}
