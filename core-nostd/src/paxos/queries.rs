//! Queries of a driver about a node's state.

use crate::id::{NodeId, Slot};
use crate::time::{Duration, Instant};

use super::roles::RoleState;
use super::{
    Ballot, Contact, Entry, Node, Record, SlotRange, SnapshotMeta, VotingStatus, WriteNumber,
};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Sets whether this node's server keeps up with the script. A node whose server is far behind
    /// lets others become primary, and starts an election only when no other node does: also one
    /// that was due soon already waits that long.
    pub fn set_in_step(&mut self, in_step: bool) {
        if in_step != self.timer.in_step {
            self.timer.in_step = in_step;
            self.draw_own_timeout();
            if !in_step {
                let wait = self.config.election_timeout.times(self.timeouts_added());
                self.timer.election_at = self.timer.election_at.max(self.now + wait);
            }
        }
    }

    /// Sets whether this node's disk stands still. A node whose disk does starts no election, also
    /// if the primary asks it to take over.
    // specs: H7
    pub const fn set_disk_stands(&mut self, disk_stands: bool) {
        self.timer.disk_stands = disk_stands;
    }

    /// Sets how long a sync takes on this node's disk, if that is longer than elections should
    /// take; else zero. An election takes several syncs on each of its nodes, so the node waits
    /// longer for one that has begun, its own or another's.
    // specs: H10
    pub const fn set_sync_time(&mut self, sync_time: Duration) {
        self.timer.sync_time = sync_time;
    }

    /// Returns the name of this node.
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// Returns the highest ballot that this node has promised.
    pub fn ballot(&self) -> Ballot {
        self.acceptor.promised
    }

    /// Returns the node's voting status.
    pub fn voting(&self) -> VotingStatus {
        self.voting.status
    }

    /// Returns whether the node promises and acknowledges: it is a voter, and the others recall
    /// nothing that its storage lacks.
    pub fn votes(&self) -> bool {
        self.may_vote()
    }

    /// Returns the last slot with an entry in this node's log.
    pub fn last(&self) -> Slot {
        self.acceptor.log.last()
    }

    /// Returns the commit index: the last slot that this node knows to be chosen, with all slots
    /// before it.
    pub fn committed(&self) -> Slot {
        self.acceptor.committed
    }

    /// Returns the last slot that survives a crash of this node, with all slots before it.
    pub fn durable(&self) -> Slot {
        self.acceptor.durable
    }

    /// Returns the state of the log at the last slot that is both committed and durable here. A
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
            let entry = *self.acceptor.log.entry(slot).expect("an appended entry stays for a step");
            (WriteNumber(number.0 + step as u64), Record::Accept { slot, entry })
        })
    }

    /// Returns what this node knows of another member.
    pub fn contact(&self, node: NodeId) -> Contact {
        let index = node.index();
        let lead = self.role_state.leadership();
        let matched = lead.map_or(Slot::NONE, |lead| lead.progress[index].matched);
        Contact { heard: self.heard[index], matched }
    }

    /// Forgets all times, for model checking, and counts writes from 0 again if none is on its way.
    /// Nodes that differ only in their times become equal, and no timer expires until the model
    /// makes it expire.
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
