//! State that a node keeps in every role, in groups: each field with what holds of it between any
//! two steps, and each group with the check of it. State that only one role has is in `roles`.
//!
//! The handlers that change a group are in the file of its name.

use crate::id::Slot;
use crate::limits::NODES_MAX;
use crate::time::{Duration, Instant};

use super::{Ballot, StorageEpoch, VotingStatus, WriteNumber};

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

/// How long this node waits before it starts an election.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ElectionTimer {
    /// The generator that spreads timeouts; it decides nothing. Its seed differs from node to node
    /// and from start to start.
    pub(super) random: u64,
    /// How long a primary may be silent: drawn for each primary, and never below the configured
    /// election timeout.
    pub(super) timeout: Duration,
    /// When to start an election; a primary and a candidate do not look at it. Never before
    /// [`ElectionTimer::primary_heard`].
    pub(super) election_at: Instant,
    /// Pre-votes in succession that came to nothing: each makes the next wait longer. 0 once a
    /// primary is known.
    pub(super) attempts: u8,
    /// Whether this node's server keeps up with the script. If not, others become primary first.
    pub(super) in_step: bool,
    /// When the primary that is followed was last heard. Never after the node's present.
    pub(super) primary_heard: Instant,
}

impl ElectionTimer {
    /// Creates a timer that is due at once; [`ElectionTimer::timeout`] is yet to be drawn.
    pub(super) const fn new(now: Instant, seed: u64) -> Self {
        Self {
            random: seed,
            timeout: Duration::ZERO,
            election_at: now,
            attempts: 0,
            in_step: true,
            primary_heard: now,
        }
    }

    /// Begins the wait anew, because the primary was heard.
    #[inline(always)]
    pub(super) fn restart(&mut self, now: Instant) {
        self.primary_heard = now;
        self.election_at = now + self.timeout;
    }

    /// Returns a number below `bound`, different on each node and in each start (splitmix64,
    /// Steele, Lea and Flood, 2014).
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// Puts every election off to `far`, and forgets all that came before it.
    pub(super) fn forget_time(&mut self, far: Instant) {
        (self.random, self.attempts) = (0, 0);
        self.primary_heard = Instant::START;
        self.timeout = far.since(Instant::START);
        self.election_at = far;
    }

    /// Checks the fields against the node's present and the configured timeout.
    ///
    /// # Panics
    /// When one of them does not fit.
    pub(super) fn invariants(&self, now: Instant, election_timeout: Duration) {
        assert!(self.primary_heard <= now, "a primary was heard in the future");
        assert!(self.primary_heard <= self.election_at, "an election is due too early");
        assert!(self.timeout >= election_timeout, "a timeout is too short");
    }
}

/// The primary that this node follows, and what this node has answered it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Following {
    /// The primary's ballot: the last one that was promised here. None unless the role is backup;
    /// the other fields are of no meaning then.
    pub(super) ballot: Option<Ballot>,
    /// The log here is the primary's up to this slot: never below the commit index, and never
    /// beyond the log.
    pub(super) matched: Slot,
    /// The last slot that this node has acknowledged to the primary.
    pub(super) acknowledged: Slot,
    /// Whether an acknowledgement was sent that counts as a vote.
    pub(super) vote_sent: bool,
}

impl Following {
    /// Creates the state of a node that follows no primary. `committed` is its commit index.
    pub(super) const fn none(committed: Slot) -> Self {
        Self { ballot: None, matched: committed, acknowledged: Slot::NONE, vote_sent: false }
    }

    /// Creates the state of a node that begins to follow a primary, whose log it has up to
    /// `matched`.
    pub(super) const fn primary(ballot: Ballot, matched: Slot) -> Self {
        Self { ballot: Some(ballot), matched, acknowledged: Slot::NONE, vote_sent: false }
    }

    /// Checks the fields against what is promised and committed here.
    ///
    /// # Panics
    /// When one of them does not fit.
    pub(super) fn invariants(&self, promised: Ballot, committed: Slot) {
        let Some(ballot) = self.ballot else { return };
        assert!(ballot == promised, "a primary is followed whose ballot is not the promised one");
        assert!(self.matched >= committed, "committed what may not be the primary's");
    }
}
