//! The program's execution at this frontend's capacities, and the things for which its threads
//! wait.

use crane_core::execution::Execution;
use crane_core::execution::conn_table::ConnTable;
use crane_core::execution::turn::{ThreadId, WaitKey};

use crate::capacities::{CONNECTIONS, LISTENERS, THREADS};
use crate::descriptors::{TableEntry, TimerIndex};

/// The table of connections at this frontend's capacity.
pub(crate) type Connections = ConnTable<CONNECTIONS>;

/// The state machine of the run, at this frontend's capacities.
pub(crate) type ProgramExecution =
    Execution<THREADS, CONNECTIONS, LISTENERS, &'static mut Connections>;

/// The thing for which a thread waits. In its key, the kind is in the upper bits and the number in
/// the lower bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum On {
    /// Memory: a mutex, a condition variable, a semaphore.
    Address(usize),
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
    /// A child process.
    Child,
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
    pub(crate) const fn key(self) -> WaitKey {
        WaitKey(match self {
            // User addresses are below 2^47.
            Self::Address(address) => address as u64,
            Self::Time(thread) => 1 << 56 | thread.0 as u64,
            Self::Read(place) => 2 << 56 | place.0 as u64,
            Self::Write(place) => 3 << 56 | place.0 as u64,
            Self::Any => 4 << 56,
            Self::Epoll(place) => 5 << 56 | place.0 as u64,
            Self::End(thread) => 6 << 56 | thread.0 as u64,
            Self::Signal(thread) => 7 << 56 | thread.0 as u64,
            Self::Child => 8 << 56,
            Self::Timers => 10 << 56,
            Self::Retry => 9 << 56,
            Self::FileLock => 11 << 56,
            Self::Queue => 12 << 56,
            Self::Expiration(timer) => 13 << 56 | timer.0 as u64,
        })
    }
}
