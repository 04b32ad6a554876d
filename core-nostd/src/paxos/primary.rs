//! The primary: what it proposes, and its rights.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::time::Instant;

use super::node::RoleState;
use super::{Ballot, Content, Descriptor, Effects, Entry, Members, Node, NodeSet, Reason};

/// What a primary keeps beside the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Leadership {
    /// The last slot that was taken over.
    pub(super) start: Slot,
    since: Instant,
    pub(super) beat: u64,
    pub(super) beat_at: Instant,
    /// Votes may have changed since they were counted.
    pub(super) recount: bool,
    /// Entries wait for room among the effects.
    pub(super) unsent: bool,
    /// A quorum has adopted the log under this ballot.
    pub(super) established: bool,
    /// Where the last change of members stands.
    change: Slot,
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

/// Why nothing was proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// This node may not propose; the primary, if known, may.
    NotPrimary {
        /// Who that is.
        primary: Option<NodeId>,
    },
    /// Too many slots or bytes are undecided, or the role is being handed over. Ask again after the
    /// next step.
    Full,
}

impl core::fmt::Display for ProposeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ProposeError::NotPrimary { .. } => "this node is not the primary",
            ProposeError::Full => "too much is undecided",
        })
    }
}

impl core::error::Error for ProposeError {}

/// Why the members stay as they are, or the primary where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// This node may not propose; the primary, if known, may.
    NotPrimary {
        /// Who that is.
        primary: Option<NodeId>,
    },
    /// A change before this one is not committed yet, or this primary is too new. Ask again later.
    Busy,
    /// The change would add or remove more than one voter, or leave none, or is none.
    Unsound,
    /// A node that is to vote has not got the whole log yet, or has lost its storage and not
    /// rejoined; or those who would vote from then on are out of reach.
    NotReady,
}

impl core::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ChangeError::NotPrimary { .. } => "this node is not the primary",
            ChangeError::Busy => "the change before this one is not committed yet",
            ChangeError::Unsound => "only one voter can be added or removed at a time",
            ChangeError::NotReady => "a node that is to vote is not ready for it",
        })
    }
}

impl core::error::Error for ChangeError {}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Proposes payloads for the next slots, as many as there is room for, and says how many these
    /// are: at least one, unless it was given none. They belong to the
    /// [`Effect::Append`](super::Effect::Append) among the effects.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing has changed then.
    ///
    /// # Panics
    /// When `out` is not empty.
    pub fn propose(
        &mut self,
        now: Instant,
        descriptors: &[Descriptor],
        out: &mut Effects,
    ) -> Result<usize, ProposeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let RoleState::Primary { ballot } = self.part else {
            return Err(ProposeError::NotPrimary { primary: self.primary() });
        };
        let mut bytes = self.undecided_bytes();
        let fits = |descriptor: &&Descriptor| {
            let before = bytes;
            bytes += u64::from(descriptor.length);
            before == 0 || bytes <= self.config.bytes_undecided_max
        };
        let taken = descriptors.iter().take(self.capacity_left()).take_while(fits).count();
        if taken == 0 && !descriptors.is_empty() {
            return Err(ProposeError::Full);
        }
        if taken > 0 {
            let payloads = descriptors[..taken].iter().map(|of| Content::Payload(*of));
            let entries = payloads.map(|content| Entry { ballot, content });
            self.put_all(self.log.last().next(), entries, out);
        }
        self.conclude(out);
        Ok(taken)
    }

    /// Bytes of payload that are not decided yet.
    fn undecided_bytes(&self) -> u64 {
        self.log.bytes_after(self.committed)
    }

    /// How many payloads can be proposed before something is decided; none unless this node is the
    /// primary.
    pub fn capacity_left(&self) -> usize {
        match self.part {
            RoleState::Primary { .. } if self.lead.successor.is_none() => self.log.room(),
            _ => 0,
        }
    }

    /// Proposes other members. A voter is added when it has the whole log as a learner (and has
    /// rejoined, if its storage is new); one voter is added or removed at a time, so that quorums
    /// before and after have a node in common (Ongaro, "Consensus: Bridging Theory and Practice",
    /// 2014, §4.1; with the correction of 2015: a primary first has something of its own chosen).
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    ///
    /// # Panics
    /// When `out` is not empty.
    // specs: M1, M4
    pub fn change_members(
        &mut self,
        now: Instant,
        members: Members,
        out: &mut Effects,
    ) -> Result<Slot, ChangeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        if !matches!(self.part, RoleState::Primary { .. }) {
            return Err(ChangeError::NotPrimary { primary: self.primary() });
        }
        let old = self.members();
        let added = members.voters.difference(old.voters);
        let removed = old.voters.difference(members.voters);
        if !members.is_sound() || members == old || added.len() + removed.len() > 1 {
            return Err(ChangeError::Unsound);
        }
        if !self.may_reconfigure() {
            return Err(ChangeError::Busy);
        }
        let ready = |node: NodeId| {
            let progress = &self.progress[node.index()];
            let near = progress.matched.0 + WINDOW as u64 / 2 >= self.committed.0;
            old.learners.contains(node) && progress.voted && near
        };
        let votes = |node: NodeId| self.progress[node.index()].voted && self.is_there(node);
        let voting: NodeSet = self.others().iter().filter(|node| votes(*node)).collect();
        let can_decide = members.is_quorum(voting.with(self.config.me));
        if !added.iter().all(ready) || !can_decide {
            return Err(ChangeError::NotReady);
        }
        let slot = self.propose_content(Content::Change(members), out);
        self.conclude(out);
        Ok(slot)
    }

    /// Hands the role of the primary to another voter: nothing is proposed any more until that one
    /// has the whole log and was told to stand. If it does not take over within the time of an
    /// election timeout, this node goes on.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    ///
    /// # Panics
    /// When `out` is not empty.
    pub fn transfer_leadership(
        &mut self,
        now: Instant,
        to: NodeId,
        out: &mut Effects,
    ) -> Result<(), ChangeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        if !matches!(self.part, RoleState::Primary { .. }) {
            return Err(ChangeError::NotPrimary { primary: self.primary() });
        }
        let members = self.members();
        if to == self.config.me || !members.voters.contains(to) || members.witnesses.contains(to) {
            return Err(ChangeError::Unsound);
        }
        if !self.progress[to.index()].voted {
            return Err(ChangeError::NotReady);
        }
        self.lead.successor = Some((to, self.now + self.config.election_timeout));
        self.lead.take_over_sent = false;
        self.conclude(out);
        Ok(())
    }

    /// Begins to lead with a log that was taken over up to `start`, accepted under `taken`.
    pub(super) fn lead(&mut self, start: Slot, taken: Ballot, out: &mut Effects) {
        let RoleState::Primary { ballot } = self.part else { unreachable!("a primary leads") };
        self.following = None;
        self.attempts = 0;
        let since = self.now;
        self.lead =
            Leadership { start, since, beat_at: since, recount: true, ..Leadership::default() };
        for node in self.others().iter() {
            let Some(promise) = self.promise_of(node) else { continue };
            // Two logs accepted under one ballot are beginnings of the same log. If that turns out
            // to be wrong here, the member says so.
            let shared =
                if promise.end.ballot == taken { promise.end.slot } else { promise.committed };
            self.progress[node.index()].next = Some(shared.min(start).next());
        }
        self.promises = [None; NODES_MAX];
        self.emit_role(Reason::Elected, out);
        self.on_beat(ballot, out);
    }

    /// Says that it is there, and looks who else is.
    // specs: P13
    pub(super) fn on_beat(&mut self, ballot: Ballot, out: &mut Effects) {
        let election_timeout = self.config.election_timeout;
        let late = self.now.since(self.lead.since) >= election_timeout;
        let there: NodeSet = self.others().iter().filter(|node| self.is_there(*node)).collect();
        if late && !self.members().is_quorum(there.with(self.config.me)) {
            self.wait_for_primary();
            return self.step_down(Reason::NoQuorum, out);
        }
        if late {
            for node in self.receivers().difference(there).iter() {
                self.progress[node.index()].lose_track();
            }
        }
        if self.lead.successor.is_some_and(|(_, until)| self.now >= until) {
            self.lead.successor = None;
        }
        if self.members().witnesses.contains(self.config.me) && self.lead.successor.is_none() {
            let members = self.members();
            let mut servers = members.voters.difference(members.witnesses).iter();
            let fit = |node: &NodeId| self.progress[node.index()].voted && self.is_there(*node);
            if let Some(to) = servers.find(fit) {
                self.lead.successor = Some((to, self.now + election_timeout));
                self.lead.take_over_sent = false;
            }
        }
        self.lead.beat += 1;
        self.lead.beat_at = self.now + self.config.heartbeat;
        for to in self.receivers().iter() {
            self.send_heartbeat(to, ballot, out);
        }
    }

    fn is_there(&self, node: NodeId) -> bool {
        let heard = self.heard[node.index()];
        heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout)
    }

    pub(super) fn on_link_up(&mut self, node: NodeId, out: &mut Effects) {
        if let RoleState::Primary { ballot } = self.part {
            self.progress[node.index()].lose_track();
            self.send_heartbeat(node, ballot, out);
        }
    }

    /// Appends an entry of this primary. The caller has looked whether there is room.
    // specs: P5
    pub(super) fn propose_content(&mut self, content: Content, out: &mut Effects) -> Slot {
        let RoleState::Primary { ballot } = self.part else { unreachable!("a primary proposes") };
        let slot = self.log.last().next();
        self.put(slot, Entry { ballot, content }, out);
        match content {
            // What an older epoch has acknowledged is forgotten there.
            Content::Rejoin { node, .. } => {
                self.progress[node.index()].voted = false;
                self.lead.recount = true;
            }
            Content::Change(_) => {
                self.lead.change = slot;
                self.lead.recount = true;
            }
            Content::Payload(_) => {}
        }
        slot
    }

    /// Whether an entry of the protocol's own may be proposed.
    // specs: M3
    pub(super) fn may_reconfigure(&self) -> bool {
        let decided = self.lead.established && self.lead.change <= self.committed;
        (decided || broken(Mutant::TwoChanges))
            && self.committed >= Slot::GENESIS
            && self.capacity_left() > 0
    }

    /// Whether this primary has been removed, and that is decided.
    // specs: M5
    pub(super) fn members_gone(&self) -> bool {
        let is_voter = |members: &Members| members.voters.contains(self.config.me);
        !is_voter(&self.members()) && !is_voter(&self.log.base().members)
    }
}
