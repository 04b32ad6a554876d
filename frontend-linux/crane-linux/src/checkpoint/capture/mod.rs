//! A copy of the server's files, most of which is made before the server is held.
//!
//! While the server runs, the contents of its files are copied into a *pool*, by inode; it does not
//! matter that a file changes meanwhile. While the server is held, each file that may have changed
//! since is compared with its copy, and only what differs is written. The names, and everything
//! else that a directory says, are read as a list then. From the list and the pool, the directories
//! are made after the release.
//!
//! The result is what `cp -a` would have made of the directories of the held server.
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `writing` | a file made equal to another, block by block |
//! | `pool` | the copies, and which of them need no second look |
//! | `building` | directories made from lists and copies |

mod building;
mod pool;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::cell::upper::describe;

use super::listing::{self, DirectoryItem};

use pool::{Pool, PoolError};

/// A round of copies that took longer is followed by another one, while the server runs: more
/// has changed in that time than in this one.
const SHORT_ROUND: Duration = Duration::from_millis(500);
/// The number of such rounds.
const ROUNDS_MAX: usize = 3;
/// If two clocks disagree by more about the time since the copy began, the system's time was set,
/// and the times of files say nothing.
const CLOCKS_AGREE: Duration = Duration::from_millis(500);
/// The directory of the pool in that of the checkpoint.
const POOL: &str = "pool";

/// A directory to copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The directory. It need not exist.
    pub(crate) from: PathBuf,
    /// The place of its copy in the directory of the checkpoint.
    pub(crate) to: PathBuf,
    /// A path below it that is left out.
    pub(crate) except: Option<PathBuf>,
}

/// How much is expected of a look at the directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// The server runs: files change, and some are gone before they are copied.
    Running,
    /// The server is held, but CRIU makes files of its own.
    Held,
    /// Nothing changes: every error counts.
    Last,
}

/// A copy that is being made.
pub(crate) struct Capture {
    sources: Vec<Source>,
    pool: Pool,
    begun: (Instant, SystemTime),
}

/// All that is in the directories of a held server.
pub(crate) struct Lists(Vec<Vec<DirectoryItem>>);

impl Capture {
    /// Begins a copy, for the checkpoint in this directory.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn begin(checkpoint: &Path, sources: Vec<Source>) -> Result<Self, String> {
        let place = checkpoint.join(POOL);
        std::fs::create_dir(&place).map_err(|error| describe(&place, &error))?;
        Ok(Self { sources, pool: Pool::new(place), begun: (Instant::now(), SystemTime::now()) })
    }

    /// Copies what there is, while the server runs.
    ///
    /// # Errors
    /// Returns why no copies can be written.
    pub(crate) fn copy_running(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let since = Instant::now();
            self.look(Look::Running, None)?;
            if since.elapsed() < SHORT_ROUND {
                break;
            }
        }
        Ok(())
    }

    /// Brings the copies up to date, while the server is held and CRIU is at work.
    ///
    /// # Errors
    /// Returns why no copies can be written, or that this takes until `limit`.
    pub(crate) fn copy_held(&mut self, limit: Instant) -> Result<(), String> {
        let (by_one, by_other) = (self.begun.0.elapsed(), self.begun.1.elapsed());
        if !by_other.is_ok_and(|other| by_one.abs_diff(other) < CLOCKS_AGREE) {
            self.pool.doubt();
        }
        self.look(Look::Held, Some(limit)).map(drop)
    }

    /// Reads what is in the directories, once nothing changes in them any more, and copies what was
    /// not copied yet.
    ///
    /// # Errors
    /// Returns what the system refused, with its place, or that this takes until `limit`.
    pub(crate) fn list(&mut self, limit: Instant) -> Result<Lists, String> {
        self.look(Look::Last, Some(limit)).map(Lists)
    }

    /// Makes the directories in that of the checkpoint.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub(crate) fn build(self, lists: &Lists, checkpoint: &Path) -> Result<(), String> {
        let mut names = HashMap::new();
        for (source, listed) in self.sources.iter().zip(&lists.0) {
            building::build(listed, &self.pool, &checkpoint.join(&source.to), &mut names)?;
        }
        self.pool.remove()
    }

    /// Returns the number of bytes that were written to copies while the server was held.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.pool.held_bytes
    }

    fn look(
        &mut self,
        look: Look,
        limit: Option<Instant>,
    ) -> Result<Vec<Vec<DirectoryItem>>, String> {
        let Self { sources, pool, .. } = self;
        let mut lists = Vec::new();
        for Source { from, except, .. } in sources {
            let is_left_out = |path: &Path| except.as_deref() == Some(path);
            let listed = listing::list(from, is_left_out, look == Look::Last)?;
            for file in listed.iter().filter(|it| it.about.is_file()) {
                let held = look != Look::Running;
                match pool.update(&from.join(&file.path), &file.about, held, limit) {
                    Err(PoolError::Source(why)) if look == Look::Last => return Err(why),
                    Err(PoolError::Copy(why)) => return Err(why),
                    Ok(()) | Err(PoolError::Source(_)) => {}
                }
            }
            lists.push(listed);
        }
        Ok(lists)
    }
}
