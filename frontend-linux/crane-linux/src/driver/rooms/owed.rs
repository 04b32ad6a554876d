//! Messages and entries that other replicas are owed.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::Message;

/// A debt to another replica, paid once entries have been read again.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) enum Owed {
    /// A message with the entries of its range.
    Message(NodeId, Message),
    /// The chosen entries from this slot up to that one.
    Range(NodeId, Slot, Slot),
}

impl Owed {
    /// Returns who gets it.
    pub(in crate::driver) fn to(&self) -> NodeId {
        match *self {
            Self::Message(to, _) | Self::Range(to, ..) => to,
        }
    }
}
