//! The state that a node keeps in every role, in groups. Each field documents its invariant between
//! any two steps, and each group checks its own. State that only one role has is in `roles`.
//!
//! The handlers that change a group are in the file of its name.

use crate::id::Slot;
use crate::limits::NODES_MAX;
use crate::time::{Duration, Instant};

use super::window::Window;
use super::{Ballot, LogEnd, Members, Role, StorageEpoch, VotingStatus, WriteNumber};

/// The promise and the log of this node, and how much of them is durable and committed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Acceptor<const WINDOW: usize> {
    /// The highest ballot that this node has promised; it only rises.
    pub(super) promised: Ballot,
    /// The write that makes [`Acceptor::promised`] durable.
    pub(super) promise_write: WriteNumber,
    /// Whether the node answers the owner of [`Acceptor::promised`] as soon as the promise is
    /// durable. False once the node follows that owner as its primary.
    pub(super) answer_due: bool,
    /// The last ballot under which the log was accepted as a whole; never above
    /// [`Acceptor::promised`], never below the ballot of an entry of the log.
    pub(super) accepted: Ballot,
    /// The write that makes [`Acceptor::accepted`] durable.
    pub(super) accepted_write: WriteNumber,
    /// The end of the log. Its base is the last slot that is both committed and durable, as of the
    /// end of the last step.
    pub(super) log: Window<WINDOW>,
    /// The commit index: every entry up to it is chosen. It only rises, and is in the log.
    pub(super) committed: Slot,
    /// The slot up to which every entry is durable here. It is in the log, and falls only with the
    /// log's end.
    pub(super) durable: Slot,
    /// The last write that the node has emitted.
    pub(super) written: WriteNumber,
    /// The last write that is durable, with all writes before it; never above
    /// [`Acceptor::written`].
    pub(super) settled: WriteNumber,
}

impl<const WINDOW: usize> Acceptor<WINDOW> {
    /// Creates the state of a node that starts with a log, all of which is durable.
    pub(super) fn new(
        promised: Ballot,
        accepted: Ballot,
        log: Window<WINDOW>,
        committed: Slot,
    ) -> Self {
        Self {
            promised: promised.max(accepted),
            promise_write: WriteNumber(0),
            answer_due: false,
            accepted,
            accepted_write: WriteNumber(0),
            committed,
            durable: log.last(),
            log,
            written: WriteNumber(0),
            settled: WriteNumber(0),
        }
    }

    /// Returns the end of the log, as candidates compare it.
    pub(super) fn end(&self) -> LogEnd {
        LogEnd { ballot: self.accepted, slot: self.log.last() }
    }

    /// Returns whether the promise survives a crash.
    pub(super) fn promise_is_durable(&self) -> bool {
        self.settled >= self.promise_write
    }

    /// Returns whether the acceptance of the log under [`Acceptor::accepted`] survives a crash.
    pub(super) fn accepted_is_durable(&self) -> bool {
        self.settled >= self.accepted_write
    }

    /// Counts writes from 0 again if none is on its way.
    pub(super) fn forget_writes(&mut self) {
        if self.settled == self.written {
            let zero = WriteNumber(0);
            (self.settled, self.written) = (zero, zero);
            (self.promise_write, self.accepted_write) = (zero, zero);
            self.log.forget_writes();
        }
    }

    /// Checks the invariants that a release build checks as well, because a node that has stopped
    /// does less harm than one that is wrong.
    ///
    /// # Panics
    /// Panics if one of the fields does not fit the others.
    #[inline(always)]
    pub(super) fn check(&self) {
        let (base, last) = (self.log.base().slot, self.log.last());
        assert!(base <= self.committed && base <= self.durable, "the window starts too late");
        assert!(self.committed <= last, "committed beyond the log");
        assert!(self.durable <= last, "durable beyond the log");
        assert!(self.accepted <= self.promised, "accepted above the promise");
        assert!(self.settled <= self.written, "durable before it was written");
    }

    /// Checks the other invariants, in time proportional to `WINDOW`.
    ///
    /// # Panics
    /// Panics if one of the fields does not fit the others.
    pub(super) fn invariants(&self) {
        assert!(
            self.promise_write <= self.written,
            "a promise waits for a write that was not emitted"
        );
        assert!(
            self.accepted_write <= self.written,
            "a log waits for a write that was not emitted"
        );
        assert!(self.log.end().ballot <= self.accepted, "an entry is above the accepted ballot");
        self.log.invariants();
    }
}

/// Whether this node may vote, and what it has learnt from others about its right to vote.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Voting {
    /// The status that is durable here: it changes only when [`Voting::due`] has become durable.
    pub(super) status: VotingStatus,
    /// The next status, and the write that makes it durable; that write is on its way.
    pub(super) due: Option<(WriteNumber, VotingStatus)>,
    /// The last slot of the log here whose entry names this storage's epoch.
    pub(super) rejoined: Option<Slot>,
    /// The number of epochs that this node has begun since its start. Each epoch is the nonce plus
    /// this count, so that no epoch is used twice.
    pub(super) epochs_used: u64,
    /// The epoch of this node that the log names, as another member has reported it. The report may
    /// be old.
    pub(super) named: StorageEpoch,
    /// By node: the last status that it has reported in answer to this node's nonce. Meaningless
    /// once this node votes.
    pub(super) met: [Option<VotingStatus>; NODES_MAX],
    /// The time at which to ask the others again. Meaningless once this node votes.
    pub(super) hello_at: Instant,
}

impl Voting {
    /// Creates the state of a node that starts with `status`. The log names the epoch of `status`
    /// in the slot `rejoined`.
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

    /// Returns the storage epoch with which this node votes.
    pub(super) const fn epoch(&self) -> Option<StorageEpoch> {
        match self.status {
            VotingStatus::Voter { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Checks the fields against the end of the log and the writes that are on their way.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    pub(super) fn invariants(&self, last: Slot, settled: WriteNumber, written: WriteNumber) {
        if let Some((number, status)) = self.due {
            assert!(
                settled < number && number <= written,
                "the write of a due status is durable already"
            );
            assert!(status != self.status, "the due status is the present one");
        }
        assert!(self.rejoined.is_none_or(|slot| slot <= last), "named beyond the log");
    }
}

/// The timer after which this node starts an election.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ElectionTimer {
    /// The generator that spreads timeouts, and that no decision depends on. Its seed differs from
    /// node to node and from start to start.
    pub(super) random: u64,
    /// How long a primary may be silent; drawn for each primary, and never below the configured
    /// election timeout.
    pub(super) timeout: Duration,
    /// The time at which to start an election; a primary and a candidate ignore it. Never before
    /// [`ElectionTimer::primary_heard`].
    pub(super) election_at: Instant,
    /// The number of successive pre-votes that failed, each of which makes the next wait longer. 0
    /// once a primary is known.
    pub(super) attempts: u8,
    /// Whether this node's server keeps up with the script. If it does not, other nodes become
    /// primary first.
    pub(super) in_step: bool,
    /// Whether this node's disk stands still, so that the node could not become primary: its own
    /// promise would not become durable.
    pub(super) disk_stands: bool,
    /// How long a sync takes on this node's disk, if that is long.
    pub(super) sync_time: Duration,
    /// The time when this node last heard the primary that it follows. Never in the future.
    pub(super) primary_heard: Instant,
}

impl ElectionTimer {
    /// Creates a timer that is due at once; [`ElectionTimer::timeout`] must be drawn before its
    /// use.
    pub(super) const fn new(now: Instant, seed: u64) -> Self {
        Self {
            random: seed,
            timeout: Duration::ZERO,
            election_at: now,
            attempts: 0,
            in_step: true,
            disk_stands: false,
            sync_time: Duration::ZERO,
            primary_heard: now,
        }
    }

    /// Restarts the wait, because the node has heard the primary.
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

    /// Postpones every election to `far`, and forgets all earlier times.
    pub(super) fn forget_time(&mut self, far: Instant) {
        (self.random, self.attempts) = (0, 0);
        self.primary_heard = Instant::START;
        self.timeout = far.since(Instant::START);
        self.election_at = far;
    }

    /// Checks the fields against the present time and the configured timeout.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    pub(super) fn invariants(&self, now: Instant, election_timeout: Duration) {
        assert!(self.primary_heard <= now, "a primary was heard in the future");
        assert!(self.primary_heard <= self.election_at, "an election is due too early");
        assert!(self.timeout >= election_timeout, "a timeout is too short");
    }
}

/// The primary that this node follows, and this node's last answers to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Following {
    /// The primary's ballot, which is the last one that this node promised. None unless the role is
    /// backup and a primary is known; the other fields are meaningless then.
    pub(super) ballot: Option<Ballot>,
    /// The slot up to which this node's log equals the primary's; never below the commit index, and
    /// never beyond the log.
    pub(super) matched: Slot,
    /// The last slot that this node has acknowledged to the primary.
    pub(super) acknowledged: Slot,
    /// Whether this node has sent an acknowledgement that counts as a vote.
    pub(super) vote_sent: bool,
}

impl Following {
    /// Creates the state of a node that follows no primary. `committed` is its commit index.
    pub(super) const fn none(committed: Slot) -> Self {
        Self { ballot: None, matched: committed, acknowledged: Slot::NONE, vote_sent: false }
    }

    /// Creates the state of a node that begins to follow a primary and has the primary's log up to
    /// `matched`.
    pub(super) const fn primary(ballot: Ballot, matched: Slot) -> Self {
        Self { ballot: Some(ballot), matched, acknowledged: Slot::NONE, vote_sent: false }
    }

    /// Checks the fields against this node's promise and commit index.
    ///
    /// # Panics
    /// Panics if one of them does not fit.
    pub(super) fn invariants(&self, promised: Ballot, committed: Slot) {
        let Some(ballot) = self.ballot else { return };
        assert!(ballot == promised, "follows a primary whose ballot is not the promised one");
        assert!(self.matched >= committed, "committed beyond the primary's log");
    }
}

/// The values that the driver received last, so that it receives only changes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Emitted {
    /// The role, as it was when it last changed.
    pub(super) role: Role,
    /// The commit index; the present one after each step.
    pub(super) committed: Slot,
    /// The members; the present ones after each step.
    pub(super) members: Members,
}

impl Emitted {
    /// Creates the state of a node whose driver knows the members at the beginning of the log.
    pub(super) const fn new(members: Members) -> Self {
        Self { role: Role::Recovering { primary: None }, committed: Slot::NONE, members }
    }
}
