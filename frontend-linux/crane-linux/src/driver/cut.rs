//! The cut of the log behind checkpoints that are proved.
//!
//! The replicas tell each other of their newest proved checkpoint, and how far they have observed
//! the log. Each cuts its own log behind the newest slot for which a majority of the servers has a
//! proved checkpoint, unless its own server or a linked replica has not come so far. A replica
//! without a checkpoint of that slot or a later one gets one from the others when it needs it.

use crane_core::id::{NodeId, Slot};
use crane_core::time::{Duration, Instant};

use crate::event::Event;
use crate::log::{Front, Lookup};

use super::rooms::{Finding, FindingKind, ReplicaProgress};
use super::{Driver, FetchFor, Host};

/// The shortest time between two announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(1000);
/// The number of slots by which the log must advance before it is announced again.
const ANNOUNCE_SLOTS: u64 = 1000;
/// The least number of slots that are cut, unless they are all that can be.
const CUT_SLOTS_MIN: u64 = 10_000;
/// The time after a cut that failed, before the next one.
const CUT_AGAIN: Duration = Duration::from_millis(10_000);

impl<H: Host> Driver<H> {
    /// Announces this replica's newest proved checkpoint, or that it needs one, and cuts the log.
    /// Returns when to call this function again.
    pub(super) fn watch_log(&mut self) -> Option<Instant> {
        let announced = self.announce_progress();
        self.cut_log();
        announced
    }

    fn announce_progress(&mut self) -> Option<Instant> {
        let proved = self.checkpoint.proved();
        let observed = self.script.observed;
        let last = self.checkpoint.announced;
        // Others wait for this replica if it has not come as far as a checkpoint.
        let peers = self.checkpoint.peers.iter().map(|peer| peer.proved);
        let newest = peers.fold(proved, Slot::max);
        let is_awaited = last.observed < newest && newest <= observed;
        let has_advanced = observed.0 >= last.observed.0 + ANNOUNCE_SLOTS;
        let needed = self.checkpoint.needed;
        let has_proved = proved != last.proved || is_awaited || has_advanced;
        if needed == last.needed && (newest == Slot::NONE || !has_proved) {
            return None;
        }
        let due = self.checkpoint.announced_at + ANNOUNCE_EVERY;
        if self.now() < due {
            return Some(due);
        }
        self.checkpoint.announced_at = self.now();
        self.checkpoint.announced = ReplicaProgress { proved, observed, needed };
        for node in self.others().iter() {
            self.send_progress(node);
        }
        None
    }

    /// Takes the progress of another replica.
    pub(super) fn on_progress(&mut self, from: NodeId, progress: ReplicaProgress) {
        self.checkpoint.peers[from.index()] = progress;
    }

    /// Returns the slot behind which the log may be cut.
    // specs: C5
    pub(super) fn cut_limit(&self) -> Slot {
        let (me, servers) = (self.me(), self.servers());
        let peer = |node: NodeId| &self.checkpoint.peers[node.index()];
        let proved = |node| if node == me { self.checkpoint.proved() } else { peer(node).proved };
        let have = |slot: Slot| servers.iter().filter(|node| proved(*node) >= slot).count();
        let shared = servers.iter().map(proved).filter(|slot| have(*slot) * 2 > servers.len());
        let quorum = shared.max().unwrap_or(Slot::NONE);
        let linked = self.others().iter().filter(|node| self.is_linked(*node));
        let read = linked.map(|node| peer(node).observed);
        let fed = match &self.server.run {
            Some(run) => run.fed,
            None if self.is_witness() => self.script.observed,
            None => Slot::NONE,
        };
        let own = self.script.observed.min(self.node.durable()).min(fed);
        read.fold(quorum.min(own), Slot::min)
    }

    /// Returns whether a replica has a proved checkpoint behind this very slot.
    fn proved_at(&self, slot: Slot) -> bool {
        self.checkpoint.proved() == slot
            || self.checkpoint.peers.iter().any(|peer| peer.proved == slot)
    }

    fn cut_log(&mut self) {
        let (limit, front) = (self.cut_limit(), self.log.front());
        let enough = limit.0 >= front.0 + CUT_SLOTS_MIN || limit > front && self.proved_at(limit);
        if !enough || self.checkpoint.cutting || self.now() < self.checkpoint.cut_after {
            return;
        }
        let Some(mut sum) = self.script.sum_at(limit) else { return };
        // A later primary may have put the same entry there once more, under its own ballot.
        match self.log.read(limit) {
            Lookup::Found(entry, _) => sum.snapshot.ballot = entry.ballot,
            Lookup::Absent => return,
            Lookup::OnDisk => {
                self.checkpoint.cut_at = Some(limit);
                return self.fetch(FetchFor::Cutting, limit);
            }
        }
        self.checkpoint.cut_at = None;
        self.checkpoint.cutting = true;
        self.host.cut_log(self.log.front_behind(&sum.snapshot));
    }

    /// Handles the result of writing a new front of the log.
    pub(super) fn on_log_cut(&mut self, front: Result<Front, String>) {
        self.checkpoint.cutting = false;
        match front {
            Ok(front) => {
                let slot = front.snapshot.slot;
                self.log.start_behind(&front);
                self.script.forget_below(slot);
                self.drop_cut_images(slot);
                self.host.delete_segments(front.segment);
                self.clear_finding(FindingKind::Uncut);
                self.record_event(Event::LogCut { slot: slot.0, bytes: self.log.bytes() });
            }
            Err(why) => {
                self.checkpoint.cut_after = self.now() + CUT_AGAIN;
                let text = format!("the log cannot be cut, and grows: {why}");
                self.find(FindingKind::Uncut, Finding { text, is_fault: true });
            }
        }
    }
}
