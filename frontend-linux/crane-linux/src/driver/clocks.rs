//! The clocks of the members' hosts, by measurement, and the time with which a group begins.

use crane_core::clocks::ClockSight;
use crane_core::id::NodeId;
use crane_core::time::Duration;
use serde_json::{Value, json};

use crate::net::frame::FrameKind;
use crate::report::ClockMessage;

use super::{Driver, Host};

/// How long the creation of a group waits for the clocks of a majority.
const FIRST_CLOCKS_WITHIN: Duration = Duration::from_millis(2000);

impl<H: Host> Driver<H> {
    /// Answers a question about this host's clock, or takes the answer to one.
    // specs: T2
    pub(super) fn on_clock(&mut self, from: NodeId, message: ClockMessage) {
        match message {
            ClockMessage::Ask { at } => {
                self.send_clock(from, ClockMessage::Answer { at, wall: self.moment.unix });
            }
            ClockMessage::Answer { at, wall } => {
                self.clocks.measured(from, at, self.moment.since_start, wall);
            }
        }
    }

    /// Asks a member with a new link for its clock.
    // specs: T2
    pub(super) fn ask_for_clock(&mut self, node: NodeId) {
        self.clocks.forget(node);
        self.send_clock(node, ClockMessage::Ask { at: self.moment.since_start });
    }

    pub(super) fn send_clock(&mut self, to: NodeId, message: ClockMessage) {
        let body = postcard::to_allocvec(&message).expect("plain data");
        self.host.send_frame(to, FrameKind::Clock, &body);
    }

    /// Returns the clocks of all members at this moment.
    pub(super) fn clock_sight(&self) -> ClockSight {
        let (members, local) = (self.node.members().all(), self.moment.since_start);
        let agreed = self.timestamps.now(local);
        self.clocks.look((self.me(), self.moment.unix), members, local, agreed)
    }

    /// Returns whether a group may be created now: its time begins with the median of the members'
    /// clocks, if a majority is known soon enough.
    // specs: T5
    pub(super) fn may_begin_time(&mut self) -> bool {
        let sight = self.clock_sight();
        if sight.median.is_none() {
            let now = self.now();
            let until = *self.clock_dates.begin_by.get_or_insert(now + FIRST_CLOCKS_WITHIN);
            if now < until {
                self.look_again_at(until);
                return false;
            }
        }
        self.timestamps.begin_with(self.moment.since_start, &sight);
        true
    }

    /// Returns agreed time and the members' clocks, for `status`: in milliseconds since the Unix
    /// epoch.
    pub(super) fn show_clocks(&self) -> Value {
        let sight = self.clock_sight();
        let wall = |node: NodeId| {
            let clock = sight.walls[node.index()].map(|wall| wall / 1_000_000);
            json!({ "id": node.number(), "at_ms": clock })
        };
        json!({
            "agreed_ms": self.timestamps.now(self.moment.since_start) / 1_000_000,
            "median_ms": sight.median.map(|median| median / 1_000_000),
            "members": self.node.members().all().iter().map(wall).collect::<Vec<_>>(),
        })
    }
}
