//! The program's execution at this frontend's capacities, and what its threads wait for.

use crane_core::execution::Execution;
use crane_core::execution::turn::{ThreadId, WaitKey};

use crate::descriptors::TableEntry;

/// Threads of the server at a time.
pub(crate) const THREADS: usize = 1024;
/// Connections at a time.
pub(crate) const CONNECTIONS: usize = 4096;
/// Listening sockets at a time.
pub(crate) const LISTENERS: usize = 64;

/// The run's state machine at this frontend's capacities.
pub(crate) type ProgramExecution = Execution<THREADS, CONNECTIONS, LISTENERS>;

/// The thing that a thread waits for; as a key, its kind is in the upper bits, its number in the
/// lower ones.
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
    /// The next time that the kernel is asked: the call is then tried again.
    Retry,
    /// A lock of a file.
    FileLock,
    /// A message queue, or System V messages or semaphores.
    Queue,
}

impl On {
    /// As a key.
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
        })
    }
}
