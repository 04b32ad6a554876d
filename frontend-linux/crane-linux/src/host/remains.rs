//! The remains of the last run: its cell, while it ends, and its region, for its marks.

use crane_core::execution::Mark;
use crane_core::id::Slot;
use crane_shm::DaemonSide;
use tokio::process::Child;
use tracing::warn;

use super::server::mark_of;

/// The remains of runs that have ended.
#[derive(Default)]
pub(super) struct Remains {
    /// The cell of the last run.
    cell: Option<Child>,
    /// The region of the last run, until the next one begins.
    region: Option<DaemonSide>,
    /// The region of the incarnation before the present run's.
    marked: Option<DaemonSide>,
}

impl Remains {
    /// Keeps the remains of a run that has ended.
    pub(super) fn keep(&mut self, cell: Child, region: DaemonSide) {
        self.cell = Some(cell);
        free(self.region.replace(region));
    }

    /// Returns the cell of the last run, if it may still be ending.
    pub(super) fn take_cell(&mut self) -> Option<Child> {
        self.cell.take()
    }

    /// Begins the next run. Only one on the files of the last run needs its marks, and its cell,
    /// which is returned.
    pub(super) fn begin_run(&mut self, on_files: bool) -> Option<Child> {
        let (cell, region) = (self.cell.take(), self.region.take());
        let kept = if on_files { region } else { None };
        if kept.is_none() {
            free(region);
        }
        free(std::mem::replace(&mut self.marked, kept));
        cell.filter(|_| on_files)
    }

    /// Returns the hashes of the incarnation before at a slot.
    pub(super) fn mark(&self, slot: Slot) -> Option<Mark> {
        mark_of(self.marked?, slot)
    }
}

/// Gives the memory of a run that has ended back to the system.
pub(super) fn free(region: Option<DaemonSide>) {
    let Some(region) = region else { return };
    // SAFETY: the run's process has been dropped with its ends of the rings.
    if let Err(error) = unsafe { region.free() } {
        warn!("the memory of a server that has ended is not given back: error {error}");
    }
}
