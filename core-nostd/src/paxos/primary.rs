//! The primary: what it proposes, and its rights.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};

use super::roles::{Leadership, Promise, RoleState};
use super::{Ballot, Content, Effects, Entry, LogEnd, Members, Node, NodeSet, Reason};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Begins to lead with the log that was `taken` over from a quorum's `promises`.
    pub(super) fn lead(
        &mut self,
        taken: LogEnd,
        promises: &[Option<Promise>; NODES_MAX],
        out: &mut Effects,
    ) {
        let RoleState::Primary { ballot } = self.role_state else {
            unreachable!("a primary leads")
        };
        self.following.ballot = None;
        self.timer.attempts = 0;
        let (start, since) = (taken.slot, self.now);
        self.lead =
            Leadership { start, since, beat_at: since, recount: true, ..Leadership::default() };
        for node in self.others().iter() {
            let Some(promise) = promises[node.index()] else { continue };
            // Two logs accepted under one ballot are beginnings of the same log. If that turns out
            // to be wrong here, the member says so.
            let shared = if promise.end.ballot == taken.ballot {
                promise.end.slot
            } else {
                promise.committed
            };
            self.progress[node.index()].next = Some(shared.min(start).next());
        }
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

    pub(super) fn is_there(&self, node: NodeId) -> bool {
        let heard = self.heard[node.index()];
        heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout)
    }

    pub(super) fn on_link_up(&mut self, node: NodeId, out: &mut Effects) {
        if let RoleState::Primary { ballot } = self.role_state {
            self.progress[node.index()].lose_track();
            self.send_heartbeat(node, ballot, out);
        }
    }

    /// Appends an entry of this primary. The caller has looked whether there is room.
    // specs: P5
    pub(super) fn propose_content(&mut self, content: Content, out: &mut Effects) -> Slot {
        let RoleState::Primary { ballot } = self.role_state else {
            unreachable!("a primary proposes")
        };
        let slot = self.acceptor.log.last().next();
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
        let decided = self.lead.established && self.lead.change <= self.acceptor.committed;
        (decided || broken(Mutant::TwoChanges))
            && self.acceptor.committed >= Slot::GENESIS
            && self.capacity_left() > 0
    }

    /// How many payloads can be proposed before something is decided; none unless this node is the
    /// primary.
    pub fn capacity_left(&self) -> usize {
        match self.role_state {
            RoleState::Primary { .. } if self.lead.successor.is_none() => self.acceptor.log.room(),
            _ => 0,
        }
    }

    /// Whether this primary has been removed, and that is decided.
    // specs: M5
    pub(super) fn members_gone(&self) -> bool {
        let is_voter = |members: &Members| members.voters.contains(self.config.me);
        !is_voter(&self.members()) && !is_voter(&self.acceptor.log.base().members)
    }
}
