//! Messages and entries that this replica owes to others.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::Message;

/// A debt to another replica, which is paid once entries have been read again.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) enum Owed {
    /// A message with the entries of its range.
    Message(NodeId, Message),
    /// The chosen entries between two slots, both included.
    Range(NodeId, Slot, Slot),
}

impl Owed {
    /// Returns the receiver.
    pub(in crate::driver) fn to(&self) -> NodeId {
        match *self {
            Self::Message(to, _) | Self::Range(to, ..) => to,
        }
    }
}
