//! The thread that writes the log and waits for the disk, so that nothing else has to.
//!
//! What has piled up while one sync ran is written and synced together (group commit). A sync that
//! fails is never tried again: after it nobody knows what the disk holds (Rebello et al., "Can
//! Applications Recover from fsync Failures?", ATC 2020).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crane_core::paxos::WriteNumber;
use embassy_sync::signal::Signal;

use crate::thread_mutex::ThreadMutex;

use super::{Batch, segment_path};

/// How far the disk is, or why it goes no further. Only the last word counts.
pub type Progress = Arc<Signal<ThreadMutex, Result<WriteNumber, String>>>;

/// Where the log's bytes go.
#[derive(Debug)]
pub enum Storage {
    /// To the disk, by a thread; [`Progress`] tells when they are there.
    Synced(Sender<Batch>),
    /// To the system's memory, at once: they survive the daemon, not the host.
    Unsynced(Box<Segments>),
}

impl Storage {
    /// Storage that syncs.
    pub fn synced(directory: &Path) -> (Self, Progress) {
        let (sender, receiver) = channel();
        let progress = Progress::default();
        let (segments, told) = (Segments::new(directory), progress.clone());
        std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || run(segments, &receiver, &told))
            .expect("a thread can be started");
        (Storage::Synced(sender), progress)
    }

    /// Storage that does not.
    pub fn unsynced(directory: &Path) -> Self {
        Storage::Unsynced(Box::new(Segments::new(directory)))
    }

    /// Writes a batch. Says whether it counts as durable already.
    ///
    /// # Errors
    /// What the system refused; fatal.
    pub fn write(&mut self, batch: Batch) -> Result<Option<WriteNumber>, String> {
        match self {
            Storage::Synced(sender) => {
                sender.send(batch).map_err(|_| "the storage thread has ended".to_string())?;
                Ok(None)
            }
            Storage::Unsynced(segments) => {
                segments.write(&batch).map_err(|error| segments.describe("write", &error))?;
                Ok(Some(batch.up_to))
            }
        }
    }
}

fn run(mut segments: Segments, batches: &Receiver<Batch>, progress: &Progress) {
    while let Ok(mut batch) = batches.recv() {
        let outcome = loop {
            if let Err(error) = segments.write(&batch) {
                break Err(segments.describe("write", &error));
            }
            match batches.try_recv() {
                Ok(next) => batch = next,
                Err(_) => {
                    let synced = segments.sync();
                    break synced.map_err(|error| segments.describe("fdatasync", &error));
                }
            }
        };
        let failed = outcome.is_err();
        progress.signal(outcome.map(|()| batch.up_to));
        if failed {
            return;
        }
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub struct Segments {
    directory: PathBuf,
    open: Option<(u32, File)>,
}

impl Segments {
    fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), open: None }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        for chunk in &batch.chunks {
            if self.open.as_ref().is_none_or(|(number, _)| *number != chunk.segment) {
                self.turn_to(chunk.segment)?;
            }
            let (_, file) = self.open.as_ref().expect("just opened");
            file.write_all_at(&chunk.bytes, chunk.offset)?;
        }
        Ok(())
    }

    fn turn_to(&mut self, number: u32) -> io::Result<()> {
        self.sync()?;
        let path = segment_path(&self.directory, number);
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        File::open(&self.directory)?.sync_all()?;
        self.open = Some((number, file));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.open {
            Some((_, file)) => file.sync_data(),
            None => Ok(()),
        }
    }

    fn describe(&self, what: &str, error: &io::Error) -> String {
        let place = match &self.open {
            Some((number, _)) => segment_path(&self.directory, *number),
            None => self.directory.clone(),
        };
        format!(
            "{what} of {} failed: {error}; this replica stops, because it does not know what its \
             disk holds",
            place.display()
        )
    }
}
