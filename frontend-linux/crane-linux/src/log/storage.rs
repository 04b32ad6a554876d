//! The thread that writes the log and waits for the disk, so that no other thread has to.
//!
//! All batches that have accumulated during one sync are written and synced together (group
//! commit). A failed sync is never repeated, because after it the content of the disk is unknown
//! (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use embassy_sync::signal::Signal;

use crate::thread_mutex::ThreadMutex;

use super::disk::{Disk, HostDisk};
use super::segments::Segments;
use super::{Batch, Synced};

/// The last sync that has returned, or the reason why writing has ended. Only the last value
/// counts.
pub(crate) type WriteProgress = Arc<Signal<ThreadMutex, Result<Synced, String>>>;

const FINISH_WITHIN: Duration = Duration::from_secs(1);
const FINISH_LOOK: Duration = Duration::from_millis(1);

/// The destination of the log's bytes.
#[derive(Debug)]
pub(crate) enum Storage {
    /// The disk, written by a thread; [`WriteProgress`] reports which writes are on it.
    Synced(Sender<Batch>, JoinHandle<()>),
    /// The system's memory, written at once: the bytes survive the daemon, but not the host.
    Unsynced(Box<Segments<HostDisk>>),
}

impl Storage {
    /// Creates storage that syncs.
    pub(crate) fn synced(directory: &Path) -> (Self, WriteProgress) {
        Self::synced_on(directory, HostDisk)
    }

    /// Creates storage that syncs, on a disk of the caller's.
    pub(crate) fn synced_on<D: Disk<File: Send> + Send + 'static>(
        directory: &Path,
        disk: D,
    ) -> (Self, WriteProgress) {
        let (sender, receiver) = channel();
        let progress = WriteProgress::default();
        let (segments, told) = (Segments::new(directory, disk, true), progress.clone());
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || run(segments, &receiver, &told))
            .expect("a thread can be started");
        (Self::Synced(sender, thread), progress)
    }

    /// Waits until everything is on the disk, for a limited time: a disk that hangs does not
    /// prevent the daemon from ending.
    pub(crate) fn finish(self) {
        let Self::Synced(sender, thread) = self else { return };
        drop(sender);
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < FINISH_WITHIN {
            std::thread::sleep(FINISH_LOOK);
        }
    }

    /// Creates storage that does not sync.
    pub(crate) fn unsynced(directory: &Path) -> Self {
        Self::Unsynced(Box::new(Segments::new(directory, HostDisk, false)))
    }

    /// Writes a batch. Returns its sync if it counts as durable already.
    ///
    /// # Errors
    /// Returns the system's error, which is fatal: nothing is written after it.
    pub(crate) fn write(&mut self, batch: Batch) -> Result<Option<Synced>, String> {
        match self {
            Self::Synced(sender, _) => {
                sender.send(batch).map_err(|_| "the storage thread has ended".to_string())?;
                Ok(None)
            }
            Self::Unsynced(segments) => {
                segments.write(&batch)?;
                Ok(Some(batch.synced()))
            }
        }
    }
}

fn run<D: Disk>(mut segments: Segments<D>, batches: &Receiver<Batch>, progress: &WriteProgress) {
    while let Ok(mut batch) = batches.recv() {
        let outcome = loop {
            if let Err(why) = segments.write(&batch) {
                break Err(why);
            }
            match batches.try_recv() {
                Ok(next) => batch = next,
                Err(_) => break segments.sync(),
            }
        };
        let failed = outcome.is_err();
        progress.signal(outcome.map(|()| batch.synced()));
        if failed {
            return;
        }
    }
}
