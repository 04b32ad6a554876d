//! Questions of a driver to a node.

use crate::id::{NodeId, Slot};
use crate::time::Instant;

use super::roles::RoleState;
use super::{
    Ballot, Contact, Entry, Node, Record, SlotRange, SnapshotMeta, VotingStatus, WriteNumber,
};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Sets whether this node's server keeps up with the script. A node whose server is far behind
    /// lets others become primary, and starts an election only when no other node does.
    pub fn set_in_step(&mut self, in_step: bool) {
        if in_step != self.timer.in_step {
            self.timer.in_step = in_step;
            self.draw_own_timeout();
        }
    }

    /// Returns the name of this node.
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// Returns the highest ballot that was promised here.
    pub fn ballot(&self) -> Ballot {
        self.acceptor.promised
    }

    /// Returns its right to vote.
    pub fn voting(&self) -> VotingStatus {
        self.voting.status
    }

    /// Returns the last slot that has an entry here.
    pub fn last(&self) -> Slot {
        self.acceptor.log.last()
    }

    /// Returns the last slot that is known here to be chosen, with all before it.
    pub fn committed(&self) -> Slot {
        self.acceptor.committed
    }

    /// Returns the last slot that is known to survive a crash here, with all before it.
    pub fn durable(&self) -> Slot {
        self.acceptor.durable
    }

    /// Returns the state of the log at the last slot that is both committed and durable here: a
    /// state transfer starts with it.
    pub fn snapshot(&self) -> SnapshotMeta {
        *self.acceptor.log.base()
    }

    /// Returns the entry in a slot that is undecided or not durable here.
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.acceptor.log.entry(slot)
    }

    /// Returns the records of an [`Effect::Append`](super::Effect::Append) of the last step, with
    /// their numbers.
    ///
    /// # Panics
    /// Panics if there was no such effect.
    pub fn records(
        &self,
        number: WriteNumber,
        range: SlotRange,
    ) -> impl ExactSizeIterator<Item = (WriteNumber, Record)> {
        range.slots().enumerate().map(move |(step, slot)| {
            let entry = *self.acceptor.log.entry(slot).expect("what is appended stays for a step");
            (WriteNumber(number.0 + step as u64), Record::Accept { slot, entry })
        })
    }

    /// Returns what is known of another member.
    pub fn contact(&self, node: NodeId) -> Contact {
        let index = node.index();
        let lead = self.role_state.leadership();
        let matched = lead.map_or(Slot::NONE, |lead| lead.progress[index].matched);
        Contact { heard: self.heard[index], matched }
    }

    /// Forgets when anything happened, for model checking, and counts writes from 0 again if none
    /// is on its way. Nodes that differ in time only become equal; no timer expires until it is
    /// made to.
    #[doc(hidden)]
    pub fn forget_time(&mut self) {
        const FAR: Instant = Instant::from_micros(u64::MAX / 4);
        self.now = Instant::START;
        self.timer.forget_time(FAR);
        self.voting.hello_at = FAR;
        self.heard = self.heard.map(|heard| heard.map(|_| Instant::START));
        match &mut self.role_state {
            RoleState::Candidate(candidacy) => candidacy.forget_time(FAR),
            RoleState::Primary(lead) => lead.forget_time(FAR),
            RoleState::Backup | RoleState::PreCandidate { .. } => {}
        }
        self.acceptor.forget_writes();
    }
}
