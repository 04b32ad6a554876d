//! The server's run as this replica sees it, and the ends of earlier runs.

use crane_core::id::{Incarnation, Slot};
use crane_core::time::{Duration, Instant};

use super::super::host::ServerView;
use super::Restart;

/// The time after which a server that has taken no entry is not expected to take one soon.
const TAKES_WITHIN: Duration = Duration::from_millis(500);

/// The state of this replica's server.
#[derive(Debug, Default)]
pub(in crate::driver) struct Server {
    /// The present run, if there is one.
    pub(in crate::driver) run: Option<ServerRun>,
    /// The number of runs that were started, which is the number of the last one.
    pub(in crate::driver) runs: u64,
    /// Whether the script can be fed, so that the server may start.
    pub(in crate::driver) wanted: bool,
    /// Whether a run was started and is not ready yet.
    pub(in crate::driver) starting: bool,
    /// The incarnation of the last run.
    pub(in crate::driver) incarnation: Incarnation,
    /// The restart behind which the last run began, if it began on the files of a run before.
    pub(in crate::driver) behind: Option<Restart>,
    /// The restart behind which the next run begins, on the files of the last one.
    pub(in crate::driver) continues: Option<Restart>,
    /// Whether the last run's files may be wrong, so that no run begins on them.
    pub(in crate::driver) files_are_wrong: bool,
    /// Whether the program has crashed on a quorum, so that the next run waits for a restart.
    pub(in crate::driver) awaits_restart: bool,
    /// The last restart after a crash that this server has reached without it.
    pub(in crate::driver) missed_crash: Option<Slot>,
    /// Until when a run that starts, or has taken an entry, is expected to take another one.
    pub(in crate::driver) takes_until: Instant,
    /// When the server is built again, unless the other servers have ended as well by then.
    pub(in crate::driver) rebuild_at: Option<Instant>,
    /// When this replica leaves, because the program has ended by itself, although other servers
    /// have not reported their end.
    pub(in crate::driver) leave_at: Option<Instant>,
    /// When this replica leaves if the program has crashed too often.
    pub(in crate::driver) stops_at: Option<Instant>,
    /// The last ends of the program by itself.
    pub(in crate::driver) last_end: Ends,
    /// Whether the next run waits for room on the disk of the server's files, because the last run
    /// ended for want of it, or may have.
    pub(in crate::driver) awaits_room: bool,
    /// The last ends of the program by a full disk.
    pub(in crate::driver) last_full: Ends,
    /// The last end of a server for which this host had failed.
    pub(in crate::driver) last_fault: Ends,
    /// The reason for which this replica itself ended the server, if it did.
    pub(in crate::driver) stopped_for: Option<String>,
    /// Whether the run is being ended so that the next one proves a checkpoint.
    pub(in crate::driver) proves_next: bool,
    /// Whether the present run has listened at a port.
    pub(in crate::driver) has_listened: bool,
    /// Whether the last run ended before it listened at a port.
    pub(in crate::driver) ended_early: bool,
    /// The kind of the last run's cell.
    pub(in crate::driver) cell: Option<&'static str>,
}

/// The ends of the program at one clock of one incarnation, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver) struct Ends {
    /// The incarnation and the clock.
    at: (Incarnation, u64),
    /// The number of ends there.
    pub(in crate::driver) times: u32,
}

impl Ends {
    /// Counts one more end. Ends at another clock are forgotten.
    pub(in crate::driver) fn count(&mut self, incarnation: Incarnation, clock: u64) {
        let at = (incarnation, clock);
        self.times = if self.at == at { self.times + 1 } else { 1 };
        self.at = at;
    }
}

/// One run of the server's program, whose script can be fed.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct ServerRun {
    /// The last slot that the run was given.
    pub(in crate::driver) fed: Slot,
    /// The last view of the run.
    pub(in crate::driver) view: Option<ServerView>,
}

impl Server {
    /// Expects the server to take an entry soon: it starts, or has just taken one.
    pub(in crate::driver) fn expect_taking(&mut self, now: Instant) {
        self.takes_until = now + TAKES_WITHIN;
    }

    /// Lets the server start.
    pub(in crate::driver) fn want(&mut self) {
        self.wanted = true;
    }

    /// Returns the last view of the running server.
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
        [self.rebuild_at, self.leave_at, self.stops_at].into_iter().flatten().min()
    }
}
