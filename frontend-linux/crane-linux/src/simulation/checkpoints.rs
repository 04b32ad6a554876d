//! Checkpoints as a host makes them: taken while the server is held, proved by another server, kept
//! and sent.

use std::path::{Path, PathBuf};

use crane_core::id::NodeId;

use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::{Checkpoint, Proof};
use crate::driver::{Arriving, DriverInput, ProofChange, Taken, TakingPhase};

use super::group::{MICROSECOND, MILLISECOND, SimEvent, SimGroup};
use super::server::SimServer;

/// How often a host has no room for the server of a proof, of a thousand times.
const NO_ROOM: u64 = 250;
/// How often in a row at most: a host that never has room for it proves none.
const NO_ROOM_IN_A_ROW: u32 = 3;
/// How often the transfer of a checkpoint fails, of a thousand times.
const LOST: u64 = 200;

impl SimGroup {
    /// Holds the server. It is copied after a while.
    pub(super) fn take_checkpoint(&mut self, at: usize, group: String) {
        let replica = &mut self.replicas[at];
        let run = replica.run;
        let Some(number) = replica.server().map(|server| server.run.number) else {
            // The run that the driver has seen has ended.
            let input = DriverInput::CheckpointTaken(0, Err("the server has ended".to_string()));
            return self.schedule_in(0, MILLISECOND, SimEvent::Input { at, run, input });
        };
        replica.held = Some(number);
        let event = SimEvent::Image { at, run, number, group };
        self.schedule_in(MILLISECOND, 60 * MILLISECOND, event);
    }

    /// Copies a server that is held, and lets it continue.
    pub(super) fn on_image(&mut self, at: usize, number: u64, group: &str) {
        let replica = &mut self.replicas[at];
        let (run, fails) = (replica.run, replica.ails.disk_fails);
        let image = replica.server().filter(|it| it.run.number == number).and_then(|it| it.image());
        if replica.held == Some(number) {
            replica.held = None;
        }
        let outcome = match image {
            _ if fails => Err("the disk is full".to_string()),
            None => Err("the server has ended".to_string()),
            Some((image, mark)) => {
                let checkpoint = replica.files.checkpoints.add(group, image, mark);
                self.happened.checkpoints += 1;
                Ok(Taken { checkpoint, held_ms: 10, held_bytes: 1000 })
            }
        };
        self.give(at, DriverInput::CheckpointPhase(number, TakingPhase::Written));
        let input = DriverInput::CheckpointTaken(number, outcome);
        self.schedule_in(0, 50 * MILLISECOND, SimEvent::Input { at, run, input });
        self.plan_server(at);
    }

    /// Keeps the files that a server has left as a checkpoint.
    pub(super) fn keep_files(
        &mut self,
        at: usize,
        order: FilesOrder,
    ) -> Result<Checkpoint, String> {
        let replica = &mut self.replicas[at];
        let left = replica.host().and_then(|host| host.left.as_ref()).map(SimServer::files);
        if replica.ails.disk_fails {
            return Err("the disk is full".into());
        }
        let left = left.ok_or("no server has ended")?;
        Ok(replica.files.checkpoints.add_files(left, order))
    }

    /// Begins to make the server of a proof.
    pub(super) fn start_proof(&mut self, at: usize, number: u64, place: PathBuf) {
        let run = self.replicas[at].run;
        let event = SimEvent::ProofBegins { at, run, number, place };
        self.schedule_in(5 * MILLISECOND, 100 * MILLISECOND, event);
    }

    pub(super) fn on_proof_begins(&mut self, at: usize, number: u64, place: &Path) {
        let no_room = self.random.permille(NO_ROOM);
        let replica = &mut self.replicas[at];
        let image = replica.files.checkpoints.image(place).cloned();
        let refused = &mut replica.files.checkpoints.proofs_refused;
        let no_room = no_room && *refused < NO_ROOM_IN_A_ROW;
        *refused = if no_room { *refused + 1 } else { 0 };
        let Some(host) = replica.host() else { return };
        let change = match image {
            _ if no_room => ProofChange::NoRoom("memory is short".into()),
            None => ProofChange::Ended("the checkpoint is gone".into()),
            Some(image) => {
                host.proof = Some(image);
                ProofChange::Ready
            }
        };
        self.give(at, DriverInput::Proof(number, change));
    }

    /// Keeps the proof of a checkpoint.
    pub(super) fn keep_proof(&mut self, at: usize, place: &Path, proof: Box<Proof>) {
        let replica = &mut self.replicas[at];
        let run = replica.run;
        let kept = match replica.files.checkpoints.prove(place, proof) {
            _ if replica.ails.disk_fails => Err("the disk is full".into()),
            None => Err("the checkpoint is gone".into()),
            Some(checkpoint) => {
                self.happened.proofs += 1;
                Ok(checkpoint)
            }
        };
        let input = DriverInput::ProofKept(kept);
        self.schedule_in(MICROSECOND, 5 * MILLISECOND, SimEvent::Input { at, run, input });
    }

    /// Lets the newest proved checkpoint of another replica arrive after a while.
    pub(super) fn receive_checkpoint(&mut self, at: usize, from: NodeId, with_files: bool) {
        let (run, from) = (self.replicas[at].run, from.index());
        let event = SimEvent::CheckpointArrives { at, run, from, with_files };
        self.schedule_in(10 * MILLISECOND, 300 * MILLISECOND, event);
    }

    pub(super) fn on_checkpoint_arrives(&mut self, at: usize, from: usize, with_files: bool) {
        let is_lost = self.random.permille(LOST) || self.replicas[at].ails.disk_fails;
        let is_linked = self.link_between(at, from).is_some() && self.network.can_link(at, from);
        let proved = self.replicas[from].files.checkpoints.newest_proved();
        let arriving = match proved.filter(|_| is_linked && !is_lost) {
            None => Arriving::Failed("the link is gone".into()),
            Some((checkpoint, image)) => {
                let proof = checkpoint.manifest.proof.as_ref().expect("it is proved");
                let files = &mut self.replicas[at].files;
                files.checkpoints.arrived = Some(Box::new(proof.prefix.clone()));
                files.count_as_kept(&image.admitted_requests());
                let slot = checkpoint.manifest.slot;
                if with_files {
                    files.checkpoints.put(checkpoint, image);
                }
                self.happened.arrivals += 1;
                Arriving::Here { slot, sent: 1000, bytes: 1000 }
            }
        };
        self.give(at, DriverInput::Arriving(arriving));
    }

    /// Returns the server of a run that starts from the checkpoint in a place.
    pub(super) fn restored(&mut self, at: usize, place: &Path) -> Option<SimServer> {
        let image = self.replicas[at].files.checkpoints.image(place).cloned();
        self.happened.restores += u32::from(image.is_some());
        image
    }
}
