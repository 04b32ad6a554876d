//! What is done to a group from outside: crashes, lost disks, closed links, and orders of its operator.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{Anchor, NodeSet};

use super::group::{Event, Group, Micros, Place};
use super::server::Server;

impl<const WINDOW: usize> Group<WINDOW> {
    /// Stops a node's program. With `power`, what is not safe on its disk may be lost.
    pub fn crash(&mut self, id: NodeId, power: bool) {
        let place = &mut self.places[id.index()];
        if place.node.take().is_none() {
            return;
        }
        place.run += 1;
        place.syncing = false;
        place.wake_at = Micros::MAX;
        if power {
            place.disk.crash(&mut self.random);
        } else {
            place.disk.flush();
        }
        self.checks.on_stopped(id);
        for other in self.ids() {
            if other != id && self.random.permille(800) {
                let at = self.now + self.random.range(50, 2_000);
                self.schedule(at, Event::Link { at: other, of: id, up: false });
            }
        }
    }

    /// Takes away all that a stopped node had stored, if the group can bear it.
    pub fn lose_disk(&mut self, id: NodeId) -> bool {
        let members = self.checks.members();
        if self.runs(id) || self.checks.may_change() {
            return false;
        }
        let votes = |place: &Place<WINDOW>| place.disk.safe().stored.standing.is_voter();
        let formed = self.places.iter().any(votes);
        let is_without = |node: NodeId| {
            let place = &self.places[node.index()];
            node != id && (place.lost || (formed && !votes(place)))
        };
        let without: NodeSet = members.voters.iter().filter(|node| is_without(*node)).collect();
        let one_more = without.union(NodeSet::EMPTY.with(id).intersection(members.voters));
        if one_more.len() > members.voters.len() - members.majority() {
            return false;
        }
        let place = &mut self.places[id.index()];
        place.lost = true;
        self.recorder.add(id, || crate::specification::event::Event::Lost);
        place.disk.wipe();
        place.checkpoint = None;
        place.hint = Slot::NONE;
        true
    }

    /// Starts a stopped node.
    pub fn start(&mut self, id: NodeId) {
        let at = self.now;
        self.schedule(at, Event::Start { node: id });
    }

    /// Cuts a node's log where it is committed and durable, as after a checkpoint.
    pub fn cut_log(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        let anchor = node.anchor();
        let at_rest = place.server.admitted().is_some() && node.committed() == anchor.slot;
        if at_rest && place.disk.waiting() == 0 && anchor.slot > place.memory.cut() {
            place.checkpoint = Some(Box::new(place.server.clone()));
            place.disk.start_at(anchor);
            place.memory.start_at(anchor);
        }
    }

    /// A checkpoint has come: the node starts again from there, if that is news.
    pub(super) fn install(&mut self, id: NodeId, anchor: Anchor, checkpoint: Box<Server>) {
        if self.node(id).is_none_or(|node| node.committed() >= anchor.slot) {
            return;
        }
        self.crash(id, false);
        let place = &mut self.places[id.index()];
        place.disk.start_at(anchor);
        place.checkpoint = Some(checkpoint);
        place.hint = anchor.slot;
        self.restore(id);
    }

    /// Has a primary change the members, or hand its role over, in a way drawn at random.
    pub fn reconfigure(&mut self) {
        let ids = self.ids();
        let node = *self.random.pick(&ids);
        let choice = self.random.range(0, 6);
        let lost: NodeSet =
            self.places.iter().filter(|place| place.lost).map(|place| place.id).collect();
        let mut out = self.effects();
        for id in ids {
            let now = self.local(id);
            let Some(at) = &mut self.places[id.index()].node else { continue };
            let mut members = at.members();
            match choice {
                0 => members.learners = members.learners.with(node),
                1 | 2 => {
                    members.learners = members.learners.without(node);
                    members.voters = members.voters.with(node);
                }
                3 => {
                    members.voters = members.voters.without(node);
                    members.witnesses = members.witnesses.without(node);
                }
                4 => members.witnesses = members.witnesses.with(node),
                _ => {}
            }
            // Somebody has to run the server, and people do not rely on those whose disk is lost.
            let at_hand = members.voters.difference(lost);
            if at_hand.difference(members.witnesses).is_empty() || !members.is_majority(at_hand) {
                continue;
            }
            let done = if choice == 5 {
                at.hand_over(now, node, &mut out).is_ok()
            } else {
                at.change_members(now, members, &mut out).is_ok()
            };
            if done {
                return self.carry_out(id, out, None);
            }
        }
    }

    /// Closes the link between two nodes and opens it again soon; both notice.
    pub fn close_link(&mut self, one: NodeId, other: NodeId) {
        let up = self.now + self.random.range(1_000, 100_000);
        for (at, of) in [(one, other), (other, one)] {
            let down = self.now + self.random.range(0, 500);
            self.schedule(down, Event::Link { at, of, up: false });
            self.schedule(up, Event::Link { at, of, up: true });
        }
    }

    /// Tells a node whether it is fit to be primary.
    pub fn set_eager(&mut self, id: NodeId, eager: bool) {
        if let Some(node) = &mut self.places[id.index()].node {
            node.set_eager(eager);
        }
    }
}
