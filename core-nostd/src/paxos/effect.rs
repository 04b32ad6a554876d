//! Inputs and effects of a node.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;

use super::{Ballot, Entry, Members, Message, Reason, Role, SlotRange, VotingStatus};

/// The number of effects that one step can have. Three for each other member (a new primary's
/// heartbeat, a range to serve, a commit index) and eight of the node itself must always fit; the
/// rest is room for entries to members, and entries without room follow with the next step.
pub const EFFECTS_MAX: usize = EFFECTS_RESERVED + 34;

/// The number of effects that the handlers themselves can have, beside entries to members.
pub(super) const EFFECTS_RESERVED: usize = 3 * (NODES_MAX - 1) + 8;

/// The space for the effects of a step. The caller passes it empty, and carries out the effects in
/// order.
pub type Effects = heapless::Vec<Effect, EFFECTS_MAX>;

/// The number of a node's write, from 1 and without gaps. No number is used twice between two
/// starts.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct WriteNumber(pub u64);

/// An event of which a node must be informed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input<'a> {
    /// Time has passed. The driver gives this input after [`deadline`](super::Node::deadline); at
    /// any other time it is harmless.
    Wake,
    /// A message has arrived, whole and unharmed, with its entries if it names any (see
    /// [`Message::range`]) and their payloads; the frontend has checked the payloads against their
    /// descriptors.
    Message {
        /// The sender, whose identity the frontend has established.
        from: NodeId,
        /// The message.
        message: &'a Message,
        /// The entries of its range. If their number differs, the message is ignored.
        entries: &'a [Entry],
    },
    /// The link to a member is up (again): earlier messages on their way are lost.
    LinkUp {
        /// The member.
        node: NodeId,
    },
    /// The link to a member is closed: its daemon, its host or the network has failed.
    LinkDown {
        /// The member.
        node: NodeId,
    },
    /// All writes up to this one survive a crash.
    Durable {
        /// The last of these writes.
        up_to: WriteNumber,
    },
}

/// An action that a node asks of its driver. An effect that depends on a write is not emitted
/// before [`Input::Durable`] reports that write, so the driver may carry out all effects at once,
/// and in parallel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Send a message; if it names a range, with these entries of the log, as it is when this
    /// effect is carried out in its turn, and with their payloads. A message that cannot be sent is
    /// dropped.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Append a record to stable storage, in the order of the numbers, and report it by
    /// [`Input::Durable`].
    Write {
        /// Its number.
        number: WriteNumber,
        /// The record.
        record: Record,
    },
    /// Append entries in the same way: [`Node::records`](super::Node::records) gives the record of
    /// each. Their payloads are those that came with the input of this step.
    Append {
        /// The number of the first record; the others follow.
        number: WriteNumber,
        /// The slots of the entries.
        range: SlotRange,
    },
    /// All slots up to this one are committed. Their entries have been written here (or are being).
    Committed {
        /// The last of them.
        up_to: Slot,
    },
    /// Read these slots from the log, and send them to the member as [`Message::Chosen`], in
    /// ranges, in their order. They are committed. If the log here begins later, the member needs a
    /// state transfer: a checkpoint with its [`SnapshotMeta`](super::SnapshotMeta), from which that
    /// node is restored. If there is none, do nothing.
    ServeCatchUp {
        /// The receiver.
        to: NodeId,
        /// The first of the slots.
        from: Slot,
        /// The last of the slots; at most [`CATCH_UP_SLOTS_MAX`] slots in all.
        up_to: Slot,
    },
    /// The node's role has changed, or the primary that it knows.
    Role {
        /// The role now.
        role: Role,
        /// The reason.
        reason: Reason,
    },
    /// The members, or their parts, have changed in the log here; the change may not be committed
    /// yet.
    Members {
        /// The members now.
        members: Members,
    },
}

/// The number of slots that one [`Effect::ServeCatchUp`] asks for.
pub const CATCH_UP_SLOTS_MAX: u64 = 64;

/// A record that must survive a crash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Record {
    /// The highest promised ballot.
    Promise {
        /// The ballot, higher than in any record before.
        ballot: Ballot,
    },
    /// An entry in a slot, kept with its payload. If this slot or later ones have been written
    /// before, those entries are no longer part of the log: this entry replaces them and is the
    /// last one.
    Accept {
        /// The slot: at most one after the last slot of the log.
        slot: Slot,
        /// The entry. Its ballot is promised as well, and the log accepted under it.
        entry: Entry,
    },
    /// The log up to a slot is accepted under a new primary's ballot, with nothing after it:
    /// entries that were written for later slots are no longer part of the log.
    Adopt {
        /// The primary's ballot, which has been promised already.
        ballot: Ballot,
        /// The last slot of the log from now on.
        up_to: Slot,
    },
    /// The node's right to vote.
    VotingStatus(VotingStatus),
}
