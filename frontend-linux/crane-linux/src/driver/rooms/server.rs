//! The server's run as this replica sees it, and how it ended before.

use crane_core::id::Slot;
use crane_core::time::Instant;

use super::super::host::ServerView;

/// The server as this replica has it.
#[derive(Debug, Default)]
pub(in crate::driver) struct Server {
    /// The present run, if there is one.
    pub(in crate::driver) run: Option<ServerRun>,
    /// Runs that were started. The last one has this number.
    pub(in crate::driver) runs: u64,
    /// The script can be fed, so the server may start.
    pub(in crate::driver) wanted: bool,
    /// When the server is built again, unless the others' have ended as well by then.
    pub(in crate::driver) rebuild_at: Option<Instant>,
    /// The clock at which the program ended last, and how often it did there.
    pub(in crate::driver) last_end: Option<(u64, u32)>,
    /// This replica has ended it itself, for this reason.
    pub(in crate::driver) stopped_for: Option<String>,
    /// The present run has listened at a port.
    pub(in crate::driver) has_listened: bool,
    /// The last run ended before it listened at any port.
    pub(in crate::driver) ended_early: bool,
    /// How the cell of the last run was made.
    pub(in crate::driver) cell: Option<&'static str>,
}

/// One run of the server's program, whose script can be fed.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct ServerRun {
    /// The last slot that it was given.
    pub(in crate::driver) fed: Slot,
    /// The last view of it.
    pub(in crate::driver) view: Option<ServerView>,
}

impl Server {
    /// Lets the server start.
    pub(in crate::driver) fn want(&mut self) {
        self.wanted = true;
    }

    /// Returns what was seen of the running server last.
    pub(in crate::driver) fn view(&self) -> Option<&ServerView> {
        self.run.as_ref()?.view.as_ref()
    }

    pub(in crate::driver) fn connections(&self) -> u64 {
        self.view().map_or(0, |view| view.connections)
    }

    pub(in crate::driver) fn time_deadline(&self) -> u64 {
        self.view().map_or(u64::MAX, |view| view.deadline)
    }

    pub(in crate::driver) fn deadline(&self) -> Option<Instant> {
        self.rebuild_at
    }
}
