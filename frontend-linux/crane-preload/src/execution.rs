//! The program's execution at this frontend's capacities, and the things for which its threads
//! wait.

use crane_core::execution::Execution;
use crane_core::execution::conn_table::ConnTable;
use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::{ThreadId, WaitKey};

use crate::capacities::{CONNECTIONS, LISTENERS, THREADS};
use crate::descriptors::{TableEntry, TimerIndex};
use crate::processes;

/// The table of connections at this frontend's capacity.
pub(crate) type Connections = ConnTable<CONNECTIONS>;

/// The state machine of the run, at this frontend's capacities.
pub(crate) type ProgramExecution =
    Execution<THREADS, CONNECTIONS, LISTENERS, &'static mut Connections>;

/// The thing for which a thread waits. In its key, the kind is in the upper bits and the number in
/// the lower bits. The memory of each process is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum On {
    /// Memory: a mutex, a condition variable, a semaphore.
    Address(usize),
    /// A place in memory that processes share (see `memory`).
    Shared(u64),
    /// Time alone.
    Time(ThreadId),
    /// Something to read or accept at a description.
    Read(TableEntry),
    /// Room to write at a description.
    Write(TableEntry),
    /// Any of several descriptions (poll, select).
    Any,
    /// An epoll instance.
    Epoll(TableEntry),
    /// A thread's end.
    End(ThreadId),
    /// A signal for this thread.
    Signal(ThreadId),
    /// A child process that takes no part.
    Child,
    /// The end of a child of this process.
    Member(ProcessId),
    /// A process that was stopped goes on.
    Stopped(ProcessId),
    /// Timers: the number that is reserved for them.
    Timers,
    /// An expiration of a timer that calls a function.
    Expiration(TimerIndex),
    /// The next question to the kernel, after which the call is tried again.
    Retry,
    /// A lock of a file.
    FileLock,
    /// A message queue, or System V messages or semaphores.
    Queue,
}

impl On {
    /// Returns the key.
    #[inline]
    pub(crate) fn key(self) -> WaitKey {
        /// The first bit of the kind.
        const KIND: u32 = 60;
        /// Marks a process that is stopped.
        const STOPPED: u64 = 1 << 16;
        /// User addresses are below 2^47.
        const PROCESS: u32 = 47;
        WaitKey(match self {
            Self::Address(address) => u64::from(processes::own().0) << PROCESS | address as u64,
            Self::Shared(place) => 15 << KIND | place,
            Self::Time(thread) => 1 << KIND | u64::from(thread.0),
            Self::Read(place) => 2 << KIND | u64::from(place.0),
            Self::Write(place) => 3 << KIND | u64::from(place.0),
            Self::Any => 4 << KIND,
            Self::Epoll(place) => 5 << KIND | u64::from(place.0),
            Self::End(thread) => 6 << KIND | u64::from(thread.0),
            Self::Signal(thread) => 7 << KIND | u64::from(thread.0),
            Self::Child => 8 << KIND,
            Self::Member(process) => 14 << KIND | u64::from(process.0),
            Self::Stopped(process) => 14 << KIND | STOPPED | u64::from(process.0),
            Self::Timers => 10 << KIND,
            Self::Retry => 9 << KIND,
            Self::FileLock => 11 << KIND,
            Self::Queue => 12 << KIND,
            Self::Expiration(timer) => 13 << KIND | u64::from(timer.0),
        })
    }
}
