//! The timestamps of a simulated group, and the clocks from which they come.

use crane_core::clocks::{ClockSight, Clocks, TOLERANCE};
use crane_core::id::NodeId;
use crane_core::paxos::Ballot;
use crane_core::timestamp::Timestamps;
use crane_core::wire::EntryPayload;

use super::disk::Payload;
use super::group::Group;

/// The timestamps that a node makes.
#[derive(Debug)]
pub(super) struct Stamps {
    pub(super) timestamps: Timestamps,
    clocks: Clocks,
    /// The term in which the node made its last timestamp, that timestamp, the time of it by the
    /// node's own clock, and whether time has stepped forward in this term.
    last: Option<(Ballot, u64, u64, bool)>,
}

impl Stamps {
    /// Creates the state of a node that starts.
    pub(super) const fn new(local: u64, host: u64) -> Self {
        Self { timestamps: Timestamps::new(local, host), clocks: Clocks::new(), last: None }
    }

    /// Checks that time has moved at the rate of the primary's own clock, corrected by at most one
    /// percent, or stepped once in the term to where most clocks are.
    fn check(&mut self, ballot: Ballot, local: u64, stamp: u64, agreed: bool) {
        let Some((_, then, last, stepped)) = self.last.filter(|last| last.0 == ballot) else {
            self.last = Some((ballot, local, stamp, false));
            return;
        };
        let (passed, moved) = (local.saturating_sub(then), stamp - last);
        let is_step = moved > passed + passed / 100 + 1_000;
        assert!(!is_step || agreed && !stepped, "agreed time steps by {moved} ns in {passed}");
        let slowest = passed - passed / 100;
        assert!(moved + 1_000 >= slowest, "agreed time moves {moved} ns in {passed}");
        self.last = Some((ballot, local, stamp, stepped || is_step));
    }
}

impl<const WINDOW: usize> Group<WINDOW> {
    /// Starts the timestamps of a node's program, which continue from the log and the checkpoint.
    pub(super) fn start_stamps(&mut self, id: NodeId) {
        let (local, host) = self.clocks(id);
        let place = &mut self.places[id.index()];
        place.stamps = Stamps::new(local, host);
        if let Some(checkpoint) = &place.checkpoint {
            place.stamps.timestamps.saw(local, checkpoint.agreed());
        }
        let last = place.memory.log.iter().rev().find_map(|(_, payload)| *payload);
        self.see_stamp(id, last);
    }

    /// Takes an entry with this payload into a node's log.
    pub(super) fn see_stamp(&mut self, id: NodeId, payload: Option<Payload>) {
        let Some(payload) = payload else { return };
        let (timestamp, (local, _)) = (self.stamp_of(payload), self.clocks(id));
        self.places[id.index()].stamps.timestamps.saw(local, timestamp);
    }

    pub(super) fn stamp_of(&self, payload: Payload) -> u64 {
        let bytes = &self.payloads[payload as usize - 1];
        EntryPayload::decode(bytes).expect("what was encoded can be decoded").timestamp
    }

    /// Measures the clocks of all nodes that answer a primary, corrects the primary's own time by
    /// them, and returns the next timestamp.
    pub(super) fn next_stamp(&mut self, id: NodeId) -> u64 {
        let (local, host) = self.clocks(id);
        for other in self.ids() {
            if other != id && self.is_awake(other) && self.random.permille(500) {
                let (_, wall) = self.clocks(other);
                self.places[id.index()].stamps.clocks.measured(other, local, local, wall);
            }
        }
        let place = &mut self.places[id.index()];
        let node = place.node.as_ref().expect("a primary runs");
        let (ballot, members) = (node.ballot(), node.members().all());
        let Stamps { timestamps, clocks, .. } = &mut place.stamps;
        let sight = clocks.look((id, host), members, local, timestamps.now(local));
        timestamps.steer(local, &sight);
        let stamp = timestamps.timestamp(local);
        let ClockSight { walls, median, .. } = sight;
        let known = walls.iter().flatten().count();
        assert!(median.is_none() || 2 * known > members.len(), "a median of {known} clocks");
        let near = walls.iter().flatten().filter(|wall| wall.abs_diff(stamp) <= 2 * TOLERANCE);
        let agreed = 2 * near.count() > members.len();
        place.stamps.check(ballot, local, stamp, agreed);
        stamp
    }
}
