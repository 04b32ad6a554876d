//! What agreement is reached on: descriptions of payloads, and a few words of its own.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Slot};

use super::{Ballot, Members};

/// Stands for a payload: the core never sees the bytes, the frontend keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// Bytes in the payload.
    pub length: u32,
    /// A digest of them, by which the frontend may check what it was sent.
    pub digest: u64,
}

impl Descriptor {
    /// Of no payload.
    pub(super) const NONE: Self = Self { length: 0, digest: 0 };
}

/// One epoch of a node's stable storage. Whoever loses it has forgotten its promises, and starts
/// another epoch, which votes only after the log has said so.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct StorageEpoch(pub u64);

impl StorageEpoch {
    /// That of a member which has kept its storage since the group was created.
    pub const FIRST: Self = Self(0);
}

/// What is proposed for a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Content {
    /// A payload of the frontend: an encoded entry, or the genesis in slot 1.
    Payload(Descriptor),
    /// `node` has lost its storage. What an older epoch of it promised or acknowledged does not
    /// count any more; `epoch` does, as soon as this is committed in that node's own log.
    Rejoin {
        /// Who lost it.
        node: NodeId,
        /// How its new storage is called.
        epoch: StorageEpoch,
    },
    /// The members from here on.
    Change(Members),
}

impl Content {
    /// The payload that belongs to it.
    pub const fn payload(&self) -> Option<Descriptor> {
        match self {
            Self::Payload(descriptor) => Some(*descriptor),
            _ => None,
        }
    }
}

/// What was accepted in a slot. It keeps the ballot under which it was first proposed, also when a
/// later primary has it accepted again; ballot and slot together name one content, and everything
/// before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Under which it was first proposed.
    pub ballot: Ballot,
    /// What it says.
    pub content: Content,
}

/// Entries of one [`SlotRange`] at most, where they travel with a message.
pub const RANGE_ENTRIES_MAX: usize = 64;

/// Bytes of their payloads at most, if there is more than one of them.
pub const RANGE_BYTES_MAX: u64 = 64 * 1024;

/// Slots in a row, whose entries are sent or written together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first of them.
    pub first: Slot,
    /// How many there are, at least one.
    pub count: u32,
}

impl SlotRange {
    /// One slot.
    pub const fn one(slot: Slot) -> Self {
        Self { first: slot, count: 1 }
    }

    /// From one slot to another, which is not below it, and not 2³² above.
    pub const fn between(first: Slot, last: Slot) -> Self {
        Self { first, count: (last.0 - first.0 + 1) as u32 }
    }

    /// The last of the slots.
    pub const fn last(self) -> Slot {
        Slot(self.first.0 + self.count as u64 - 1)
    }

    /// The slots, rising.
    pub fn slots(self) -> impl ExactSizeIterator<Item = Slot> {
        let first = self.first.0;
        (0..self.count).map(move |step| Slot(first + u64::from(step)))
    }

    /// Whether a message may name it: there are such slots, and one after them.
    pub(super) const fn is_sound(self) -> bool {
        let count = self.count as u64;
        let fits = count > 0 && count <= RANGE_ENTRIES_MAX as u64;
        fits && self.first.0 > 0 && self.first.0 < u64::MAX - count
    }
}
