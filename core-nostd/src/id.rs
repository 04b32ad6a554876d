//! Names of things: nodes, slots, connections. All are plain numbers that every replica knows
//! alike.

use core::fmt;
use core::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use crate::limits::NODES_MAX;

/// A member of the group, numbered from 1 in the order of the group's configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeId(NonZeroU8);

impl TryFrom<u8> for NodeId {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("no group has a node of this number")
    }
}

impl From<NodeId> for u8 {
    fn from(node: NodeId) -> Self {
        node.number()
    }
}

impl NodeId {
    /// Returns the node with this number, if a group can have it (1 to [`NODES_MAX`]).
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) if number.get() as usize <= NODES_MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// The number, from 1.
    pub const fn number(self) -> u8 {
        self.0.get()
    }

    /// The place in an array of nodes, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Position in the log, from 1 and without gaps once committed. 0 means "none yet".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Slot(pub u64);

impl Slot {
    /// Before the first slot.
    pub const NONE: Self = Self(0);
    /// The slot of the genesis entry.
    pub const GENESIS: Self = Self(1);

    /// The slot after this one. Slots are 64 bits wide: at 10⁹ a second they last for 500 years.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The life of an entry replica by which a connection came in: grows whenever its daemon starts,
/// and whenever the group has given its connections up.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

/// A connection, by the name that the log gives it: equal on all replicas, never a file descriptor.
///
/// Numbers count from 1 without gaps within one generation of one entry replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnId {
    /// The replica by which the connection came in.
    pub entry: NodeId,
    /// The generation of that replica at the time.
    pub generation: Generation,
    /// The connection's number within the generation, from 1.
    pub number: u64,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.entry, self.generation.0, self.number)
    }
}
