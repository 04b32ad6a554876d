//! Access to the data directory while the replica runs, on threads that may wait for the disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crane_core::id::Generation;
use rustix::fs::statvfs;
use rustix::process::geteuid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{spawn_blocking, spawn_local};
use tracing::warn;

use crate::base::Base;
use crate::driver::{DiskRoom, DriverInput, FetchFor};
use crate::frozen::FrozenCalls;
use crate::log::fetch::{Fetch, LogFiles};
use crate::log::{Front, LogError, reading};
use crate::meta::{DataDirectory, Meta};

use super::{HostOutcome, Outcomes};

/// Measures the disk at a place. A disk that does not tell its size has a size of 0. One whose last
/// inode is in use has no room for a file.
pub(super) fn measure(place: &Path) -> DiskRoom {
    let Ok(found) = statvfs(place) else { return DiskRoom { free: 0, size: 0 } };
    // A part of the disk may be kept for root.
    let free = if geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    let inodes = found.f_files == 0 || found.f_ffree > 0;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    DiskRoom { free: if inodes { bytes(free) } else { 0 }, size: bytes(found.f_blocks) }
}

/// Keeps the data directory of a running replica: stores meta and base, and reads the log.
pub(super) struct DataKeeper {
    wanted: UnboundedSender<Keep>,
    files: Arc<Mutex<LogFiles>>,
    /// The directory of the log.
    log: PathBuf,
    /// The data directory, for one writer of frozen calls at a time.
    frozen: Arc<Mutex<PathBuf>>,
    outcomes: Outcomes,
}

/// A value to store.
enum Keep {
    /// The meta.
    Meta(Box<Meta>),
    /// The base of the group's creation, unless one is stored already.
    Base(Base),
    /// The base of an upgrade.
    NewBase(Base),
}

impl DataKeeper {
    /// Starts the task that stores values in a data directory.
    pub(super) fn new(data: DataDirectory, outcomes: Outcomes) -> Self {
        let (wanted, orders) = unbounded_channel();
        let files = Arc::new(Mutex::new(LogFiles::new(&data.log())));
        let frozen = Arc::new(Mutex::new(data.path.clone()));
        let log = data.log();
        spawn_local(keep(Arc::new(data), orders, outcomes.clone()));
        Self { wanted, files, log, frozen, outcomes }
    }

    /// Replaces the meta. [`DriverInput::MetaKept`] follows when it, or a later one, is durable.
    pub(super) fn keep_meta(&self, meta: &Meta) {
        let _ = self.wanted.send(Keep::Meta(Box::new(meta.clone())));
    }

    /// Stores the base of the group's creation, if none is stored yet.
    pub(super) fn keep_base(&self, base: &Base) {
        let _ = self.wanted.send(Keep::Base(base.clone()));
    }

    /// Stores the base of an upgrade.
    pub(super) fn replace_base(&self, base: &Base) {
        let _ = self.wanted.send(Keep::NewBase(base.clone()));
    }

    /// Stores frozen calls. [`DriverInput::FrozenKept`] follows.
    pub(super) fn keep_frozen(&self, frozen: Arc<FrozenCalls>) {
        let (place, outcomes) = (self.frozen.clone(), self.outcomes.clone());
        spawn_local(async move {
            let writing =
                move || frozen.keep(&place.lock().unwrap_or_else(PoisonError::into_inner));
            let ended = |error| Err(format!("the writer of frozen calls ended: {error}"));
            let kept = spawn_blocking(writing).await.unwrap_or_else(ended);
            let _ = outcomes.send(HostOutcome::Input(DriverInput::FrozenKept(kept)));
        });
    }

    /// Writes a front of the log. [`DriverInput::LogCut`] follows.
    pub(super) fn cut_log(&self, front: Front) {
        let (directory, outcomes) = (self.log.clone(), self.outcomes.clone());
        spawn_local(async move {
            let writing = spawn_blocking(move || match front.write(&directory) {
                Ok(()) => Ok(front),
                Err(error) => Err(error.to_string()),
            });
            let written = writing.await.unwrap_or_else(|error| Err(error.to_string()));
            let _ = outcomes.send(HostOutcome::Input(DriverInput::LogCut(written)));
        });
    }

    /// Deletes the segments of the log before this one.
    pub(super) fn delete_segments(&self, before: u32) {
        let directory = self.log.clone();
        spawn_blocking(move || {
            // The next cut, or the next start, tries again.
            if let Err(error) = reading::delete_before(&directory, before) {
                warn!("{error}");
            }
        });
    }

    /// Reads entries of the log again. [`DriverInput::Fetched`] follows, or
    /// [`DriverInput::FetchMissing`].
    pub(super) fn fetch(&self, fetcher: FetchFor, fetch: Fetch) {
        let (files, outcomes) = (self.files.clone(), self.outcomes.clone());
        let last = fetch.last().unwrap_or_default();
        spawn_local(async move {
            let reading = move || files.lock().unwrap_or_else(PoisonError::into_inner).read(&fetch);
            let input = match spawn_blocking(reading).await {
                Ok(Ok(records)) => DriverInput::Fetched(fetcher, records),
                Ok(Err(error @ LogError::Missing(_))) => {
                    DriverInput::FetchMissing(fetcher, last, error.to_string())
                }
                Ok(Err(error)) => DriverInput::Failed(error.to_string()),
                Err(error) => DriverInput::Failed(format!("the log's reader ended: {error}")),
            };
            let _ = outcomes.send(HostOutcome::Input(input));
        });
    }
}

/// Stores one value after another. Of several waiting metas, it stores only the last.
async fn keep(data: Arc<DataDirectory>, mut orders: UnboundedReceiver<Keep>, outcomes: Outcomes) {
    while let Some(first) = orders.recv().await {
        let mut all = vec![first];
        while let Ok(next) = orders.try_recv() {
            all.push(next);
        }
        let data = data.clone();
        let kept = spawn_blocking(move || keep_all(&data, all)).await;
        let input = match kept {
            Ok(Ok(Some(generation))) => DriverInput::MetaKept(generation),
            Ok(Ok(None)) => continue,
            Ok(Err(why)) => DriverInput::Failed(why),
            Err(error) => {
                DriverInput::Failed(format!("the data directory's writer ended: {error}"))
            }
        };
        let _ = outcomes.send(HostOutcome::Input(input));
    }
}

/// Returns the generation of the meta that was stored, if there was one.
fn keep_all(data: &DataDirectory, all: Vec<Keep>) -> Result<Option<Generation>, String> {
    let mut last = None;
    for one in all {
        match one {
            Keep::Meta(meta) => last = Some(meta),
            Keep::NewBase(base) => data.put_base(&base)?,
            Keep::Base(base) => {
                if data.base()?.is_none() {
                    data.put_base(&base)?;
                }
            }
        }
    }
    let Some(meta) = last else { return Ok(None) };
    data.put_meta(&meta)?;
    Ok(Some(Generation(meta.generation)))
}
