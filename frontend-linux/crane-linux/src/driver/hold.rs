//! The permission to hold this replica's server: at most one server of the group is held at a time,
//! so that never a majority waits.
//!
//! A replica asks all servers. Each lends its permission to one replica at a time, and a majority
//! of the servers must agree, this one included. A permission that is not given back ends by
//! itself, after the longest time for which a server can be held.

use crane_core::id::NodeId;
use crane_core::paxos::NodeSet;
use crane_core::time::{Duration, Instant};

use crate::report::CheckpointMessage;

use super::rooms::{CheckpointState, Due, Wish};
use super::{Driver, Host, TakingPhase};

/// The time limit for the answers of the other servers.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1000);
/// The time after which a replica tries again that could not take the checkpoint that was due.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(2000);
/// The time after a proof in place that was not permitted, before the next one.
const WISH_AGAIN: Duration = Duration::from_millis(10_000);
/// The time after which a permission ends by itself: the limits of reaching the hold point, of the
/// dump, and of the way back, with a reserve.
const LENT_FOR: Duration = Duration::from_millis(75_000);

/// Returns why this replica's server may not be held while that of another one may.
pub(super) fn held_elsewhere(node: NodeId) -> String {
    format!("the server of replica {node} is held at the moment")
}

impl<H: Host> Driver<H> {
    /// Asks the servers for the permission to hold this one, or to let it prove a checkpoint.
    // specs: C4
    pub(super) fn wish_to_hold(&mut self, proves: bool) {
        let now = self.now();
        self.checkpoint.hold.number += 1;
        let number = self.checkpoint.hold.number;
        let granted = NodeSet::EMPTY.with(self.me());
        let until = now + ANSWERED_WITHIN;
        if let Some(node) = self.lent_to() {
            return self.end_wish(proves, held_elsewhere(node));
        }
        self.checkpoint.hold.wish = Some(Wish { proves, granted, refused: NodeSet::EMPTY, until });
        for node in self.servers().without(self.me()).iter() {
            self.send_about_checkpoints(node, CheckpointMessage::HoldWanted { number });
        }
        self.count_permissions();
    }

    /// Returns the other replica that may hold its server at the moment.
    pub(super) fn lent_to(&self) -> Option<NodeId> {
        let now = self.now();
        self.checkpoint.hold.lent.filter(|(_, until)| now < *until).map(|(node, _)| node)
    }

    /// Answers another replica that wants to hold its server.
    // specs: C4
    pub(super) fn on_hold_wanted(&mut self, from: NodeId, number: u64) {
        let now = self.now();
        let own = self.is_held();
        let hold = &mut self.checkpoint.hold;
        let lent = hold.lent.filter(|(node, until)| *node != from && now < *until);
        let message = if own || lent.is_some() {
            CheckpointMessage::HoldRefused { number }
        } else {
            hold.lent = Some((from, now + LENT_FOR));
            CheckpointMessage::HoldGranted { number }
        };
        self.send_about_checkpoints(from, message);
    }

    /// Returns whether this server is held, proves a checkpoint, or may do so at any moment.
    pub(super) fn is_held(&self) -> bool {
        let proves = self.checkpoint.proving.as_ref().is_some_and(|proving| proving.in_place);
        proves || self.checkpoint.state.is_held()
    }

    /// Takes the answer of another server.
    pub(super) fn on_hold_answer(&mut self, from: NodeId, number: u64, granted: bool) {
        let hold = &mut self.checkpoint.hold;
        let Some(wish) = hold.wish.as_mut().filter(|_| number == hold.number) else { return };
        if granted {
            wish.granted = wish.granted.with(from);
        } else {
            wish.refused = wish.refused.with(from);
        }
        self.count_permissions();
    }

    /// Takes back the permission that a replica had: its server is not held.
    pub(super) fn on_hold_over(&mut self, from: NodeId) {
        self.checkpoint.hold.lent.take_if(|(node, _)| *node == from);
    }

    /// Holds the server once a majority agrees, or gives the wish up if it cannot any more.
    fn count_permissions(&mut self) {
        let servers = self.servers();
        let Some(Wish { proves, granted, refused, .. }) = self.checkpoint.hold.wish else { return };
        if granted.len() * 2 > servers.len() {
            self.checkpoint.hold.wish = None;
            if proves && self.server.run.is_none() {
                return self.end_wish(proves, "the server has ended".to_string());
            }
            if proves {
                self.server.proves_next = true;
                return self.host.stop_server();
            }
            self.checkpoint.state = CheckpointState::Taking(TakingPhase::Held);
            return self.host.take_checkpoint(&self.group());
        }
        if (servers.len() - refused.len()) * 2 <= servers.len() {
            self.end_wish(proves, "another server is held at the moment".to_string());
        }
    }

    /// Informs a replica with which there is a new link about checkpoints here.
    pub(super) fn greet_about_checkpoints(&mut self, node: NodeId) {
        if !self.is_held() {
            self.send_about_checkpoints(node, CheckpointMessage::HoldOver);
        }
        self.send_progress(node);
    }

    /// Sends a replica the newest proved checkpoint and the last observed slot of this one.
    pub(super) fn send_progress(&mut self, to: NodeId) {
        let (proved, observed) = (self.checkpoint.proved(), self.script.observed);
        let needed = self.checkpoint.needed;
        self.send_about_checkpoints(to, CheckpointMessage::Progress { proved, observed, needed });
    }

    fn end_wish(&mut self, proves: bool, why: String) {
        self.checkpoint.hold.wish = None;
        if proves {
            self.checkpoint.proving = None;
            self.checkpoint.prove_after = self.now() + WISH_AGAIN;
            self.checkpoint.unproved_because = Some(why);
        } else {
            self.host.drop_prepared_checkpoint();
            self.checkpoint.state = CheckpointState::Failed(why);
            if self.settings.args.checkpoint_every.is_some() {
                self.checkpoint.due = Some(Due::At(self.now() + TRY_AGAIN));
            }
        }
        self.give_permissions_back();
    }

    /// Lets other servers be held.
    pub(super) fn give_permissions_back(&mut self) {
        for node in self.servers().without(self.me()).iter() {
            self.send_about_checkpoints(node, CheckpointMessage::HoldOver);
        }
    }

    /// Gives a wish up that was not answered in time. Returns when to call this function again.
    pub(super) fn watch_hold(&mut self) -> Option<Instant> {
        let Wish { until, granted, proves, .. } = self.checkpoint.hold.wish?;
        if self.now() < until {
            return Some(until);
        }
        let why = format!(
            "{} of {} servers agree that this one may be held, and more than half must",
            granted.len(),
            self.servers().len()
        );
        self.end_wish(proves, why);
        None
    }
}
