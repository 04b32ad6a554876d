//! The primary: its election, its heartbeats, its own entries, and its rights.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};

use super::roles::{Leadership, Progress, Promise, RoleState};
use super::{Ballot, Content, Effects, Entry, LogEnd, Members, Node, NodeSet, Reason};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Begins to lead, with the log that this node has `taken` over from a quorum's `promises`.
    pub(super) fn lead(
        &mut self,
        ballot: Ballot,
        taken: LogEnd,
        promises: &[Option<Promise>; NODES_MAX],
        out: &mut Effects,
    ) {
        self.following.ballot = None;
        self.timer.attempts = 0;
        let start = taken.slot;
        let mut lead = Leadership::new(ballot, start, self.now);
        for node in self.others().iter() {
            let Some(promise) = promises[node.index()] else { continue };
            // Two logs accepted under one ballot are beginnings of the same log. If this member's
            // log is an exception, the member reports it.
            let shared = if promise.end.ballot == taken.ballot {
                promise.end.slot
            } else {
                promise.committed
            };
            lead.progress[node.index()].next = Some(shared.min(start).next());
        }
        self.role_state = RoleState::Primary(lead);
        self.emit_role(Reason::Elected, out);
        self.on_beat(out);
    }

    /// Sends heartbeats, and checks which members this primary has heard.
    // specs: P13
    pub(super) fn on_beat(&mut self, out: &mut Effects) {
        let (me, election_timeout) = (self.config.me, self.config.election_timeout);
        let (members, receivers) = (self.members(), self.receivers());
        let there: NodeSet = self.others().iter().filter(|node| self.is_there(*node)).collect();
        let RoleState::Primary(lead) = &mut self.role_state else { return };
        let late = self.now.since(lead.since) >= election_timeout;
        if late && !members.is_quorum(there.with(me)) && !broken(Mutant::NeverStepsDown) {
            self.wait_for_primary();
            return self.step_down(Reason::NoQuorum, out);
        }
        if late {
            for node in receivers.difference(there).iter() {
                lead.progress[node.index()].lose_track();
            }
        }
        if lead.successor.is_some_and(|(_, until)| self.now >= until) {
            lead.successor = None;
        }
        if members.witnesses.contains(me) && lead.successor.is_none() {
            let servers = members.voters.difference(members.witnesses).intersection(there);
            if let Some(to) = servers.iter().find(|node| lead.progress[node.index()].voted) {
                lead.successor = Some((to, self.now + election_timeout));
                lead.take_over_sent = false;
            }
        }
        lead.beat += 1;
        lead.beat_at = self.now + self.config.heartbeat;
        for to in receivers.iter() {
            self.send_heartbeat(to, out);
        }
    }

    /// Returns whether this node has heard a member within the last election timeout.
    pub(super) fn is_there(&self, node: NodeId) -> bool {
        let heard = self.heard[node.index()];
        heard.is_some_and(|heard| self.now.since(heard) < self.config.election_timeout)
    }

    /// Asks a member with a new link for the end of its log, because messages on the old link are
    /// lost.
    pub(super) fn on_link_up(&mut self, node: NodeId, out: &mut Effects) {
        if let Some(lead) = self.role_state.leadership_mut() {
            lead.progress[node.index()].lose_track();
            self.send_heartbeat(node, out);
        }
    }

    /// Appends an entry of this primary, and returns its slot. The caller checks first that the
    /// window has room.
    // specs: P5, M4
    pub(super) fn propose_content(&mut self, content: Content, out: &mut Effects) -> Slot {
        let lead = self.role_state.leadership().expect("a primary proposes");
        let before = self.members().all();
        let (ballot, slot) = (lead.ballot, self.acceptor.log.last().next());
        self.put(slot, Entry { ballot, content }, out);
        let lead =
            self.role_state.leadership_mut().expect("a primary's own entry does not end its role");
        match content {
            // The node has forgotten the acknowledgements of its older epoch.
            Content::Rejoin { node, .. } => {
                lead.progress[node.index()].voted = false;
                lead.recount = true;
            }
            Content::Change(members) => {
                lead.change = slot;
                lead.recount = true;
                // A new member may have the number of an old one, but has none of its log.
                for node in members.all().difference(before).iter() {
                    if !broken(Mutant::VotesInherited) {
                        lead.progress[node.index()] = Progress::default();
                    }
                }
            }
            Content::Payload(_) => {}
        }
        slot
    }

    /// Returns whether the protocol may propose an entry of its own.
    // specs: M3
    pub fn may_reconfigure(&self) -> bool {
        let Some(lead) = self.role_state.leadership() else { return false };
        let established = lead.established || broken(Mutant::ChangedEarly);
        let decided = established && lead.change <= self.acceptor.committed;
        (decided || broken(Mutant::TwoChanges))
            && self.acceptor.committed >= Slot::GENESIS
            && self.capacity_left() > 0
    }

    /// Returns how many payloads this node can propose before the next decision; 0 unless this node
    /// is the primary.
    pub fn capacity_left(&self) -> usize {
        match &self.role_state {
            RoleState::Primary(lead) if lead.successor.is_none() => self.acceptor.log.room(),
            _ => 0,
        }
    }

    /// Returns whether this primary has been removed from the group by a decided entry.
    // specs: M5
    pub(super) fn members_gone(&self) -> bool {
        let is_voter = |members: &Members| members.voters.contains(self.config.me);
        !is_voter(&self.members())
            && !is_voter(&self.acceptor.log.base().members)
            && !broken(Mutant::RemovedLeads)
    }
}
