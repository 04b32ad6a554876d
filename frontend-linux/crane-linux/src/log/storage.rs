//! The thread that writes the log and waits for the disk, so that no other thread has to.
//!
//! All batches that have accumulated during one sync are written and synced together (group
//! commit). A failed sync is never repeated, because after it the content of the disk is unknown
//! (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
//!
//! Where nothing is synced, a batch is put into a journal in the system's memory, and counts as
//! durable. A write to a disk's cache is not the same: it waits for the disk if the file system is
//! frozen, or too much of the cache is not on the disk yet.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use embassy_sync::signal::Signal;
use tracing::warn;

use crate::thread_mutex::ThreadMutex;

use super::disk::{Disk, HostDisk};
use super::journal::Journal;
use super::segments::Segments;
use super::{Batch, Synced};

/// The last sync that has returned, or the last write where nothing is synced; or the reason why
/// writing has ended. Only the last value counts.
pub(crate) type WriteProgress = Arc<Signal<ThreadMutex, Result<Synced, String>>>;

const FINISH_WITHIN: Duration = Duration::from_secs(1);
const FINISH_LOOK: Duration = Duration::from_millis(1);

/// How long the thread lets batches accumulate that are in the journal already.
const PAUSE: Duration = Duration::from_millis(10);

/// The destination of the log's bytes: the disk, or, without syncs, the system's memory, from which
/// they survive the daemon but not the host.
#[derive(Debug)]
pub(crate) struct Storage {
    batches: Sender<Batch>,
    /// Returns whether everything was written.
    thread: JoinHandle<bool>,
    /// The batches that the thread has not written yet, if bytes need not be on the disk.
    journal: Option<Journal>,
}

impl Storage {
    /// Starts the thread. `syncs` says that bytes are to be on the disk before they count as
    /// durable.
    pub(crate) fn new(directory: &Path, syncs: bool) -> (Self, WriteProgress) {
        if syncs {
            return Self::start(Segments::new(directory, HostDisk, true), true, None);
        }
        let journal = Journal::new(directory).map_err(|error| {
            warn!(
                "the log has no journal in memory: {error}; each request waits for a write to the \
                 disk's cache, which takes more of the processor: give this host, or its \
                 container, a /dev/shm of 64 MiB"
            );
        });
        Self::start(Segments::new(directory, HostDisk, false), false, journal.ok())
    }

    /// Starts the thread on a disk of the caller's.
    pub(super) fn start<D: Disk<File: Send> + Send + 'static>(
        segments: Segments<D>,
        syncs: bool,
        journal: Option<Journal>,
    ) -> (Self, WriteProgress) {
        let (batches, receiver) = channel();
        let progress = WriteProgress::default();
        let told = progress.clone();
        let pause = journal.as_ref().map(|_| PAUSE);
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || run(segments, syncs, pause, &receiver, &told))
            .expect("a thread can be started");
        (Self { batches, thread, journal }, progress)
    }

    /// Waits until everything is written, for a limited time: a disk that hangs does not prevent
    /// the daemon from ending.
    pub(crate) fn finish(self) {
        let Self { batches, thread, journal } = self;
        drop(batches);
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < FINISH_WITHIN {
            std::thread::sleep(FINISH_LOOK);
        }
        let is_written = thread.is_finished() && matches!(thread.join(), Ok(true));
        if let Some(journal) = journal.filter(|_| is_written) {
            journal.remove();
        }
    }

    /// Hands a batch to the thread. Returns its sync if it counts as durable already;
    /// [`WriteProgress`] reports when it is written.
    ///
    /// # Errors
    /// Returns that the thread has ended, which it does after an error.
    pub(crate) fn write(&mut self, batch: Batch) -> Result<Option<Synced>, String> {
        let is_kept = self.journal.as_mut().is_some_and(|journal| journal.keep(&batch));
        let kept = is_kept.then(|| batch.synced());
        self.batches.send(batch).map_err(|_| "the storage thread has ended".to_string())?;
        Ok(kept)
    }

    /// Records that [`WriteProgress`] has reported this.
    ///
    /// # Errors
    /// Returns the reason why this replica must stop.
    pub(crate) fn written(&mut self, synced: Synced) -> Result<(), String> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.written(synced.sync).map_err(|error| format!("the journal of the log: {error}"))
    }
}

fn run<D: Disk>(
    mut segments: Segments<D>,
    syncs: bool,
    pause: Option<Duration>,
    batches: &Receiver<Batch>,
    progress: &WriteProgress,
) -> bool {
    while let Ok(mut batch) = batches.recv() {
        let outcome = loop {
            if let Err(why) = segments.write(&batch) {
                break Err(why);
            }
            match batches.try_recv() {
                Ok(next) => batch = next,
                Err(_) if syncs => break segments.sync(),
                Err(_) => break Ok(()),
            }
        };
        let failed = outcome.is_err();
        progress.signal(outcome.map(|()| batch.synced()));
        if failed {
            return false;
        }
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
    }
    true
}
