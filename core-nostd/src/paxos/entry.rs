//! The entries that nodes agree on: descriptors of payloads, and agreement's own contents.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Slot};

use super::{Ballot, Members};

/// The description of a payload, whose bytes the frontend keeps: the core does not see them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// The number of bytes in the payload.
    pub length: u32,
    /// A digest of the bytes, by which the frontend checks what it receives.
    pub digest: u64,
}

impl Descriptor {
    /// The descriptor of no payload.
    pub(super) const NONE: Self = Self { length: 0, digest: 0 };
}

/// One epoch of a node's stable storage. A node that loses its storage has forgotten its promises;
/// it starts another epoch, which votes only after the log has named it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct StorageEpoch(pub u64);

impl StorageEpoch {
    /// The epoch of a member that has kept its storage since the group was created.
    pub const FIRST: Self = Self(0);
}

/// The content that is proposed for a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Content {
    /// A payload of the frontend: an encoded entry, or the genesis in slot 1.
    Payload(Descriptor),
    /// `node` has lost its storage. Promises and acknowledgements of its older epochs no longer
    /// count; those of `epoch` do, as soon as this entry is committed in the node's own log.
    Rejoin {
        /// The node that lost it.
        node: NodeId,
        /// The epoch of its new storage.
        epoch: StorageEpoch,
    },
    /// The members from here on.
    Change(Members),
}

impl Content {
    /// Returns the descriptor of the entry's payload, if it has one.
    pub const fn payload(&self) -> Option<Descriptor> {
        match self {
            Self::Payload(descriptor) => Some(*descriptor),
            _ => None,
        }
    }
}

/// An entry that is accepted in a slot. It keeps the ballot under which it was first proposed, even
/// when a later primary has it accepted again. Ballot and slot together identify one content, and
/// all entries before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The ballot under which it was first proposed.
    pub ballot: Ballot,
    /// Its content.
    pub content: Content,
}

/// The largest number of entries in one [`SlotRange`], where the entries travel with a message.
pub const RANGE_ENTRIES_MAX: usize = 64;

/// The largest number of bytes of their payloads, if there is more than one entry.
pub const RANGE_BYTES_MAX: u64 = 64 * 1024;

/// Successive slots whose entries are sent or written together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SlotRange {
    /// The first of them.
    pub first: Slot,
    /// The number of slots, at least one.
    pub count: u32,
}

impl SlotRange {
    /// Returns the range of one slot.
    pub const fn one(slot: Slot) -> Self {
        Self { first: slot, count: 1 }
    }

    /// Returns the range from one slot to another, which must be not below the first, and less than
    /// 2³² above.
    pub const fn between(first: Slot, last: Slot) -> Self {
        Self { first, count: (last.0 - first.0 + 1) as u32 }
    }

    /// Returns the last of the slots.
    pub const fn last(self) -> Slot {
        Slot(self.first.0 + self.count as u64 - 1)
    }

    /// Returns the slots in rising order.
    pub fn slots(self) -> impl ExactSizeIterator<Item = Slot> {
        let first = self.first.0;
        (0..self.count).map(move |step| Slot(first + u64::from(step)))
    }

    /// Returns whether a message may name this range: its slots and the slot after them exist.
    pub(super) const fn is_sound(self) -> bool {
        let count = self.count as u64;
        let fits = count > 0 && count <= RANGE_ENTRIES_MAX as u64;
        fits && self.first.0 > 0 && self.first.0 < u64::MAX - count
    }
}
