//! Messages and entries that this replica owes to others.

use std::collections::VecDeque;

use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::Message;

/// A debt to another replica. Its entries may have to be read again first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) enum Owed {
    /// A message with the entries of its range.
    Message(NodeId, Message),
    /// The chosen entries between two slots, both included.
    Range(NodeId, Slot, Slot),
}

impl Owed {
    /// Returns the receiver.
    fn to(&self) -> NodeId {
        match *self {
            Self::Message(to, _) | Self::Range(to, ..) => to,
        }
    }

    /// Returns the slot of the first entry, if it has one.
    fn first(&self) -> Option<Slot> {
        match self {
            Self::Message(_, message) => message.range().map(|range| range.first),
            Self::Range(_, from, _) => Some(*from),
        }
    }
}

/// The debts to other replicas, and how far they were paid.
#[derive(Debug, Default)]
pub(in crate::driver) struct Debts {
    /// The debts, in turns.
    pub(in crate::driver) queue: VecDeque<Owed>,
    /// By receiver: the slot that it needs next, if that entry is not in the log's memory.
    pub(in crate::driver) next: [Option<Slot>; NODES_MAX],
    /// The bytes of entries that this round has sent.
    pub(in crate::driver) paid: u64,
}

impl Debts {
    /// Forgets a receiver, to which there is no link.
    pub(in crate::driver) fn forget(&mut self, node: NodeId) {
        self.queue.retain(|owed| owed.to() != node);
        self.next[node.index()] = None;
    }

    /// Returns the slots whose entries are needed next.
    pub(in crate::driver) fn slots(&self) -> impl Iterator<Item = Slot> + Clone {
        let first = self.queue.iter().filter_map(Owed::first);
        first.chain(self.next.iter().flatten().copied())
    }
}
