//! The recollections that members have of each other's storage, and the check of a node's own.

use crate::id::NodeId;
use crate::time::Instant;

use super::{Ballot, LogEnd, NodeSet, StorageEpoch};

/// The promises and acknowledgements of a node, as another one has heard them, under one epoch of
/// its storage. All of it was durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Recollection {
    /// The epoch of the storage that promised and acknowledged.
    pub epoch: StorageEpoch,
    /// The highest ballot that was promised.
    pub promised: Ballot,
    /// The highest end of a log that was acknowledged.
    pub end: LogEnd,
}

impl Recollection {
    /// Returns whether a storage with this promise and log lacks a part of what was said.
    pub(super) fn is_beyond(&self, promised: Ballot, end: LogEnd) -> bool {
        self.promised > promised || self.end > end
    }

    /// Takes in what a node has said.
    #[inline]
    pub(super) fn add(&mut self, epoch: StorageEpoch, promised: Ballot, end: LogEnd) {
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self.promised = self.promised.max(promised);
        self.end = self.end.max(end);
    }
}

/// A part of what a node has said that its storage lacks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StorageGap {
    /// The member that recalls it.
    pub by: NodeId,
    /// The recollection of that member.
    pub recalled: Recollection,
    /// The promise that the storage held when the node started.
    pub promised: Ballot,
    /// The end of the log that the storage held.
    pub end: LogEnd,
}

/// A node's check of the storage that it has started with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct StorageCheck {
    /// The promise that the storage held at the start.
    pub(super) promised: Ballot,
    /// The end of the log that the storage held at the start.
    pub(super) end: LogEnd,
    /// The members that have answered in this run.
    pub(super) answered: NodeSet,
    /// Whether the node may vote, as far as its storage is concerned.
    pub(super) passed: bool,
    /// The time from which the answers of a quorum suffice.
    pub(super) quorum_from: Instant,
    /// The part that the storage lacks, if another member has said so.
    pub(super) gap: Option<StorageGap>,
    /// Whether the node has to begin another epoch, and has not yet.
    pub(super) ends_epoch: bool,
}

impl StorageCheck {
    /// Begins the check of a storage. Nothing needs to be checked if it is `passed` already.
    pub(super) const fn new(
        promised: Ballot,
        end: LogEnd,
        quorum_from: Instant,
        passed: bool,
    ) -> Self {
        let answered = NodeSet::EMPTY;
        Self { promised, end, answered, passed, quorum_from, gap: None, ends_epoch: false }
    }
}
