//! The checkpoints of a simulated data directory: copies of the server in memory, which are
//! complete or not there.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::checkpoint::kept::keep_only;
use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::{Checkpoint, CheckpointKind, Manifest, Prefix, Proof};
use crane_core::execution::Mark;

use super::server::SimServer;

/// The checkpoints of a data directory.
#[derive(Clone, Debug, Default)]
pub(super) struct SimCheckpoints {
    /// Each with its image, the newest first.
    kept: Vec<(Checkpoint, Rc<SimServer>)>,
    /// The prefix behind which the log is to begin at the next start.
    pub(super) arrived: Option<Box<Prefix>>,
    /// The number of proofs in a row for which the host had no room.
    pub(super) proofs_refused: u32,
}

impl SimCheckpoints {
    /// Keeps a checkpoint of a server.
    pub(super) fn add(&mut self, group: &str, image: SimServer, mark: Mark) -> Checkpoint {
        let slot = mark.slot;
        let manifest = Manifest {
            library: [0; 16],
            origin: Box::default(),
            group: group.into(),
            kind: CheckpointKind::Image,
            slot,
            incarnation: image.run.incarnation,
            clock: image.clock(),
            mark,
            proof: None,
            processes: Box::default(),
            digest: [0; 32],
        };
        let place = PathBuf::from(format!("/data/checkpoints/slot-{slot}"));
        let checkpoint = Checkpoint { place, manifest };
        self.put(checkpoint.clone(), image.into());
        checkpoint
    }

    /// Keeps the files of a server that has ended.
    pub(super) fn add_files(&mut self, image: SimServer, order: FilesOrder) -> Checkpoint {
        let (slot, manifest) = (order.slot, order.manifest());
        let place = PathBuf::from(format!("/data/checkpoints/slot-{slot}"));
        let checkpoint = Checkpoint { place, manifest };
        self.put(checkpoint.clone(), image.into());
        checkpoint
    }

    /// Keeps a checkpoint, in place of an older one of the same slot.
    pub(super) fn put(&mut self, checkpoint: Checkpoint, image: Rc<SimServer>) {
        self.set_aside(&checkpoint.place);
        self.kept.push((checkpoint, image));
        self.kept.sort_by_key(|(kept, _)| std::cmp::Reverse(kept.manifest.slot));
        keep_only(&mut self.kept, |(it, _)| it.traits());
    }

    /// Does not use a checkpoint any more.
    pub(super) fn set_aside(&mut self, place: &Path) {
        self.kept.retain(|(kept, _)| kept.place != place);
    }

    /// Returns the checkpoints, the newest first.
    pub(super) fn usable(&self) -> Vec<Checkpoint> {
        self.kept.iter().map(|(kept, _)| kept.clone()).collect()
    }

    /// Returns the image of the checkpoint in a place.
    pub(super) fn image(&self, place: &Path) -> Option<&SimServer> {
        let kept = self.kept.iter().find(|(kept, _)| kept.place == place);
        kept.map(|(_, image)| &**image)
    }

    /// Returns the newest checkpoint that is proved.
    pub(super) fn newest_proved(&self) -> Option<(Checkpoint, Rc<SimServer>)> {
        self.kept.iter().find(|(kept, _)| kept.is_proved()).cloned()
    }

    /// Keeps the proof of the checkpoint in a place.
    pub(super) fn prove(&mut self, place: &Path, proof: Box<Proof>) -> Option<Checkpoint> {
        let (kept, _) = self.kept.iter_mut().find(|(kept, _)| kept.place == place)?;
        kept.manifest.proof = Some(proof);
        Some(kept.clone())
    }
}
