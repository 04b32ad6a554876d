//! The server's run: its cell, its rings, and how it ended before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};

use crane_core::id::{Generation, Slot};
use crane_core::time::Instant;
use crane_shm::{DaemonSide, HashMark, RingReader, RingWriter};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::process::Child;

use crate::cell::{self};

/// The server as this replica has it.
#[derive(Debug, Default)]
pub(in crate::driver) struct Server {
    pub(in crate::driver) run: Option<Box<ServerRun>>,
    pub(in crate::driver) runs: u64,
    pub(in crate::driver) wanted: bool,
    pub(in crate::driver) rebuild_at: Option<Instant>,
    /// The clock at which the program ended last, and how often it did there.
    pub(in crate::driver) last_end: Option<(u64, u32)>,
    /// It ended before it listened at any port.
    pub(in crate::driver) ended_early: bool,
    pub(in crate::driver) cell: Option<&'static str>,
}

/// One run of the server's program.
#[derive(Debug)]
pub(in crate::driver) struct ServerRun {
    pub(in crate::driver) number: u64,
    pub(in crate::driver) region: DaemonSide,
    pub(in crate::driver) script: RingWriter,
    pub(in crate::driver) output: RingReader,
    pub(in crate::driver) wake: pipe::Receiver,
    pub(in crate::driver) cell: Child,
    /// The last slot that it was given.
    pub(in crate::driver) fed: Slot,
}

impl Server {
    /// The script can be fed: the server may start.
    pub(in crate::driver) fn want(&mut self) {
        self.wanted = true;
    }

    pub(in crate::driver) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The present run, to work with while the driver is used for something else.
    pub(in crate::driver) fn take(&mut self) -> Option<Box<ServerRun>> {
        self.run.take()
    }

    pub(in crate::driver) fn put_back(&mut self, run: Box<ServerRun>) {
        self.run = Some(run);
    }

    pub(in crate::driver) fn region(&self) -> Option<DaemonSide> {
        self.run.as_ref().map(|run| run.region)
    }

    pub(in crate::driver) fn connections(&self) -> u64 {
        self.region().map_or(0, DaemonSide::connections)
    }

    pub(in crate::driver) fn time_deadline(&self) -> u64 {
        self.region().map_or(u64::MAX, DaemonSide::deadline)
    }

    pub(in crate::driver) fn deadline(&self) -> Option<Instant> {
        self.rebuild_at
    }

    pub(in crate::driver) fn watch_state(&self, watch: bool) {
        if let Some(region) = self.region() {
            region.set_watch_state(watch);
        }
    }

    pub(in crate::driver) fn set_first_generation(&self, generation: Generation) {
        if let Some(region) = self.region() {
            region.set_first_generation(generation.0);
        }
    }

    pub(in crate::driver) fn mark(&self, slot: u64) -> Option<HashMark> {
        self.region()?.mark(slot)
    }

    pub(in crate::driver) fn cell(&self) -> Option<&'static str> {
        self.cell
    }

    pub(in crate::driver) fn process(&self) -> Option<u32> {
        cell::server_process(self.run.as_ref()?.cell.id()?)
    }

    /// Waits until the server's process has something for the driver.
    pub(in crate::driver) async fn woken(&self) -> io::Result<()> {
        match &self.run {
            Some(run) => run.wake.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Hears what was rung, before the driver looks: what comes later rings again.
    pub(in crate::driver) fn listen_to_wakes(&mut self) {
        let Some(run) = &mut self.run else { return };
        // One read: more than a byte or two never waits, since a wake is sent only after the one
        // before was heard. `poll_read` marks an emptied pipe as not readable; `try_read` does not.
        let mut space = [0; 64];
        let mut context = Context::from_waker(Waker::noop());
        let mut buffer = ReadBuf::new(&mut space);
        let _ = Pin::new(&mut run.wake).poll_read(&mut context, &mut buffer);
        run.region.hear_wake();
    }
}
