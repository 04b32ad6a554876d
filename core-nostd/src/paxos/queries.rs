//! What a driver may ask a node.

use crate::id::{NodeId, Slot};
use crate::time::Instant;

use super::roles::RoleState;
use super::{
    Ballot, Contact, Entry, Node, Record, SlotRange, SnapshotMeta, VotingStatus, WriteNumber,
};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Whether this node wants to be primary. One whose server is far behind the script lets others
    /// stand first, and stands itself only when nobody else does.
    pub fn set_in_step(&mut self, in_step: bool) {
        if in_step != self.timer.in_step {
            self.timer.in_step = in_step;
            self.draw_own_timeout();
        }
    }

    /// Which node this is.
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// The highest ballot that was promised here.
    pub fn ballot(&self) -> Ballot {
        self.acceptor.promised
    }

    /// Whether it may vote.
    pub fn voting(&self) -> VotingStatus {
        self.voting.status
    }

    /// The last slot that has an entry here.
    pub fn last(&self) -> Slot {
        self.acceptor.log.last()
    }

    /// The last slot of which this node knows that it is chosen, with all before it.
    pub fn committed(&self) -> Slot {
        self.acceptor.committed
    }

    /// The last slot of which this node knows that it survives a crash here, with all before it.
    pub fn durable(&self) -> Slot {
        self.acceptor.durable
    }

    /// What the log comes to, up to the last slot that is both committed and durable here: what a
    /// state transfer starts with.
    pub fn snapshot(&self) -> SnapshotMeta {
        *self.acceptor.log.base()
    }

    /// The entry in a slot that is undecided or not durable here.
    pub fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.acceptor.log.entry(slot)
    }

    /// The records that an [`Effect::Append`](super::Effect::Append) of the last step stands for,
    /// with their numbers.
    ///
    /// # Panics
    /// When there was no such effect.
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

    /// What is known of another member.
    pub fn contact(&self, node: NodeId) -> Contact {
        let index = node.index();
        let lead = self.role_state.leadership();
        let matched = lead.map_or(Slot::NONE, |lead| lead.progress[index].matched);
        Contact { heard: self.heard[index], matched }
    }

    /// For model checking: forgets when anything happened, and counts writes from 0 again if none
    /// is on its way. Nodes that differ in time only become equal; no timer ranges out until it is
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
