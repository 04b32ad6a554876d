//! The state of a node, the ways it emits effects, and its invariants.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::time::Instant;

use super::recollection::StorageCheck;
use super::roles::RoleState;
use super::state::{Acceptor, ElectionTimer, Emitted, Following, Voting};
use super::{
    Ballot, Config, Effect, Effects, LogEnd, Members, Message, Reason, Recollection, Record, Role,
    SnapshotMeta, StorageEpoch, VotingStatus, WriteNumber,
};

/// A member of the group. `WINDOW` is the number of slots that may be undecided, or decided and not
/// yet durable here. It must be the same on all nodes, and must not shrink during a group's life; a
/// power of two is fastest.
///
/// ```
/// use crane_core::id::NodeId;
/// use crane_core::paxos::{
///     Ballot, Config, DurableState, Effect, Effects, Input, Members, Message, Node, StorageEpoch,
///     VotingStatus,
/// };
/// use crane_core::time::Instant;
///
/// let [me, candidate] = [1, 2].map(|number| NodeId::new(number).unwrap());
/// let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
/// let stored = DurableState { voting, ..DurableState::BLANK };
/// let now = Instant::from_micros(1);
/// let mut node = Node::<64>::restore(Config::new(me, Members::first(3), 7), now, stored, []);
///
/// // A candidate asks for a promise: the node emits a write of it, and does not answer yet.
/// let ballot = Ballot::ZERO.next_of(candidate);
/// let message = &Message::Prepare { ballot };
/// let mut out = Effects::new();
/// node.step(now, Input::Message { from: candidate, message, entries: &[] }, &mut out);
/// let answered = |out: &Effects| out.iter().any(|effect| matches!(effect, Effect::Send { .. }));
/// assert!(!answered(&out));
/// let written = out.iter().find_map(|effect| match effect {
///     Effect::Write { number, .. } => Some(*number),
///     _ => None,
/// });
///
/// // The promise now survives a crash, so the node answers the candidate.
/// out.clear();
/// node.step(now, Input::Durable { up_to: written.unwrap() }, &mut out);
/// assert!(answered(&out));
/// assert_eq!(node.ballot(), ballot);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node<const WINDOW: usize> {
    /// The settings, which never change.
    pub(super) config: Config,
    /// The latest time that the driver has given: it never goes back.
    pub(super) now: Instant,

    /// The promise and the log.
    pub(super) acceptor: Acceptor<WINDOW>,
    /// Whether the node may vote.
    pub(super) voting: Voting,
    /// The check of the storage that the node has started with.
    pub(super) check: StorageCheck,
    /// By node: what it has promised and acknowledged to this one, since this node's start.
    pub(super) recalled: [Recollection; NODES_MAX],
    /// The timer of the node's own election.
    pub(super) timer: ElectionTimer,
    /// The primary that the node follows; none unless its role is backup.
    pub(super) following: Following,
    /// The role of the node, with the state that only this role has.
    pub(super) role_state: RoleState,

    /// The reason to give when the node starts an election or gives one up.
    pub(super) why: Reason,
    /// The member that the node last asked for committed entries, and the first slot of that
    /// request, which is at most one after the commit index.
    pub(super) learning: Option<(NodeId, Slot)>,
    /// The highest ballot that another node has claimed to have promised. It may be above every
    /// promise that a node has made.
    pub(super) ballot_seen: Ballot,
    /// By node: when it was last heard, since this node's start. Never after [`Node::now`].
    pub(super) heard: [Option<Instant>; NODES_MAX],
    /// The last values that the driver has received.
    pub(super) emitted: Emitted,
}

/// The contents of stable storage when a node starts, without its log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DurableState {
    /// The ballot of the last [`Record::Promise`]; zero if there is none.
    pub promised: Ballot,
    /// The status of the last [`Record::VotingStatus`].
    pub voting: VotingStatus,
    /// The highest ballot in any [`Record::Accept`] or [`Record::Adopt`], also if that entry is no
    /// longer part of the log; zero if there is none.
    pub accepted: Ballot,
    /// A slot up to which every slot is known to be committed. The frontend may write this hint at
    /// any time, and 0 is always correct. The frontend may admit entries up to this slot before the
    /// node has heard from another node.
    pub committed: Slot,
    /// The state before the log's first entry, if the beginning of the log has been cut off. Every
    /// entry that was cut off is committed.
    pub snapshot: Option<SnapshotMeta>,
}

impl DurableState {
    /// The contents of an empty data directory.
    pub const BLANK: Self = Self {
        promised: Ballot::ZERO,
        accepted: Ballot::ZERO,
        voting: VotingStatus::Blank,
        committed: Slot::NONE,
        snapshot: None,
    };
}

/// The state of another member, as a node knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Contact {
    /// The time when this node last heard the member, since this node's start.
    pub heard: Option<Instant>,
    /// The last slot up to which the member's log is known to be durable and equal to this
    /// primary's; none unless this node is primary.
    pub matched: Slot,
}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Returns the node's role.
    pub fn role(&self) -> Role {
        match self.role_state {
            RoleState::Primary(_) => Role::Primary,
            RoleState::Candidate(_) => Role::Candidate,
            _ if !self.may_vote() => Role::Recovering { primary: self.primary() },
            _ => Role::Backup { primary: self.primary() },
        }
    }

    /// Returns the primary, if this node knows it.
    pub fn primary(&self) -> Option<NodeId> {
        match self.role_state {
            RoleState::Primary(_) => Some(self.config.me),
            _ => self.following.ballot.and_then(Ballot::node),
        }
    }

    /// Returns the members, as this node's log names them.
    pub fn members(&self) -> Members {
        match broken(Mutant::OldMembersCount) {
            true => self.acceptor.log.base().members,
            false => self.acceptor.log.end().members,
        }
    }

    /// Returns the end of this node's log.
    pub fn end(&self) -> LogEnd {
        self.acceptor.end()
    }

    /// Returns the storage epoch with which this node votes, if it votes.
    pub(super) fn epoch(&self) -> Option<StorageEpoch> {
        self.voting.epoch().filter(|_| self.check.passed)
    }

    /// Returns whether this node promises and acknowledges.
    // specs: R3, R10
    pub(super) const fn may_vote(&self) -> bool {
        self.voting.status.is_voter() && self.check.passed
    }

    /// Returns all members but this node.
    pub(super) fn others(&self) -> super::NodeSet {
        self.members().all().without(self.config.me)
    }

    /// Returns whether this node's disk lacks so many decided bytes that no more entries are taken
    /// before it has synced.
    pub(super) fn is_disk_behind(&self) -> bool {
        let Acceptor { log, committed, .. } = &self.acceptor;
        log.bytes_until(*committed) > self.config.bytes_behind_max
    }

    /// Emits the write of a record, and returns the number of the write, which is the next one.
    pub(super) fn write(&mut self, record: Record, out: &mut Effects) -> WriteNumber {
        self.acceptor.written.0 += 1;
        push(out, Effect::Write { number: self.acceptor.written, record });
        self.acceptor.written
    }

    /// Emits the role, if it has changed.
    pub(super) fn emit_role(&mut self, reason: Reason, out: &mut Effects) {
        let role = self.role();
        if role != self.emitted.role {
            self.emitted.role = role;
            say!(
                debug,
                "node {}: {:?}, {:?}",
                self.config.me.number(),
                shown!(role),
                shown!(reason)
            );
            push(out, Effect::Role { role, reason });
        }
    }

    /// Checks what holds between any two steps, in time proportional to `WINDOW`: that each part of
    /// the state is sound, and that the parts fit together.
    ///
    /// Called always in simulation, and under debug assertions after each step of a node with a
    /// small window.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub fn invariants(&self) {
        self.check_state();
        self.acceptor.invariants();
        let Acceptor { promised, committed, settled, written, .. } = self.acceptor;
        let last = self.acceptor.log.last();
        self.role_state.invariants(self.config.me, promised, last, committed);
        if self.following.ballot.is_some() {
            assert!(matches!(self.role_state, RoleState::Backup), "only a backup follows");
        }
        let asked = self.learning.map_or(Slot::NONE, |(_, slot)| slot);
        assert!(asked <= committed.next(), "learns from beyond the commit index");
        assert!(self.heard.iter().flatten().all(|at| *at <= self.now), "heard in the future");
        assert!(self.emitted.committed <= committed, "emitted a commit index that was not reached");
        assert!(self.emitted.members == self.members(), "a change of members was not emitted");
        self.timer.invariants(self.now, self.config.election_timeout);
        self.following.invariants(promised, committed);
        self.voting.invariants(last, settled, written);
    }

    /// Makes the checks that every step can afford, and under debug assertions all others.
    #[inline(always)]
    pub(super) fn check(&self) {
        self.check_state();
        if cfg!(debug_assertions) && WINDOW <= 64 {
            self.invariants();
        }
    }

    /// Checks the invariants that a release build checks as well, because a node that has stopped
    /// does less harm than one that is wrong.
    #[inline(always)]
    fn check_state(&self) {
        self.acceptor.check();
        assert!(self.following.matched <= self.acceptor.log.last(), "agreed beyond the log");
        if let RoleState::Primary(lead) = &self.role_state {
            assert!(lead.ballot == self.acceptor.promised, "a primary has promised another ballot");
            assert!(self.may_vote(), "a primary may vote");
        }
    }
}

/// Emits an effect; [`EFFECTS_MAX`](super::EFFECTS_MAX) bounds the number of effects of a step.
#[inline(always)]
pub(super) fn push(out: &mut Effects, effect: Effect) {
    assert!(out.push(effect).is_ok(), "the effects of a step exceed their bound");
}

/// Emits a message.
#[inline(always)]
pub(super) fn send(out: &mut Effects, to: NodeId, message: Message) {
    push(out, Effect::Send { to, message });
}
