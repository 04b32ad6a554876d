//! Messages between nodes.

use serde::{Deserialize, Serialize};

use crate::id::Slot;
use crate::wire::WireError;

use super::{Ballot, SlotRange, StorageEpoch, VotingStatus};

/// The number of bytes of the longest encoded message.
pub const MESSAGE_BYTES_MAX: usize = 128;

/// The end of a log. A candidate compares logs by their ends, the ballot first: the log with the
/// highest end has every entry that any quorum has chosen.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct LogEnd {
    /// The last ballot under which the log was accepted as a whole: the log is the beginning of
    /// that primary's log, and has every entry that this primary took over when it was elected.
    pub ballot: Ballot,
    /// The last slot.
    pub slot: Slot,
}

/// One message between two nodes. It may be lost, repeated, delayed and overtaken without harm.
///
/// ```
/// use crane_core::id::NodeId;
/// use crane_core::paxos::{Ballot, MESSAGE_BYTES_MAX, Message};
///
/// let message = Message::Prepare { ballot: Ballot::ZERO.next_of(NodeId::new(2).unwrap()) };
/// let mut space = [0; MESSAGE_BYTES_MAX];
/// let length = message.encode(&mut space)?;
/// assert_eq!(Message::decode(&space[..length])?, message);
/// assert!(Message::decode(&space[..length + 1]).is_err());
/// # Ok::<(), crane_core::wire::WireError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// A request for the receiver's voting status and for the sender's own epoch, from a node that
    /// may not vote yet.
    Hello {
        /// A number that the answer repeats.
        nonce: u64,
        /// The sender's voting status.
        voting: VotingStatus,
        /// The epoch of the sender that the log names, as far as the sender knows. A late request
        /// from an epoch that has ended therefore does not match any more.
        named: StorageEpoch,
    },
    /// The answer to [`Message::Hello`].
    HelloBack {
        /// The nonce of the request.
        nonce: u64,
        /// The answering node's voting status.
        voting: VotingStatus,
        /// The epoch of the asking node that the log names.
        named: StorageEpoch,
    },
    /// A request for a pre-vote: whether the receiver would promise this ballot. It changes
    /// nothing.
    PreVote {
        /// The ballot that the sender would use.
        ballot: Ballot,
    },
    /// The answer to [`Message::PreVote`].
    PreVoteReply {
        /// The ballot of the request.
        ballot: Ballot,
        /// Whether the node would promise the ballot.
        granted: bool,
        /// The highest ballot that the node has promised.
        promised: Ballot,
        /// The commit index of the node.
        committed: Slot,
    },
    /// Phase 1a: asks the receiver to promise to accept nothing below this ballot, and to describe
    /// its log.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
    },
    /// Phase 1b: the promise.
    Promised {
        /// The ballot of the request.
        ballot: Ballot,
        /// The epoch that promises.
        epoch: StorageEpoch,
        /// The end of the sender's log.
        end: LogEnd,
        /// The sender's commit index.
        committed: Slot,
    },
    /// A refusal of a request under `ballot`: the sender has promised a higher ballot.
    Refused {
        /// The ballot of the request.
        ballot: Ballot,
        /// The higher ballot.
        promised: Ballot,
    },
    /// A request for a range of the receiver's log, with payloads.
    Fetch {
        /// The candidate's ballot, for which undecided entries are sent too; zero for a learner's
        /// request.
        ballot: Ballot,
        /// The asking node's commit index: the range starts after it at the earliest.
        committed: Slot,
        /// The first slot that is missing, if the two logs agree below it.
        from: Slot,
        /// The ballot of the entry in the slot before `from`.
        before: Ballot,
    },
    /// Entries for a candidate that completes its log.
    Copy {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The slots of the entries, which come with the message.
        range: SlotRange,
        /// The ballot of the entry in the slot before, as in [`Message::Accept`].
        before: Ballot,
    },
    /// Entries that are known to be chosen, as are all entries before them.
    Chosen {
        /// The slots of the entries, which come with the message.
        range: SlotRange,
    },
    /// Phase 2a, for a range of slots.
    Accept {
        /// The primary's ballot.
        ballot: Ballot,
        /// The slots of the entries, which come with the message.
        range: SlotRange,
        /// The ballot of the entry in the slot before: a log that has that entry agrees up to
        /// there.
        before: Ballot,
        /// The primary's commit index.
        committed: Slot,
        /// The last slot that the primary took over when it was elected.
        start: Slot,
    },
    /// Phase 2b, for all slots up to one: up to that slot the sender's log is durable, and equal to
    /// the primary's.
    Accepted {
        /// The primary's ballot.
        ballot: Ballot,
        /// The last such slot.
        up_to: Slot,
        /// The last slot up to which the sender's log equals the primary's, durable or not.
        received: Slot,
        /// The epoch that votes for these slots under this ballot; `None` if the sender may not
        /// vote, or lacks an entry that the primary took over.
        epoch: Option<StorageEpoch>,
        /// The number of the heartbeat that this message answers, or 0.
        beat: u64,
    },
    /// The primary's commit index, sent as soon as it changes.
    Commit {
        /// The primary's ballot.
        ballot: Ballot,
        /// The primary's commit index.
        committed: Slot,
    },
    /// The sign that the primary is alive. It is answered with [`Message::Accepted`].
    Heartbeat {
        /// The primary's ballot.
        ballot: Ballot,
        /// The primary's commit index.
        committed: Slot,
        /// The last slot of the primary's log.
        last: Slot,
        /// The ballot of the entry in that slot.
        last_ballot: Ballot,
        /// The last slot that the primary took over when it was elected.
        start: Slot,
        /// The number of the heartbeat, counted from 1.
        beat: u64,
    },
    /// The primary asks the receiver to take its role.
    TakeOver {
        /// The primary's ballot.
        ballot: Ballot,
    },
    /// A request for what the receiver recalls of the sender's storage, from a node that has just
    /// started.
    Recall {
        /// A number that the answer repeats.
        nonce: u64,
    },
    /// The answer to [`Message::Recall`]: what the asking node has promised and acknowledged to the
    /// answering one, as far as that has not been forgotten.
    Recalled {
        /// The nonce of the request.
        nonce: u64,
        /// The epoch of the storage that promised and acknowledged.
        epoch: StorageEpoch,
        /// The highest ballot that was promised.
        promised: Ballot,
        /// The highest end of a log that was acknowledged.
        end: LogEnd,
    },
}

impl Message {
    /// Returns which entries of the sender's log the frontend attaches to the message, with their
    /// payloads.
    pub const fn range(&self) -> Option<SlotRange> {
        match self {
            Self::Copy { range, .. } | Self::Chosen { range } | Self::Accept { range, .. } => {
                Some(*range)
            }
            _ => None,
        }
    }

    /// Decodes a message that fills `bytes`.
    ///
    /// # Errors
    /// Returns [`WireError`] for any bytes that are no message; never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (message, rest) = postcard::take_from_bytes(bytes)?;
        if rest.is_empty() { Ok(message) } else { Err(WireError::Malformed) }
    }

    /// Writes the message to the front of `space`, and returns how many bytes it took; never more
    /// than [`MESSAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when `space` does not suffice.
    pub fn encode(&self, space: &mut [u8]) -> Result<usize, WireError> {
        Ok(postcard::to_slice(self, space)?.len())
    }
}
