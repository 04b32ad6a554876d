//! Facts of each process beside the table of processes: the thread that has made it, and whether a
//! signal has stopped it. Their effects are in `parents` and `stops`.

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::ThreadId;
use libc::c_int;

use crate::capacities::PROCESSES;

/// By process: the thread that has made it, or has taken that thread's place.
pub(crate) struct Makers([ThreadId; PROCESSES]);

impl Makers {
    /// Creates the table before the first child.
    pub(crate) const fn new() -> Self {
        Self([ThreadId(0); PROCESSES])
    }

    /// Records the thread that makes a process.
    pub(crate) fn set(&mut self, child: ProcessId, maker: ThreadId) {
        self.0[usize::from(child.0)] = maker;
    }

    /// Returns the parent of a process among the threads of its parent process.
    pub(crate) fn of(&self, child: ProcessId) -> ThreadId {
        self.0[usize::from(child.0)]
    }
}

/// The part of a process in this: whether a signal has stopped it.
#[derive(Clone, Copy)]
pub(crate) struct StopState {
    /// The signal that has stopped it, or 0.
    pub by: c_int,
    /// The last change, if no call of wait(2) has reported it: a status as it returns it, or 0.
    pub news: c_int,
}

/// By process: whether it is stopped.
pub(crate) struct Stops {
    states: [StopState; PROCESSES],
    /// The number of those that are stopped.
    count: u32,
}

impl Stops {
    const NONE: StopState = StopState { by: 0, news: 0 };

    /// Creates the table before the first stop.
    pub(crate) const fn new() -> Self {
        Self { states: [Self::NONE; PROCESSES], count: 0 }
    }

    /// The part of a process.
    pub(crate) fn at(&mut self, process: ProcessId) -> &mut StopState {
        &mut self.states[usize::from(process.0)]
    }

    /// Returns whether a process is stopped.
    #[inline]
    pub(crate) fn holds(&self, process: ProcessId) -> bool {
        self.count != 0 && self.states[usize::from(process.0)].by != 0
    }

    /// Stops a process that runs, by a signal.
    pub(crate) fn stop(&mut self, process: ProcessId, by: c_int, news: c_int) {
        *self.at(process) = StopState { by, news };
        self.count += 1;
    }

    /// Lets a process run again.
    pub(crate) fn release(&mut self, process: ProcessId) {
        self.count -= u32::from(self.at(process).by != 0);
        self.at(process).by = 0;
    }
}

/// The word of a process that says what it wishes to hear of its children (see `service`): nothing
/// of their ends; nothing of their stops.
pub(crate) const FORGETS: u32 = 1;
pub(crate) const HEARS_NO_STOPS: u32 = 2;
