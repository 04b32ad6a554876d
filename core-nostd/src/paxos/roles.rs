//! The roles of a node, and the state that each role keeps.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::time::Instant;

use super::{Ballot, LogEnd, NodeSet, StorageEpoch};

/// The primary's state, as each of its messages carries it.
#[derive(Clone, Copy)]
pub(super) struct PrimarySeen {
    /// The primary's ballot.
    pub(super) ballot: Ballot,
    /// The primary's commit index.
    pub(super) committed: Slot,
    /// The last slot that the primary took over.
    pub(super) start: Slot,
}

/// A voter's promise, with the end of its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Promise {
    /// The storage epoch that promises. The promise counts only while the log names this epoch.
    pub(super) epoch: StorageEpoch,
    /// The end of the voter's log when it promised.
    pub(super) end: LogEnd,
    /// The voter's commit index when it promised.
    pub(super) committed: Slot,
}

/// A candidate's progress in taking over another node's log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Fetching {
    /// The node whose log is taken: never this one.
    pub(super) donor: NodeId,
    /// The end of that log; higher than the end that the candidate has taken over.
    pub(super) target: LogEnd,
    /// The first slot of the last request; at most the target's slot.
    pub(super) asked_from: Slot,
    /// The slot up to which this node's log equals the donor's; below the target.
    pub(super) got: Slot,
}

/// A candidate's state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Candidacy {
    /// The candidate's ballot, which belongs to this node and is the last one that it promised.
    pub(super) ballot: Ballot,
    /// Whether this node's own promise is durable, and the node has asked the others for theirs.
    pub(super) asked: bool,
    /// The end of the log as it will be once the missing entries have been fetched.
    pub(super) taken: LogEnd,
    /// The log that is being taken over, if a promise came with a higher log.
    pub(super) fetching: Option<Fetching>,
    /// By node: its promise under this ballot. This node's own is among them once it is durable.
    pub(super) promises: [Option<Promise>; NODES_MAX],
    /// The time at which the candidacy has failed. Each step forward postpones it.
    pub(super) give_up_at: Instant,
    /// The time at which to repeat unanswered requests.
    pub(super) again_at: Instant,
}

impl Candidacy {
    /// Creates the candidacy of a node with this log, while the node's own promise is being
    /// written.
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

    /// Postpones all deadlines to `far`, for model checking.
    pub(super) fn forget_time(&mut self, far: Instant) {
        (self.give_up_at, self.again_at) = (far, far);
    }

    /// Checks the fields against each other and this node's name.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    fn invariants(&self, me: NodeId) {
        assert!(self.ballot.belongs_to(me), "a candidate has another node's ballot");
        let promised = self.promises.iter().flatten().count();
        assert!(self.asked || promised == 0, "a promise came without a request");
        assert!(!self.asked || self.promises[me.index()].is_some(), "asks without its own promise");
        if let Some(Fetching { donor, target, asked_from, got }) = self.fetching {
            assert!(donor != me, "a candidate fetches its own log");
            assert!(target > self.taken, "a candidate fetches a log that it has taken over");
            assert!(asked_from <= target.slot && got < target.slot, "fetches beyond its target");
        }
    }

    /// Returns the candidate's next deadline.
    pub(super) fn next_at(&self) -> Instant {
        self.give_up_at.min(self.again_at)
    }
}

/// The state that only a primary has.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Leadership {
    /// The ballot under which this primary proposes, which is the last one that it promised.
    pub(super) ballot: Ballot,
    /// The last slot that this primary took over. It is in the log, and every vote reaches it.
    pub(super) start: Slot,
    /// When this primary was elected.
    pub(super) since: Instant,
    /// The number of the last heartbeat, from 1.
    pub(super) beat: u64,
    /// When the next heartbeat is due.
    pub(super) beat_at: Instant,
    /// Whether votes may have changed since the last count; false after each step.
    pub(super) recount: bool,
    /// Whether entries wait for room among the effects of the next step.
    pub(super) unsent: bool,
    /// Whether a quorum has adopted the log under this ballot. If so, the commit index is not below
    /// [`Leadership::start`].
    pub(super) established: bool,
    /// The slot of the last change of members under this ballot; it is in the log.
    pub(super) change: Slot,
    /// The voter that is to take over, never this node, and the time at which the transfer has
    /// failed. Nothing is proposed until then.
    pub(super) successor: Option<(NodeId, Instant)>,
    /// Whether the primary has asked the successor to take over.
    pub(super) take_over_sent: bool,
    /// By node: the progress of its log. This node's own place is not used.
    pub(super) progress: [Progress; NODES_MAX],
}

impl Leadership {
    /// Creates the state of a new primary that has taken over a log up to `start`.
    pub(super) fn new(ballot: Ballot, start: Slot, now: Instant) -> Self {
        Self {
            ballot,
            start,
            since: now,
            beat: 0,
            beat_at: now,
            recount: true,
            unsent: false,
            established: false,
            change: Slot::NONE,
            successor: None,
            take_over_sent: false,
            progress: [Progress::default(); NODES_MAX],
        }
    }

    /// Forgets all times, for model checking.
    pub(super) fn forget_time(&mut self, far: Instant) {
        self.since = Instant::START;
        self.beat_at = far;
        self.beat = self.beat.min(1);
        self.progress.iter_mut().for_each(Progress::forget_beats);
    }

    /// Checks the fields against this node's name, the end of its log and its commit index.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    pub(super) fn invariants(&self, me: NodeId, last: Slot, committed: Slot) {
        assert!(self.start <= last, "a log was taken over beyond its end");
        assert!(self.change <= last, "members have changed beyond the log");
        assert!(!self.established || committed >= self.start, "established without its start");
        assert!(
            self.successor.is_none_or(|(node, _)| node != me),
            "a primary is its own successor"
        );
        for progress in &self.progress {
            progress.invariants(self.start, last, committed);
        }
    }
}

/// The state of a member's log, as the primary knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Progress {
    /// The next slot to send, at most one after the log's last slot; none while the end of the
    /// member's log is unknown.
    pub(super) next: Option<Slot>,
    /// The slot up to which the member has every entry, durable or not. It falls when the member
    /// has lost entries.
    pub(super) received: Slot,
    /// Whether the member's vote counts: every entry up to [`Progress::matched`] is durable there
    /// under this ballot.
    pub(super) voted: bool,
    /// The last slot of the member's last vote. If the vote counts, it is not below
    /// [`Leadership::start`].
    pub(super) matched: Slot,
    /// The last slot that this node asked the frontend to send.
    pub(super) served: Slot,
    /// The last commit index that this node sent to the member; never above this node's own.
    pub(super) committed_sent: Slot,
    /// The last heartbeat that the member has answered.
    pub(super) beat: u64,
    /// The last slot that the member had when it last answered a heartbeat and lacked entries that
    /// were sent.
    pub(super) stalled: Option<Slot>,
}

impl Progress {
    /// Forgets the numbers of heartbeats, for model checking.
    pub(super) fn forget_beats(&mut self) {
        self.beat = self.beat.min(1);
        self.stalled = None;
    }

    /// Forgets the end of the member's log, because the link is gone and the primary has to ask
    /// again.
    pub(super) fn lose_track(&mut self) {
        self.next = None;
        self.stalled = None;
        self.served = Slot::NONE;
        self.committed_sent = Slot::NONE;
    }

    /// Checks the fields against the beginning and end of the primary's log and its commit index.
    fn invariants(&self, start: Slot, last: Slot, committed: Slot) {
        assert!(
            self.next.is_none_or(|next| next <= last.next()),
            "a slot after the log's end is to be sent"
        );
        assert!(
            self.received <= last && self.matched <= last,
            "a member has entries beyond the primary's log"
        );
        assert!(
            !self.voted || self.matched >= start,
            "a vote counts that does not reach the log taken over"
        );
        assert!(self.committed_sent <= committed, "a commit index was sent that was not reached");
    }
}

/// A member's acknowledgement.
#[derive(Clone, Copy)]
pub(super) struct Acknowledged {
    /// The slot up to which every entry is durable there.
    pub(super) up_to: Slot,
    /// The slot up to which every entry is in the member's log, durable or not.
    pub(super) received: Slot,
    /// The storage epoch that votes; none if the acknowledgement is no vote.
    pub(super) epoch: Option<StorageEpoch>,
    /// The heartbeat that the acknowledgement answers, or 0.
    pub(super) beat: u64,
}

/// The role of a node, with the state that only this role has.
#[expect(clippy::large_enum_variant, reason = "no allocator: the largest role has its place")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum RoleState {
    /// The node waits, or follows a primary.
    Backup,
    /// The node asks whether it would be elected.
    PreCandidate {
        /// The ballot that the node would use, which belongs to it and is above its promise.
        ballot: Ballot,
        /// The nodes that would promise the ballot, including this one.
        granted: NodeSet,
    },
    /// The node collects promises, then entries.
    Candidate(Candidacy),
    /// The node proposes entries, and the others accept them.
    Primary(Leadership),
}

impl RoleState {
    /// Returns whether the node is primary.
    pub(super) const fn is_primary(&self) -> bool {
        matches!(self, Self::Primary(_))
    }

    /// Checks the state of the present role against this node's name, highest promise, log and
    /// commit index.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    pub(super) fn invariants(&self, me: NodeId, promised: Ballot, last: Slot, committed: Slot) {
        match self {
            Self::Backup => {}
            Self::PreCandidate { ballot, granted } => {
                assert!(ballot.belongs_to(me), "asks for another node's ballot");
                // No ballot is above the last round, which only a forged ballot reaches.
                let last = promised.round() == Ballot::ROUND_MAX;
                assert!(
                    *ballot > promised || last,
                    "asks for a ballot that is not above its promise"
                );
                assert!(granted.contains(me), "a node does not grant its own pre-vote");
            }
            Self::Candidate(candidacy) => {
                assert!(candidacy.ballot == promised, "a candidate has promised another ballot");
                candidacy.invariants(me);
            }
            Self::Primary(lead) => {
                assert!(lead.ballot == promised, "a primary has promised another ballot");
                lead.invariants(me, last, committed);
            }
        }
    }

    /// Returns what a primary keeps, if the node is primary.
    pub(super) const fn leadership(&self) -> Option<&Leadership> {
        match self {
            Self::Primary(leadership) => Some(leadership),
            _ => None,
        }
    }

    /// Returns what a primary keeps, if the node is primary.
    pub(super) const fn leadership_mut(&mut self) -> Option<&mut Leadership> {
        match self {
            Self::Primary(leadership) => Some(leadership),
            _ => None,
        }
    }
}
