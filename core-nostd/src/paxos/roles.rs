//! Roles of a node, and what each of them keeps.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::time::Instant;

use super::{Ballot, LogEnd, NodeSet, StorageEpoch};

/// What every message of a primary tells about it.
#[derive(Clone, Copy)]
pub(super) struct PrimarySeen {
    pub(super) ballot: Ballot,
    pub(super) committed: Slot,
    pub(super) start: Slot,
}

/// What a voter has promised with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Promise {
    pub(super) epoch: StorageEpoch,
    pub(super) end: LogEnd,
    pub(super) committed: Slot,
}

/// What a candidate takes from another log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Fetching {
    pub(super) donor: NodeId,
    pub(super) target: LogEnd,
    /// What the last question asked for, and how far the log here is the donor's.
    pub(super) asked_from: Slot,
    pub(super) got: Slot,
}

/// A candidate's state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Candidacy {
    pub(super) ballot: Ballot,
    /// Whether the own promise is durable, and the others have been asked.
    pub(super) asked: bool,
    /// The log's end as others would see it, once what is missing has been fetched.
    pub(super) taken: LogEnd,
    pub(super) fetching: Option<Fetching>,
    /// By node: its promise under this ballot. This node's own is among them once it is durable.
    pub(super) promises: [Option<Promise>; NODES_MAX],
    pub(super) give_up_at: Instant,
    pub(super) again_at: Instant,
}

impl Candidacy {
    /// Creates the candidacy of a node with this log, whose own promise is being written.
    pub(super) const fn new(
        ballot: Ballot,
        end: LogEnd,
        give_up_at: Instant,
        again_at: Instant,
    ) -> Self {
        Self {
            ballot,
            asked: false,
            taken: end,
            fetching: None,
            promises: [None; NODES_MAX],
            give_up_at,
            again_at,
        }
    }

    pub(super) fn forget_time(&mut self, far: Instant) {
        (self.give_up_at, self.again_at) = (far, far);
    }

    pub(super) fn next_at(&self) -> Instant {
        self.give_up_at.min(self.again_at)
    }
}

/// What a primary keeps beside the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Leadership {
    /// The last slot that was taken over.
    pub(super) start: Slot,
    pub(super) since: Instant,
    pub(super) beat: u64,
    pub(super) beat_at: Instant,
    /// Votes may have changed since they were counted.
    pub(super) recount: bool,
    /// Entries wait for room among the effects.
    pub(super) unsent: bool,
    /// A quorum has adopted the log under this ballot.
    pub(super) established: bool,
    /// Where the last change of members stands.
    pub(super) change: Slot,
    pub(super) successor: Option<(NodeId, Instant)>,
    pub(super) take_over_sent: bool,
}

impl Leadership {
    pub(super) fn forget_time(&mut self, far: Instant) {
        self.since = Instant::START;
        self.beat_at = far;
        self.beat = self.beat.min(1);
    }
}

/// What a primary knows of a member's log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Progress {
    /// The next slot to send; none while it is not known what the member has.
    pub(super) next: Option<Slot>,
    /// The member has everything up to here, durable or not.
    pub(super) received: Slot,
    /// Its vote, if it has voted: everything up to here is durable there under this ballot.
    pub(super) voted: bool,
    pub(super) matched: Slot,
    /// The frontend was asked to send everything up to here.
    pub(super) served: Slot,
    /// The commit index that it was told.
    pub(super) told: Slot,
    pub(super) beat: u64,
    pub(super) stalled: Option<Slot>,
}

impl Progress {
    pub(super) fn forget_beats(&mut self) {
        self.beat = self.beat.min(1);
        self.stalled = None;
    }

    /// The link is gone: what was sent may be lost, and what follows has to be asked for.
    pub(super) fn lose_track(&mut self) {
        self.next = None;
        self.stalled = None;
        self.served = Slot::NONE;
        self.told = Slot::NONE;
    }
}

/// What a member acknowledges.
#[derive(Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) up_to: Slot,
    pub(super) received: Slot,
    pub(super) epoch: Option<StorageEpoch>,
    pub(super) beat: u64,
}

/// What a node does at the moment.
#[expect(clippy::large_enum_variant, reason = "no allocator: the largest role has its place")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum RoleState {
    /// Waits, or follows a primary.
    Backup,
    /// Asks whether it would be elected.
    PreCandidate { ballot: Ballot, granted: NodeSet },
    /// Collects promises, then entries.
    Candidate(Candidacy),
    /// Proposes under this ballot.
    Primary { ballot: Ballot },
}
