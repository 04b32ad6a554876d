//! The data directory and its own files beside the log: `meta` (JSON) and `base`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use serde::{Deserialize, Serialize};

use crate::base::{Base, MARKER};
use crate::roster::Roster;
use crate::server_program::Upgrade;

/// Names that an empty data directory may hold: a file system's own directory, and the mount point
/// of a separate disk for the log.
const USUAL_ITEMS: [&str; 2] = ["lost+found", "log"];

/// The version of the data directory's layout; it rises with each change.
pub(crate) const DATA_VERSION: u32 = 4;

/// The content of the file `meta`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// [`DATA_VERSION`].
    pub version: u32,
    /// The group, once genesis is committed; hexadecimal.
    pub group: Option<String>,
    /// This replica's number.
    pub node: NodeId,
    /// The address at which peers reach the replica.
    pub address: String,
    /// Whether the replica runs no server.
    pub witness: bool,
    /// The members at the group's creation.
    pub founders: Roster,
    /// The newest list of members that this replica knows.
    pub roster: Roster,
    /// The list of members that this replica was first started with.
    pub given: Vec<String>,
    /// This replica's generation as an entry replica.
    pub generation: u64,
    /// The last slot at which the server agreed with the majority before it was built again,
    /// because it differed from it.
    #[serde(default)]
    pub diverged_behind: Option<u64>,
    /// The last restart of the server in the log as this replica knows it.
    pub restart: Option<LastRestart>,
    /// The command line's program at the first start.
    pub command: Vec<String>,
    /// The programs that took the place of that one, in their order.
    pub upgrades: Vec<Upgrade>,
}

/// A restart of the server that the log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastRestart {
    /// The slot in which it is.
    pub slot: Slot,
    /// The incarnation that begins behind the slot.
    pub incarnation: Incarnation,
}

impl Meta {
    /// Returns the group's number.
    pub fn group_number(&self) -> Option<u128> {
        u128::from_str_radix(self.group.as_deref()?, 16).ok()
    }

    /// Returns whether a replica that is started with this list of members may use the data: the
    /// list must be the founders', that of the present members, or the one of the replica's first
    /// start.
    pub fn fits(&self, names: &[String]) -> bool {
        let founders = self.founders.iter().map(|place| &place.address);
        founders.eq(names.iter()) || self.roster.has_exactly(names) || self.given == names
    }

    /// Returns whether the server runs, or ran, a program by this command.
    pub(crate) fn knows(&self, command: &[String]) -> bool {
        let of_upgrade = |upgrade: &Upgrade| upgrade.program.words == command;
        self.command == command || self.upgrades.iter().any(of_upgrade)
    }

    /// Returns the first incarnation of the program that the server runs now.
    pub(crate) fn program_since(&self) -> Incarnation {
        self.upgrades.last().map_or(Incarnation::FIRST, |upgrade| upgrade.incarnation)
    }

    /// Returns a generation above this one, and above any that a lost data directory had: the
    /// host's clock does not go back so far. It belongs to the last incarnation that is known here.
    // specs: E8, I2
    pub fn next_generation(&self, unix_nanoseconds: u64) -> u64 {
        let incarnation = self.restart.map_or(Incarnation::FIRST, |restart| restart.incarnation);
        // However wrong the host's clock is, the generations of one incarnation suffice.
        let by_clock = (unix_nanoseconds / 1_000_000).clamp(1, Generation::PER_INCARNATION / 2);
        let first = Generation::before(incarnation).0;
        if broken(Mutant::GenerationKept) {
            return self.generation.max(first + 1);
        }
        self.generation.saturating_add(1).max(first + by_clock)
    }
}

/// A data directory that this process owns.
#[derive(Debug)]
pub struct DataDirectory {
    /// The directory's absolute path.
    pub path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory, creates it if it does not exist, and locks it.
    ///
    /// # Errors
    /// Returns what is wrong, and the remedy.
    pub fn open(path: &Path) -> Result<Self, String> {
        let describe = |error: io::Error| format!("data directory {}: {error}", path.display());
        mark(path)?;
        let path = path.canonicalize().map_err(describe)?;
        for name in ["log", "run"] {
            fs::create_dir_all(path.join(name)).map_err(describe)?;
        }
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(describe)?;
        // SAFETY: flock on a live descriptor touches no memory.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Err(format!(
                "data directory {} is in use by another crane-linux; stop that one, or give \
                 another --data-dir",
                path.display()
            ));
        }
        Ok(Self { path, _lock: lock })
    }

    /// Returns the path of the log.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Returns the path of the directory that the server's cell can see.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Reads `meta`. Returns `None` in a new directory.
    ///
    /// # Errors
    /// Returns what is wrong, and the remedy.
    pub fn meta(&self) -> Result<Option<Meta>, String> {
        let path = self.path.join("meta");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let lost = fs::read_dir(self.log()).is_ok_and(|mut items| items.next().is_some());
                return if lost { Err(damaged(&path, &"it is missing")) } else { Ok(None) };
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| damaged(&path, &error))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version.is_some_and(|version| version != u64::from(DATA_VERSION)) {
            return Err(format!(
                "{} has data version {}, and this program reads version {DATA_VERSION}; use the \
                 program that wrote it",
                path.display(),
                version.unwrap_or_default()
            ));
        }
        serde_json::from_value(value).map(Some).map_err(|error| damaged(&path, &error))
    }

    /// Replaces `meta`. The new content is durable when the call returns.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn put_meta(&self, meta: &Meta) -> Result<(), String> {
        let text = serde_json::to_string_pretty(meta).expect("plain data");
        self.replace("meta", text.as_bytes())
    }

    /// Returns the base of the group's creation, if it is known.
    ///
    /// # Errors
    /// Returns what is wrong, and the remedy.
    pub fn base(&self) -> Result<Option<Base>, String> {
        let path = self.path.join("base");
        match fs::read(&path) {
            Ok(bytes) => {
                postcard::from_bytes(&bytes).map(Some).map_err(|error| damaged(&path, &error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Stores the base of the group's creation.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn put_base(&self, base: &Base) -> Result<(), String> {
        let bytes = postcard::to_allocvec(base).expect("plain data");
        self.replace("base", &bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = File::create(&new)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.path)?.sync_all());
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Marks a directory as crane's own. Refuses a directory with foreign files in it, because parts of
/// a data directory are deleted at each start of the server.
///
/// # Errors
/// Returns what is wrong, and the remedy.
pub(crate) fn mark(directory: &Path) -> Result<(), String> {
    let path = directory.join(MARKER);
    let made = fs::create_dir_all(directory).and_then(|()| {
        let foreign = fs::read_dir(directory)?
            .filter_map(Result::ok)
            .find(|item| !USUAL_ITEMS.iter().any(|usual| item.file_name() == *usual));
        match foreign {
            Some(item) if !path.exists() => {
                let name = item.file_name();
                Err(io::Error::other(format!(
                    "it contains {}, which is not crane's",
                    name.display()
                )))
            }
            _ => fs::write(&path, b""),
        }
    });
    made.map_err(|error| {
        format!(
            "data directory {}: {error}; give a new or empty, writable directory as --data-dir",
            directory.display()
        )
    })
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!(
        "{} is damaged ({why}); move the data directory away, and start this replica again: it \
         fetches everything from the others",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crane_core::paxos::NodeSet;

    use crate::roster::RosterMember;

    fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_string).to_vec()
    }

    #[test]
    fn a_replica_comes_back_with_any_list_that_was_ever_right() {
        let mut meta = meta();
        let node = NodeId::new(3).unwrap();
        meta.roster.record(Slot(9), RosterMember { node, address: "c:1".into(), witness: false });
        assert!(meta.fits(&names(["a:1", "b:1"])));
        assert!(meta.fits(&names(["c:1", "a:1", "b:1"])));
        assert!(!meta.fits(&names(["b:1", "a:1"])) && !meta.fits(&names(["a:1", "b:1", "x:1"])));
    }

    fn meta() -> Meta {
        Meta {
            version: DATA_VERSION,
            group: Some(format!("{:032x}", 7)),
            node: NodeId::new(2).unwrap(),
            address: "b:1".into(),
            witness: false,
            founders: Roster::founders(&names(["a:1", "b:1"]), NodeSet::EMPTY),
            roster: Roster::founders(&names(["a:1", "b:1"]), NodeSet::EMPTY),
            given: names(["a:1", "b:1"]),
            generation: 9,
            diverged_behind: None,
            restart: None,
            command: vec!["server".into()],
            upgrades: Vec::new(),
        }
    }

    #[test]
    fn the_generations_of_an_incarnation_are_above_those_before_whatever_the_clock_says() {
        let mut meta = meta();
        for clock in [0, 1_700_000_000_000_000_000, u64::MAX] {
            meta.restart = None;
            let older = Generation(meta.next_generation(clock));
            let (slot, incarnation) = (Slot(5), Incarnation(2));
            meta.restart = Some(LastRestart { slot, incarnation });
            let later = Generation(meta.next_generation(clock));
            assert!(older <= Generation::before(incarnation), "{clock}");
            assert!(later > Generation::before(incarnation), "{clock}");
            assert!(later <= Generation::before(Incarnation(3)), "{clock}");
        }
    }

    #[test]
    fn a_directory_is_owned_once_and_found_again() {
        let path = std::env::temp_dir().join(format!("crane-meta-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = DataDirectory::open(&path).unwrap();
        assert_eq!(directory.meta().unwrap(), None);
        directory.put_meta(&meta()).unwrap();
        assert!(DataDirectory::open(&path).unwrap_err().contains("in use"));
        drop(directory);
        let directory = DataDirectory::open(&path).unwrap();
        let found = directory.meta().unwrap().unwrap();
        assert_eq!((found.group_number(), found == meta()), (Some(7), true));
        assert!(found.next_generation(0) > found.generation);
        fs::write(path.join("meta"), r#"{"version": 5}"#).unwrap();
        assert!(directory.meta().unwrap_err().contains("version 5"));
        fs::write(path.join("meta"), "{").unwrap();
        assert!(directory.meta().unwrap_err().contains("damaged"));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_left_alone() {
        let path = std::env::temp_dir().join(format!("crane-foreign-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("lost+found")).unwrap();
        fs::create_dir(path.join("log")).unwrap();
        fs::create_dir(path.join("work")).unwrap();
        assert!(mark(&path).unwrap_err().contains("it contains work"));
        assert!(DataDirectory::open(&path).is_err());
        assert!(!path.join("run").exists() && !path.join(MARKER).exists());
        fs::remove_dir(path.join("work")).unwrap();
        mark(&path).unwrap();
        fs::create_dir(path.join("work")).unwrap();
        mark(&path).unwrap();
        fs::remove_dir_all(path).unwrap();
    }
}
