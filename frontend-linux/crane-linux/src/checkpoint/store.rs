//! The checkpoints of a data directory: `checkpoints/slot-N`, each a directory that is complete or
//! not there. Its manifest is written last, with a checksum.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crane_core::execution::Mark;
use crane_core::id::{Generation, Incarnation, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::SnapshotMeta;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cell::upper;
use crate::checked_file;
use crate::log::disk;

/// The first bytes of a manifest.
const MAGIC: &[u8; 8] = b"cranechk";
/// The version of a checkpoint's format.
const VERSION: u32 = 2;
/// The directory of checkpoints in a data directory.
const DIRECTORY: &str = "checkpoints";
const MANIFEST: &str = "manifest";
/// The name of a manifest that is being replaced.
const MANIFEST_NEW: &str = "manifest.new";
/// The number of checkpoints that are kept, the newest ones and the newest that is proved.
const KEPT: usize = 2;
/// The number of those that are kept for inspection.
const KEPT_ASIDE: usize = 1;
/// The ending of a checkpoint's name while it is being written.
const UNFINISHED: &str = ".unfinished";

/// A checkpoint's description of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The digest of the library that the server runs.
    pub(crate) library: [u8; 16],
    /// The group.
    pub(crate) group: String,
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
    pub(crate) processes: Processes,
    /// The digest of the checkpoint's directory without the manifest.
    pub(crate) digest: [u8; 32],
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
/// [`Unfinished::finish`].
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes an empty directory for the checkpoint behind a slot.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn make(data: &Path, slot: u64) -> Result<Self, String> {
        let place = data.join(DIRECTORY).join(name_of(slot) + UNFINISHED);
        upper::remove(&place)?;
        fs::create_dir_all(image_of(&place)).map_err(|error| describe(&place, &error))?;
        Ok(Self(place))
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
        manifest.digest = digest_of(&self.0)?;
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
        match digest_of(&self.place)? == self.manifest.digest {
            true => Ok(()),
            false => Err(format!("the files in {} are damaged", self.place.display())),
        }
    }

    /// Returns whether the checkpoint is proved.
    pub(crate) fn is_proved(&self) -> bool {
        self.manifest.proof.is_some()
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

/// Returns a digest of all names, kinds, owners, modes, links and contents in a directory, without
/// its manifest.
fn digest_of(place: &Path) -> Result<[u8; 32], String> {
    let mut digest = Sha256::new();
    add(place, place, &mut digest)?;
    Ok(digest.finalize().into())
}

fn add(root: &Path, path: &Path, digest: &mut Sha256) -> Result<(), String> {
    let failed = |error: io::Error| describe(path, &error);
    let about = fs::symlink_metadata(path).map_err(failed)?;
    let name = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
    let numbers = [name.len() as u64, about.mode().into(), about.uid().into(), about.gid().into()];
    for number in
        numbers.into_iter().chain([about.rdev(), about.size() * u64::from(about.is_file())])
    {
        digest.update(number.to_le_bytes());
    }
    digest.update(name);
    if about.is_dir() {
        let items = fs::read_dir(path).map_err(failed)?;
        let mut paths: Vec<PathBuf> = items
            .map(|item| item.map(|item| item.path()))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        // A crash while a proof was kept leaves a part of the next manifest.
        let own = [MANIFEST, MANIFEST_NEW].map(|name| root.join(name));
        paths.retain(|inner| !own.contains(inner));
        paths.sort();
        paths.iter().try_for_each(|inner| add(root, inner, digest))
    } else if about.is_symlink() {
        digest.update(fs::read_link(path).map_err(failed)?.as_os_str().as_bytes());
        Ok(())
    } else if about.is_file() {
        let mut file = fs::File::open(path).map_err(failed)?;
        let mut space = vec![0; 1 << 16];
        loop {
            match file.read(&mut space).map_err(failed)? {
                0 => return Ok(()),
                count => digest.update(&space[..count]),
            }
        }
    } else {
        Ok(())
    }
}

/// Renames a checkpoint that proved useless, so that it is kept for inspection and not used again.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn set_aside(place: &Path, why: &str) -> io::Result<()> {
    fs::rename(place, place.with_extension(why))
}

/// Removes all but the newest checkpoints, the newest one that is proved, those that were set aside
/// last, and what was not finished.
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
    let proved = complete.iter().find(|(_, path)| read(path).is_some_and(|it| it.is_proved()));
    let old = complete.iter().skip(KEPT).filter(|each| Some(*each) != proved);
    let superfluous = old.chain(aside.iter().skip(KEPT_ASIDE));
    for (_, path) in superfluous.chain(&unfinished) {
        // The rest is removed after the next checkpoint.
        let _ = upper::remove(path);
    }
}

fn name_of(slot: u64) -> String {
    format!("slot-{slot}")
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

/// Returns the complete checkpoints of a group that this program can restore, the newest first.
pub(crate) fn usable(data: &Path, group: &str, library: [u8; 16]) -> Vec<Checkpoint> {
    let Ok(names) = fs::read_dir(data.join(DIRECTORY)) else { return Vec::new() };
    let all = names.flatten().map(|item| item.path());
    let complete = all.filter(|place| place.extension().is_none());
    let fits = |it: &Checkpoint| it.manifest.group == group && it.manifest.library == library;
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

fn describe(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crane_core::paxos::Members;

    use super::*;

    fn manifest(slot: u64) -> Manifest {
        let processes = Processes { server: 2, last: 9, pipes: [3, 4] };
        let (library, digest) = ([7; 16], [0; 32]);
        let (slot, group) = (Slot(slot), "ab".to_string());
        let mark = Mark { slot, clock: 4, schedule: 2, output: 3 };
        let incarnation = Incarnation(2);
        let proof = None;
        Manifest { library, group, slot, incarnation, clock: 5, mark, proof, processes, digest }
    }

    fn newest(data: &Path, group: &str, library: [u8; 16]) -> Option<Checkpoint> {
        usable(data, group, library).into_iter().next()
    }

    fn proof(slot: u64) -> Proof {
        let mark = Mark { slot: Slot(slot + 9), clock: 4, schedule: 2, output: 3 };
        let snapshot = SnapshotMeta::genesis(Members::first(3));
        let prefix = Prefix {
            snapshot: SnapshotMeta { slot: Slot(slot), ..snapshot },
            connected: [None; NODES_MAX],
            retired: [Generation(0); NODES_MAX],
            incarnation: Incarnation(2),
            timestamp: 5,
            genesis: (Slot(1), vec![1, 2, 3]),
        };
        Proof { mark, prefix }
    }

    #[test]
    fn the_newest_that_is_proved_is_kept_beside_the_newest_ones() {
        let data = std::env::temp_dir().join(format!("crane-proved-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let make = |slot| Unfinished::make(&data, slot).unwrap().finish(manifest(slot)).unwrap();
        let proved = make(3).prove(proof(3)).unwrap();
        assert_eq!(proved.check(), Ok(()), "a proof changes no file of the image");
        for slot in 4..9 {
            make(slot);
        }
        let all = usable(&data, "ab", [7; 16]);
        let slots: Vec<u64> = all.iter().map(|it| it.manifest.slot.0).collect();
        assert_eq!(slots, [8, 7, 3]);
        assert_eq!(all[2], proved);
        make(9).prove(proof(9)).unwrap();
        make(10);
        let slots = usable(&data, "ab", [7; 16]);
        assert_eq!(slots.iter().map(|it| it.manifest.slot.0).collect::<Vec<_>>(), [10, 9]);
        fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn only_whole_checkpoints_of_this_group_and_library_are_found() {
        let data = std::env::temp_dir().join(format!("crane-store-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let make = |slot| {
            let unfinished = Unfinished::make(&data, slot).unwrap();
            fs::write(image_of(unfinished.place()).join("pages"), [slot as u8; 100]).unwrap();
            std::os::unix::fs::symlink("pages", image_of(unfinished.place()).join("link")).unwrap();
            unfinished
        };
        drop(make(3));
        assert_eq!(fs::read_dir(data.join(DIRECTORY)).unwrap().count(), 0);
        make(7).finish(manifest(7)).unwrap();
        let newer = make(12).finish(manifest(12)).unwrap();
        assert_eq!(newest(&data, "ab", [7; 16]), Some(newer.clone()));
        assert_eq!(newest(&data, "other", [7; 16]), None);
        assert_eq!(newest(&data, "ab", [8; 16]), None);
        assert_eq!(newer.check(), Ok(()));
        for slot in 8..10 {
            make(slot).finish(manifest(slot)).unwrap();
            fs::create_dir_all(data.join(DIRECTORY).join(format!("slot-{slot}.wrong"))).unwrap();
        }
        std::mem::forget(make(2));
        prune(&data.join(DIRECTORY));
        let names = fs::read_dir(data.join(DIRECTORY)).unwrap().flatten();
        let mut names: Vec<_> = names.map(|item| item.file_name()).collect();
        names.sort();
        assert_eq!(names, ["slot-12", "slot-9", "slot-9.wrong"]);
        for name in ["image/pages", "image/link", "image", "image/new"] {
            let path = newer.place.join(name);
            let undo: Box<dyn Fn()> = match name {
                "image/pages" => {
                    fs::write(&path, [13; 100]).unwrap();
                    Box::new(|| fs::write(newer.place.join("image/pages"), [12; 100]).unwrap())
                }
                "image/link" => {
                    fs::remove_file(&path).unwrap();
                    std::os::unix::fs::symlink("other", &path).unwrap();
                    Box::new(|| {
                        let path = newer.place.join("image/link");
                        fs::remove_file(&path).unwrap();
                        std::os::unix::fs::symlink("pages", &path).unwrap();
                    })
                }
                "image" => {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
                    Box::new(|| {
                        let mode = fs::Permissions::from_mode(0o755);
                        fs::set_permissions(newer.place.join("image"), mode).unwrap();
                    })
                }
                _ => {
                    fs::write(&path, "").unwrap();
                    Box::new(|| fs::remove_file(newer.place.join("image/new")).unwrap())
                }
            };
            assert!(newer.check().is_err(), "{name}");
            undo();
            assert_eq!(newer.check(), Ok(()), "{name}");
        }
        let mut bytes = fs::read(newer.place.join(MANIFEST)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(newer.place.join(MANIFEST), bytes).unwrap();
        assert_eq!(newest(&data, "ab", [7; 16]).unwrap().manifest.slot, Slot(9));
        set_aside(&data.join(DIRECTORY).join("slot-9"), "failed").unwrap();
        assert_eq!(newest(&data, "ab", [7; 16]), None);
        fs::remove_dir_all(&data).unwrap();
    }
}
