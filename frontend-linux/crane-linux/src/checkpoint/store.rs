//! The checkpoints of a data directory: `checkpoints/slot-N`, each a directory that is complete or
//! not there. Its manifest is written last, with a checksum.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crane_core::execution::Mark;
use crane_core::id::{Generation, Incarnation, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::SnapshotMeta;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cell::upper::{self, describe};
use crate::checked_file;
use crate::log::disk;
use crate::server_program::Upgrade;

use super::digest::digest_of;
use super::kept::{Traits, kept};
use super::origin::Origin;

/// The first bytes of a manifest.
const MAGIC: &[u8; 8] = b"cranechk";
/// The version of a checkpoint's format.
const VERSION: u32 = 5;
/// The directory of checkpoints in a data directory.
const DIRECTORY: &str = "checkpoints";
const MANIFEST: &str = "manifest";
/// The files of a checkpoint that are no part of its digest: the manifest, and one that is being
/// replaced, which a crash leaves.
const OWN: [&str; 2] = [MANIFEST, "manifest.new"];
/// The number of those that are kept for inspection.
const KEPT_ASIDE: usize = 1;
/// The ending of a checkpoint's name while it is being written.
const UNFINISHED: &str = ".unfinished";
/// How often a new directory is locked, which others hold for the time of its removal.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A checkpoint's description of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The digest of the library that the server runs.
    pub(crate) library: [u8; 16],
    /// The host on which it was taken.
    pub(crate) origin: Box<Origin>,
    /// The group.
    pub(crate) group: String,
    /// The parts of the server that it has.
    pub(crate) kind: CheckpointKind,
    /// The last slot that the server had consumed.
    pub(crate) slot: Slot,
    /// The incarnation of the server.
    pub(crate) incarnation: Incarnation,
    /// The server's logical clock.
    pub(crate) clock: u64,
    /// The hashes of the server at the admission of the slot.
    pub(crate) mark: Mark,
    /// The proof that a server that starts from the checkpoint does as the others do, once there is
    /// one.
    pub(crate) proof: Option<Box<Proof>>,
    /// The facts about the processes that a restore needs.
    pub(crate) processes: Box<Processes>,
    /// The digest of the checkpoint's directory without the manifest.
    pub(crate) digest: [u8; 32],
}

/// The parts of its server that a checkpoint has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum CheckpointKind {
    /// An image of its processes, and its files.
    Image,
    /// The files alone that it left at a restart. The next incarnation starts on them.
    Files {
        /// The timestamp of the restart's entry.
        timestamp: u64,
        /// The first incarnation of the program that starts on them.
        program_since: Incarnation,
    },
}

/// The facts about the processes in an image that the image does not have in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Processes {
    /// The number of the server's first process in the cell.
    pub(crate) server: i32,
    /// The last number that the cell has given to a process.
    pub(crate) last: u32,
    /// The inode numbers of the pipes behind the standard output and error output.
    pub(crate) pipes: [u64; 2],
    /// The number of entries that the server had consumed, with ops and without.
    pub(crate) consumed: [u64; 2],
}

/// The proof of a checkpoint: a server that was made from it did the same as a majority of the
/// group's servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// The mark, behind the checkpoint, that the server and the majority had.
    pub(crate) mark: Mark,
    /// The rest of the log up to the checkpoint's slot.
    pub(crate) prefix: Prefix,
}

/// Everything that remains of the entries up to a slot once they are deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Prefix {
    /// The state of agreement at the slot.
    pub(crate) snapshot: SnapshotMeta,
    /// By entry replica: the highest generation with a connection.
    pub(crate) connected: [Option<Generation>; NODES_MAX],
    /// By entry replica: the highest generation that was retired.
    pub(crate) retired: [Generation; NODES_MAX],
    /// The last incarnation of the server that began.
    pub(crate) incarnation: Incarnation,
    /// The programs that took the place of others, in their order.
    pub(crate) upgrades: Vec<Upgrade>,
    /// A timestamp that no entry up to the slot has exceeded, in nanoseconds.
    pub(crate) timestamp: u64,
    /// The group's genesis, and its slot.
    pub(crate) genesis: (Slot, Vec<u8>),
}

/// A complete checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Its directory.
    pub(crate) place: PathBuf,
    /// Its description.
    pub(crate) manifest: Manifest,
}

/// A checkpoint that is being written. Its directory is removed when this is dropped before
/// [`Unfinished::finish`]. It is locked until then: another checkpoint, which removes what was left
/// unfinished, may be finished meanwhile.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf, #[expect(dead_code, reason = "it is the lock")] fs::File);

impl Unfinished {
    /// Makes an empty directory for the checkpoint behind a slot.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn make(data: &Path, slot: u64) -> Result<Self, String> {
        let place = data.join(DIRECTORY).join(name_of(slot) + UNFINISHED);
        let failed = |error: io::Error| describe(&place, &error);
        upper::remove(&place)?;
        // Before it is locked, another may take it for one that was left.
        for _ in 0..LOCK_TRIES {
            fs::create_dir_all(&place).map_err(failed)?;
            if let Some(lock) = lock(&place).map_err(failed)? {
                fs::create_dir_all(image_of(&place)).map_err(failed)?;
                return Ok(Self(place, lock));
            }
            sleep(LOCK_PAUSE);
        }
        Err(failed(Errno::AGAIN.into()))
    }

    /// Takes the directory of a checkpoint that came from another replica.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn take(data: &Path, slot: u64, from: &Path) -> Result<Self, String> {
        let place = data.join(DIRECTORY).join(name_of(slot) + UNFINISHED);
        let failed = |error: io::Error| describe(from, &error);
        upper::remove(&place)?;
        fs::create_dir_all(data.join(DIRECTORY)).map_err(failed)?;
        // It is locked under a name by which nobody removes it.
        let lock = lock(from).map_err(failed)?.ok_or_else(|| failed(Errno::AGAIN.into()))?;
        fs::rename(from, &place).map_err(failed)?;
        Ok(Self(place, lock))
    }

    /// Returns its directory.
    pub(crate) fn place(&self) -> &Path {
        &self.0
    }

    /// Writes the manifest with the digest, and gives the checkpoint its name. An older one of the
    /// same slot is replaced.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    // specs: C1
    pub(crate) fn finish(self, mut manifest: Manifest) -> Result<Checkpoint, String> {
        manifest.digest = digest_of(&self.0, &OWN)?;
        let bytes = checked_file::encode(MAGIC, VERSION, &manifest);
        let written = fs::write(self.0.join(MANIFEST), bytes);
        written.map_err(|error| describe(&self.0, &error))?;
        self.keep(manifest)
    }
}

impl Unfinished {
    /// Gives a checkpoint that came from another replica its name, if it is whole, and of this slot
    /// if one is given.
    ///
    /// # Errors
    /// Returns that it is not, or what the system refused.
    pub(crate) fn adopt(self, slot: Option<Slot>) -> Result<Checkpoint, String> {
        let fits = |of: Slot| slot.is_none_or(|slot| slot == of);
        let came = read(&self.0).filter(|it| fits(it.manifest.slot) && it.is_proved());
        let came = came.ok_or("it is no proved checkpoint that this version can read")?;
        if let Some(why) = came.manifest.origin.obstacle(&Origin::here()) {
            return Err(why);
        }
        came.check()?;
        self.keep(came.manifest)
    }

    /// Gives the checkpoint its name, durably.
    fn keep(self, manifest: Manifest) -> Result<Checkpoint, String> {
        let failed = |error: io::Error| describe(&self.0, &error);
        rustix::fs::syncfs(fs::File::open(&self.0).map_err(failed)?)
            .map_err(|error| failed(error.into()))?;
        let place = self.0.with_file_name(name_of(manifest.slot.0));
        upper::remove(&place)?;
        fs::rename(&self.0, &place).map_err(failed)?;
        let parent = fs::File::open(place.parent().expect("checkpoints lie in a directory"));
        parent.and_then(|parent| parent.sync_all()).map_err(failed)?;
        prune(place.parent().expect("as above"));
        Ok(Checkpoint { place, manifest })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A complete one has another name. The next checkpoint removes the rest.
        let _ = upper::remove(&self.0);
    }
}

impl Checkpoint {
    /// Checks that its files are those that were written.
    ///
    /// # Errors
    /// Returns that they are not, or what the system refused.
    pub(crate) fn check(&self) -> Result<(), String> {
        match digest_of(&self.place, &OWN)? == self.manifest.digest {
            true => Ok(()),
            false => Err(format!("the files in {} are damaged", self.place.display())),
        }
    }

    /// Returns whether it has an image of the server's processes.
    pub(crate) fn has_image(&self) -> bool {
        self.manifest.kind == CheckpointKind::Image
    }

    /// Returns whether the checkpoint is proved.
    pub(crate) fn is_proved(&self) -> bool {
        self.manifest.proof.is_some()
    }

    /// Returns what decides whether it is kept.
    pub(crate) fn traits(&self) -> Traits {
        Traits {
            is_proved: self.is_proved(),
            has_image: self.has_image(),
            incarnation: self.manifest.incarnation,
        }
    }

    /// Keeps the proof of the checkpoint in its manifest, durably.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn prove(mut self, proof: Proof) -> Result<Self, String> {
        self.manifest.proof = Some(Box::new(proof));
        let bytes = checked_file::encode(MAGIC, VERSION, &self.manifest);
        disk::replace(&self.place, MANIFEST, &bytes)
            .map_err(|error| describe(&self.place, &error))?;
        Ok(self)
    }
}

/// Renames a checkpoint that proved useless, so that it is kept for inspection and not used again.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn set_aside(place: &Path, why: &str) -> io::Result<()> {
    fs::rename(place, place.with_extension(why))
}

/// Locks a directory until its descriptor is closed. `None` if another has locked it, or if it is
/// not there any more.
fn lock(place: &Path) -> io::Result<Option<fs::File>> {
    let directory = match fs::File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let same = |about: fs::Metadata| directory.metadata().is_ok_and(|it| it.ino() == about.ino());
    Ok(fs::metadata(place).is_ok_and(same).then_some(directory))
}

/// Removes the checkpoints that are not kept, all that were set aside but the last ones, and what
/// was left unfinished.
fn prune(directory: &Path) {
    let Ok(items) = fs::read_dir(directory) else { return };
    let slot_of = |path: &Path| -> Option<u64> {
        path.file_stem()?.to_str()?.strip_prefix("slot-")?.parse().ok()
    };
    let mut all: Vec<(u64, PathBuf)> =
        items.flatten().filter_map(|item| Some((slot_of(&item.path())?, item.path()))).collect();
    all.sort_by(|one, other| other.cmp(one));
    let (complete, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, path)| path.extension().is_none());
    let is_unfinished = |path: &Path| path.extension().is_some_and(|end| end == "unfinished");
    let (unfinished, aside): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(_, path)| is_unfinished(path));
    let traits: Vec<_> =
        complete.iter().map(|(_, path)| read(path).map(|it| it.traits())).collect();
    let old = complete.iter().zip(kept(&traits)).filter(|(_, kept)| !kept).map(|(it, _)| it);
    for (_, path) in old.chain(aside.iter().skip(KEPT_ASIDE)) {
        // The rest is removed after the next checkpoint.
        let _ = upper::remove(path);
    }
    for (_, path) in unfinished {
        if let Ok(Some(_lock)) = lock(&path) {
            let _ = upper::remove(&path);
        }
    }
}

fn name_of(slot: u64) -> String {
    format!("slot-{slot}")
}

/// Returns the directory of the checkpoints in a data directory.
pub(crate) fn directory(data: &Path) -> PathBuf {
    data.join(DIRECTORY)
}

/// Returns the directories in a directory, those of checkpoints or of others; none if it is not
/// there.
pub(crate) fn places(directory: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(directory).into_iter().flatten().flatten();
    items.map(|item| item.path()).filter(|path| path.is_dir()).collect()
}

/// Returns the directory of the image in a checkpoint's directory.
pub(crate) fn image_of(place: &Path) -> PathBuf {
    place.join("image")
}

/// A directory among the checkpoints of a data directory.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The directory.
    pub(crate) place: PathBuf,
    /// The checkpoint, if its manifest can be read.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The reason why it is not used, if it was set aside or is not finished.
    pub(crate) aside: Option<String>,
    /// The bytes of its files.
    pub(crate) bytes: u64,
}

/// Returns all checkpoints of a data directory, the newest first, and those that were set aside.
///
/// # Errors
/// Returns the system's error, if the data directory has no checkpoints.
pub(crate) fn list(data: &Path) -> io::Result<Vec<Listed>> {
    let items = fs::read_dir(data.join(DIRECTORY))?;
    let mut all: Vec<Listed> = items
        .flatten()
        .map(|item| {
            let place = item.path();
            let aside = place.extension().map(|end| end.to_string_lossy().into_owned());
            let (bytes, checkpoint) = (size_of(&place), read(&place));
            Listed { place, checkpoint, aside, bytes }
        })
        .collect();
    let slot = |listed: &Listed| listed.checkpoint.as_ref().map(|it| it.manifest.slot);
    all.sort_by_key(|listed| std::cmp::Reverse(slot(listed)));
    Ok(all)
}

/// Returns the bytes of all files in a directory.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    if !about.is_dir() {
        return about.len();
    }
    let items = fs::read_dir(path).into_iter().flatten().flatten();
    items.map(|item| size_of(&item.path())).sum()
}

/// Returns the complete checkpoints of a group from which this program can start servers, the
/// newest first: those of files, and those with an image that has this library.
pub(crate) fn usable(data: &Path, group: &str, library: Option<[u8; 16]>) -> Vec<Checkpoint> {
    let Ok(names) = fs::read_dir(data.join(DIRECTORY)) else { return Vec::new() };
    let all = names.flatten().map(|item| item.path());
    let complete = all.filter(|place| place.extension().is_none());
    let fits = |it: &Checkpoint| {
        it.manifest.group == group && (!it.has_image() || Some(it.manifest.library) == library)
    };
    let mut usable: Vec<Checkpoint> = complete.filter_map(|place| read(&place)).collect();
    usable.retain(fits);
    usable.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.manifest.slot));
    usable
}

/// Reads the manifest of a checkpoint. Returns `None` if it is damaged or another version's.
fn read(place: &Path) -> Option<Checkpoint> {
    let bytes = fs::read(place.join(MANIFEST)).ok()?;
    let manifest = checked_file::decode(MAGIC, VERSION, &bytes).ok()?;
    Some(Checkpoint { place: place.to_path_buf(), manifest })
}

#[cfg(test)]
mod tests;
