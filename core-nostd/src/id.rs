//! Names of nodes, slots and connections. All are plain numbers that are equal on every replica.

use core::fmt;
use core::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use crate::limits::{INCARNATIONS_MAX, NODES_MAX};

/// A member of the group, numbered from 1 in the order of the group's configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeId(NonZeroU8);

impl TryFrom<u8> for NodeId {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a node's number is outside the range that a group can have")
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

    /// Returns the number, from 1.
    pub const fn number(self) -> u8 {
        self.0.get()
    }

    /// Returns the index in an array of nodes, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A position in the log, from 1 and without gaps once committed. 0 means "none yet".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Slot(pub u64);

impl Slot {
    /// The position before the first slot.
    pub const NONE: Self = Self(0);
    /// The slot of the genesis entry.
    pub const GENESIS: Self = Self(1);

    /// Returns the slot after this one. Slots are 64 bits wide: at 10⁹ a second they last for 500
    /// years.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a run of the server program that all replicas make, from its start to the next
/// agreed restart. The first one has number 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// The run that begins with the genesis entry.
    pub const FIRST: Self = Self(1);

    /// Returns the next incarnation, or `None` at the end of the numbers.
    pub const fn next(self) -> Option<Self> {
        if self.0 < INCARNATIONS_MAX { Some(Self(self.0 + 1)) } else { None }
    }
}

impl Default for Incarnation {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The generation of an entry replica by which a connection came in. It grows whenever the
/// replica's daemon starts, whenever the group has given up the replica's connections, and with
/// each incarnation of the server.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

impl Generation {
    /// The number of generations that one incarnation has: as a count of milliseconds, the numbers
    /// last for 557 years.
    pub const PER_INCARNATION: u64 = 1 << 44;

    /// Returns the generation before the first one of an incarnation. Connections of this one and
    /// of older ones ended with the incarnations before.
    // specs: I2
    pub const fn before(incarnation: Incarnation) -> Self {
        Self((incarnation.0 as u64 - 1) * Self::PER_INCARNATION)
    }
}

/// A connection, by the name that the log gives it: equal on all replicas, never a file descriptor.
///
/// Numbers count from 1 without gaps within one generation of one entry replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnId {
    /// The replica by which the connection came in.
    pub entry: NodeId,
    /// The generation of that replica when the connection came in.
    pub generation: Generation,
    /// The connection's number within the generation, from 1.
    pub number: u64,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.entry, self.generation.0, self.number)
    }
}
