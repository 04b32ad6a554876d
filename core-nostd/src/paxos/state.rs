//! State that a node keeps in every role, in groups: each field with what holds of it between any
//! two steps, and each group with the check of it. State that only one role has is in `roles`.
//!
//! The handlers that change a group are in the file of its name.

use crate::id::Slot;
use crate::limits::NODES_MAX;
use crate::time::Instant;

use super::{StorageEpoch, VotingStatus, WriteNumber};

/// Whether this node may vote, and what it has learnt about that.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Voting {
    /// The status that is durable here: it changes only when [`Voting::due`] has become durable.
    pub(super) status: VotingStatus,
    /// The next status, and the write that makes it durable; that write is on its way.
    pub(super) due: Option<(WriteNumber, VotingStatus)>,
    /// The last slot of the log here whose entry names this storage's epoch.
    pub(super) rejoined: Option<Slot>,
    /// Epochs that this node has begun since its start. Each is the nonce plus this count, so that
    /// none is used twice.
    pub(super) epochs_used: u64,
    /// The epoch of this node that the log names, as another member has reported. It may be old.
    pub(super) named: StorageEpoch,
    /// By node: the last status that it has reported in answer to this node's nonce. Of no meaning
    /// once this node votes.
    pub(super) met: [Option<VotingStatus>; NODES_MAX],
    /// When to ask the others again. Of no meaning once this node votes.
    pub(super) hello_at: Instant,
}

impl Voting {
    /// Creates the state of a node that starts with `status`, which its log names in `rejoined`.
    pub(super) const fn new(now: Instant, status: VotingStatus, rejoined: Option<Slot>) -> Self {
        Self {
            status,
            due: None,
            rejoined,
            epochs_used: 0,
            named: StorageEpoch::FIRST,
            met: [None; NODES_MAX],
            hello_at: now,
        }
    }

    /// Returns the epoch that this node votes with.
    pub(super) const fn epoch(&self) -> Option<StorageEpoch> {
        match self.status {
            VotingStatus::Voter { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Checks the fields against the end of the log and the writes that are on their way.
    ///
    /// # Panics
    /// When one of them does not fit.
    pub(super) fn invariants(&self, last: Slot, settled: WriteNumber, written: WriteNumber) {
        if let Some((number, status)) = self.due {
            assert!(settled < number && number <= written, "a status is due that is durable");
            assert!(status != self.status, "a status is due that holds already");
        }
        assert!(self.rejoined.is_none_or(|slot| slot <= last), "named beyond the log");
    }
}
