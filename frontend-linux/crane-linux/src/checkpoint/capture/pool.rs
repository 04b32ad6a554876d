//! The pool: copies of files by their inodes, and which of them need no second look.
//!
//! A copy that was made while the server ran is *certain* if every later change of the file shows
//! in its time of change (ctime), which nothing but the kernel sets:
//!
//! - The kernel's clock for files has steps, of a second on some file systems. A change in the step
//!   of the one before shows in nothing. So the last change must be [`Pool::settled`] before the
//!   copy.
//! - A store through a shared mapping changes the time only if the page was clean, or not mapped
//!   for writing. So the file's dirty pages are written back first, which takes the right to write
//!   away from all mappings (`folio_mkclean`, mm/rmap.c); the next store faults, and changes the
//!   time (`page_mkwrite` of the file system).
//! - Only file systems are trusted that are known to do so. tmpfs does not.
//!
//! Every other file is compared with its copy while the server is held. Such a copy is certain,
//! because nothing writes to the file any more.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::fstatfs;

use crate::cell::upper::{self, describe};

use super::super::listing::{Inode, inode_of};
use super::writing::{self, WritingError};

/// The time that must lie between the last change of a file and its copy: more than the coarsest
/// step of the clock, which is a second.
const SETTLED: Duration = Duration::from_secs(2);
/// The file systems whose times of change are trusted: ext2 to ext4, XFS and Btrfs (statfs(2)).
const TRUSTED: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// An error in the source of a copy, or one that prevents copies.
pub(super) enum PoolError {
    /// A file cannot be read, or is gone.
    Source(String),
    /// No copies can be written, or the time is over.
    Copy(String),
}

/// The copies of files.
pub(super) struct Pool {
    place: PathBuf,
    copies: HashMap<Inode, Copied>,
    /// Whether files of a device can be copied by reference.
    clones: HashMap<u64, bool>,
    /// The time for which a file must not have changed before its copy.
    pub(super) settled: Duration,
    /// The bytes that were written while the server was held.
    pub(super) held_bytes: u64,
}

/// A copy.
struct Copied {
    /// The state of the file of which it was made.
    state: CopiedState,
    /// Whether a change since would show in the state.
    certain: bool,
}

/// The state of a file that changes with its contents.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CopiedState {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CopiedState {
    fn of(about: &Metadata) -> Self {
        Self {
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Returns whether the last change was at least this long before a moment.
    fn is_older(&self, than: Duration, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed = Duration::new(seconds.max(0).cast_unsigned(), nanoseconds as u32);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        changed + than < now
    }
}

impl Pool {
    /// Creates a pool in an empty directory.
    pub(super) fn new(place: PathBuf) -> Self {
        let (copies, clones) = (HashMap::new(), HashMap::new());
        Self { place, copies, clones, settled: SETTLED, held_bytes: 0 }
    }

    /// Returns the place of a file's copy.
    pub(super) fn place_of(&self, (device, number): Inode) -> PathBuf {
        self.place.join(format!("{device:x}-{number:x}"))
    }

    /// Lets no copy be certain: the times of files say nothing.
    pub(super) fn doubt(&mut self) {
        for copy in self.copies.values_mut() {
            copy.certain = false;
        }
    }

    /// Removes what is left of the pool.
    pub(super) fn remove(self) -> Result<(), String> {
        upper::remove(&self.place)
    }

    /// Brings the copy of a regular file up to date, of which `about` was just read. `held`: the
    /// server is held, and writes to nothing.
    pub(super) fn update(
        &mut self,
        source: &Path,
        about: &Metadata,
        held: bool,
        limit: Option<Instant>,
    ) -> Result<(), PoolError> {
        let inode = inode_of(about);
        let known = self.copies.get(&inode);
        if known.is_some_and(|copy| copy.certain && copy.state == CopiedState::of(about)) {
            return Ok(());
        }
        let unread = |error: io::Error| PoolError::Source(describe(source, &error));
        let from = open(source).map_err(unread)?;
        let now = SystemTime::now();
        let certain = held || keeps_times(&from);
        let about = from.metadata().map_err(unread)?;
        if inode_of(&about) != inode {
            return Err(PoolError::Source(format!("{} has changed", source.display())));
        }
        let state = CopiedState::of(&about);
        let certain = certain && (held || state.is_older(self.settled, now));
        let place = self.place_of(inode);
        // Until it is whole, it is the copy of nothing.
        self.copies.remove(&inode);
        let unwritten = |error: io::Error| PoolError::Copy(describe(&place, &error));
        let to = File::options().read(true).write(true).create(true).truncate(false).open(&place);
        let to = to.map_err(unwritten)?;
        let can_clone = self.clones.entry(inode.0).or_insert(true);
        if *can_clone {
            *can_clone = writing::clone(&from, &to).map_err(unwritten)?;
        }
        if !*can_clone {
            let written = writing::write_changes(&from, &to, about.len(), limit);
            let written = written.map_err(|error| match error {
                WritingError::From(error) => unread(error),
                WritingError::To(error) => unwritten(error),
                WritingError::Late => {
                    let text = "it takes too long to copy what has changed in the server's files";
                    PoolError::Copy(text.to_string())
                }
            })?;
            self.held_bytes += if held { written } else { 0 };
        }
        self.copies.insert(inode, Copied { state, certain });
        Ok(())
    }
}

/// Opens a file, if possible without a trace in its time of access.
fn open(path: &Path) -> io::Result<File> {
    // A pipe may be in the place of the file by now, and must not be waited for.
    let usual = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let with = |flags| OpenOptions::new().read(true).custom_flags(usual | flags).open(path);
    match with(libc::O_NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => with(0),
        opened => opened,
    }
}

/// Writes the file's dirty pages back. Returns whether each change from now on shows in its times.
pub(super) fn keeps_times(file: &File) -> bool {
    let trusted = fstatfs(file).is_ok_and(|about| TRUSTED.contains(&(about.f_type as u64)));
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call touches no memory. A length of 0 means the whole file.
    trusted && unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } == 0
}
