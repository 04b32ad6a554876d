//! The faults that a group suffers: crashes, lost and damaged disks, clocks that are set, hosts
//! that are suspended, closed links, and orders of its operator.

use crane_core::id::{NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::{Members, NodeSet, Role, SnapshotMeta, VotingStatus};

use super::disk::Contents;
use super::group::{Event, Group, Micros, Place};
use super::runs::Brought;
use super::server::Server;
use crate::specification::event::Event as Told;

/// The reason for which a node's program stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The program was killed. The system below still writes everything that it received.
    Killed,
    /// The power failed.
    Power,
    /// A sync failed. The disk has an unknown part of the unsafe records, and the program does not
    /// try again.
    SyncFailed,
    /// A write was refused.
    WriteFailed,
}

/// The number of times that each fault happened to a group.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Happened {
    /// The number of killed programs.
    pub kills: u64,
    /// The number of power failures.
    pub power_failures: u64,
    /// The number of failed syncs.
    pub failed_syncs: u64,
    /// The number of refused writes.
    pub failed_writes: u64,
    /// The number of lost disks.
    pub lost_disks: u64,
    /// The number of damaged logs.
    pub damaged_logs: u64,
    /// The number of old copies of storage that were put back.
    pub old_copies: u64,
    /// The number of clocks that jumped.
    pub jumps: u64,
    /// The number of suspended hosts.
    pub suspensions: u64,
    /// The number of incarnations of the server that began at a node.
    pub restarts: u64,
    /// The number of servers' processes that their hosts ended.
    pub ended_processes: u64,
}

impl std::ops::AddAssign for Happened {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.power_failures += other.power_failures;
        self.failed_syncs += other.failed_syncs;
        self.failed_writes += other.failed_writes;
        self.lost_disks += other.lost_disks;
        self.damaged_logs += other.damaged_logs;
        self.old_copies += other.old_copies;
        self.jumps += other.jumps;
        self.suspensions += other.suspensions;
        self.restarts += other.restarts;
        self.ended_processes += other.ended_processes;
    }
}

impl Happened {
    /// Returns whether each fault happened.
    pub fn is_each(&self) -> bool {
        let Self { kills, power_failures, failed_syncs, failed_writes, .. } = *self;
        let Self { lost_disks, damaged_logs, old_copies, jumps, suspensions, restarts, .. } = *self;
        let stops = [kills, power_failures, failed_syncs, failed_writes, self.ended_processes];
        let others = [lost_disks, damaged_logs, old_copies, jumps, suspensions, restarts];
        !stops.contains(&0) && !others.contains(&0)
    }
}

/// A copy of a node's storage.
#[derive(Debug)]
pub(super) struct StorageCopy {
    pub(super) contents: Contents,
    pub(super) hint: Slot,
    pub(super) checkpoint: Option<Box<Server>>,
    /// The run of each node when the copy was made.
    pub(super) runs: Vec<u64>,
}

impl<const WINDOW: usize> Group<WINDOW> {
    /// Stops a node's program.
    pub fn stop(&mut self, id: NodeId, why: Stop) {
        if self.unaware.is_some() {
            return;
        }
        let place = &mut self.places[id.index()];
        if place.node.take().is_none() {
            return;
        }
        place.run += 1;
        place.syncing = false;
        place.wake_at = Micros::MAX;
        place.suspended = 0;
        match why {
            Stop::Killed | Stop::WriteFailed => place.disk.flush(),
            Stop::Power | Stop::SyncFailed => place.disk.crash(&mut self.random),
        }
        *match why {
            Stop::Killed => &mut self.happened.kills,
            Stop::Power => &mut self.happened.power_failures,
            Stop::SyncFailed => &mut self.happened.failed_syncs,
            Stop::WriteFailed => &mut self.happened.failed_writes,
        } += 1;
        self.checks.on_stopped(id);
        for other in self.ids() {
            if other != id && self.random.permille(800) {
                let at = self.now + self.random.range(50, 2_000);
                self.schedule(at, Event::Link { at: other, of: id, up: false });
            }
        }
    }

    /// Returns whether the group has been formed and can bear that a stopped node forgets
    /// everything.
    fn bears_loss(&self, id: NodeId) -> (bool, bool) {
        let members = self.checks.members();
        let votes = |place: &Place<WINDOW>| place.disk.safe().stored.voting.is_voter();
        let formed = self.places.iter().any(votes);
        if self.runs(id) || self.checks.may_change() {
            return (formed, false);
        }
        let is_without = |node: NodeId| {
            let place = &self.places[node.index()];
            node != id && (place.lost || (formed && !votes(place)))
        };
        let without: NodeSet = members.voters.iter().filter(|node| is_without(*node)).collect();
        let one_more = without.union(NodeSet::EMPTY.with(id).intersection(members.voters));
        (formed, one_more.len() <= members.voters.len() - members.quorum())
    }

    /// Removes everything that a stopped node has stored, if the group can bear the loss.
    pub fn lose_disk(&mut self, id: NodeId) {
        if let (_, true) = self.bears_loss(id) {
            self.happened.lost_disks += 1;
            self.places[id.index()].disk.wipe();
            self.lost(id);
        }
    }

    /// Flips a bit in the log of a stopped node, if the group can bear the loss. A group that is
    /// being formed cannot, because it needs all its members.
    pub fn damage_log(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        if let VotingStatus::Blank | VotingStatus::Ready = place.disk.safe().stored.voting {
            return;
        }
        if let (true, true) = self.bears_loss(id) {
            self.happened.damaged_logs += 1;
            self.places[id.index()].disk.damage(&mut self.random);
            if !broken(Mutant::DamageCutOff) {
                self.lost(id);
            }
        }
    }

    /// Copies the storage of a node, as a snapshot of its host would, unless the node leads or is
    /// about to: nobody else is told of a primary's own votes.
    pub fn copy_storage(&mut self, id: NodeId) {
        if self.node(id).is_some_and(|node| matches!(node.role(), Role::Primary | Role::Candidate))
        {
            return;
        }
        let runs = self.places.iter().map(|place| place.run).collect();
        let place = &mut self.places[id.index()];
        let (contents, hint) = (place.disk.safe().clone(), place.hint);
        let checkpoint = place.checkpoint.clone();
        place.copy = Some(StorageCopy { contents, hint, checkpoint, runs });
    }

    /// Puts the copy of a stopped node's storage in the place of the storage, if the group can bear
    /// the loss, and all others have run since the copy was made: the restart of one that recalls
    /// what the node has said would be a second fault.
    pub fn put_copy_back(&mut self, id: NodeId) {
        let (_, true) = self.bears_loss(id) else { return };
        let Some(copy) = self.places[id.index()].copy.take() else { return };
        let mut others = self.places.iter().zip(&copy.runs).filter(|(place, _)| place.id != id);
        let recall =
            |(place, run): (&Place<WINDOW>, &u64)| place.run == *run && place.node.is_some();
        if self.unaware.is_some() || self.places[id.index()].lost || !others.all(recall) {
            return;
        }
        self.happened.old_copies += 1;
        self.unaware = Some(id);
        let place = &mut self.places[id.index()];
        place.disk.put_back(copy.contents);
        (place.hint, place.checkpoint) = (copy.hint, copy.checkpoint);
        place.lost = true;
        place.heard_from = place.run + 1;
        self.recorder.add(id, || crate::specification::event::Event::PutBack);
        self.start(id);
    }

    /// Records that a stopped node will remember nothing.
    fn lost(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        place.lost = true;
        place.checkpoint = None;
        place.hint = Slot::NONE;
        self.recorder.add(id, || crate::specification::event::Event::Lost);
    }

    /// Lets a node's clock jump ahead, and sets its host's time of day.
    pub fn jump(&mut self, id: NodeId) {
        self.happened.jumps += 1;
        let most = *self.random.pick(&[1_000, 100_000, 10_000_000, 3_600_000_000]);
        let ahead = if self.random.permille(500) { self.random.range(0, most) } else { 0 };
        let place = &mut self.places[id.index()];
        place.offset += ahead;
        place.ahead = self.random.range(0, 1 << 41);
        if self.is_awake(id) {
            self.set_alarm(id);
        }
    }

    /// Suspends a node's host: its events wait for a while, and then happen all at once.
    pub fn suspend(&mut self, id: NodeId) {
        self.happened.suspensions += 1;
        self.places[id.index()].suspended = self.now + self.random.range(1_000, 1_000_000);
    }

    /// Has a node's host end a process of its server, as one does for want of memory. The server is
    /// built again, from its checkpoint and the log.
    // specs: S16
    pub fn end_process(&mut self, id: NodeId) {
        if self.unaware.is_some() || !self.is_awake(id) {
            return;
        }
        self.happened.ended_processes += 1;
        let place = &mut self.places[id.index()];
        if broken(Mutant::KillUnnoticed) {
            return place.server.lose_process();
        }
        let cut = place.memory.cut();
        self.recorder.add(id, || Told::Rebuilt { cut });
        let server = place.checkpoint.as_deref().cloned().unwrap_or_default();
        place.server = server.at(id, self.recorder.clone());
        let mut slot = cut.next();
        while slot <= self.checks.committed_by(id) {
            let (_, payload) = place.memory.entry(slot).expect("what is committed was written");
            if let Some(payload) = payload {
                place.server.arrive(slot, self.payloads[*payload as usize - 1].clone());
            }
            slot = slot.next();
        }
    }

    /// Lets all hosts run.
    pub fn resume(&mut self) {
        for place in &mut self.places {
            place.suspended = 0;
        }
    }

    /// Starts a stopped node.
    pub fn start(&mut self, id: NodeId) {
        let at = self.now;
        self.schedule(at, Event::Start { node: id });
    }

    /// Cuts a node's log at a slot that is committed and durable, as after a checkpoint.
    pub fn cut_log(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        let snapshot = node.snapshot();
        let at_rest = place.server.admitted().is_some() && node.committed() == snapshot.slot;
        if at_rest && place.disk.waiting() == 0 && snapshot.slot > place.memory.cut() {
            place.checkpoint = Some(Box::new(place.server.clone()));
            place.disk.start_at(snapshot);
            place.memory.start_at(snapshot);
        }
    }

    /// Takes a checkpoint. The node starts again from it, if it is beyond the node's log.
    pub(super) fn install(&mut self, id: NodeId, snapshot: SnapshotMeta, checkpoint: Box<Server>) {
        let unaware = self.unaware.is_some();
        if unaware || self.node(id).is_none_or(|node| node.committed() >= snapshot.slot) {
            return;
        }
        self.stop(id, Stop::Killed);
        let place = &mut self.places[id.index()];
        place.disk.start_at(snapshot);
        place.checkpoint = Some(checkpoint);
        place.hint = snapshot.slot;
        self.restore(id);
    }

    /// Makes a primary change the members or transfer its role, in a way drawn at random.
    pub fn reconfigure(&mut self) {
        let ids = self.ids();
        let node = *self.random.pick(&ids);
        let choice = self.random.range(0, 6);
        let lost: NodeSet =
            self.places.iter().filter(|place| place.lost).map(|place| place.id).collect();
        let mut out = self.effects();
        for id in ids {
            let now = self.local(id);
            if !self.is_awake(id) {
                continue;
            }
            let Some(at) = &mut self.places[id.index()].node else { continue };
            let mut members = at.members();
            let without: NodeSet = members.voters.iter().skip(2).collect();
            let two_less = Members { voters: without, ..members };
            let changed = at.change_members(now, two_less, &mut out);
            assert!(changed.is_err(), "two voters are removed at a time");
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
            // A replica must be left to run the server, and operators do not rely on lost disks.
            let at_hand = members.voters.difference(lost);
            if at_hand.difference(members.witnesses).is_empty() || !members.is_quorum(at_hand) {
                continue;
            }
            let done = if choice == 5 {
                at.transfer_leadership(now, node, &mut out).is_ok()
            } else {
                at.change_members(now, members, &mut out).is_ok()
            };
            if done {
                return self.carry_out(id, out, Brought::NONE);
            }
        }
    }

    /// Closes the link between two nodes, and opens it again soon. Both nodes notice.
    pub fn close_link(&mut self, one: NodeId, other: NodeId) {
        let up = self.now + self.random.range(1_000, 100_000);
        for (at, of) in [(one, other), (other, one)] {
            let down = self.now + self.random.range(0, 500);
            self.schedule(down, Event::Link { at, of, up: false });
            self.schedule(up, Event::Link { at, of, up: true });
        }
    }

    /// Tells a node whether it is fit to be primary.
    pub fn set_in_step(&mut self, id: NodeId, in_step: bool) {
        if let Some(node) = &mut self.places[id.index()].node {
            node.set_in_step(in_step);
        }
    }
}
