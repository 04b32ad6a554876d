//! The objects behind descriptions, and what is known of them.

use crane_core::execution::socket::{ConnIndex, ListenerIndex};
use libc::{c_int, pid_t};

use crate::numbers::TableEntry;

/// The place of a timer in its table (see `timers`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerIndex(pub u16);

/// The object behind a description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DescriptionKind {
    /// A TCP socket that is neither listening nor connected.
    Socket,
    /// A listening socket.
    Listener(ListenerIndex),
    /// A client's connection.
    Conn(ConnIndex),
    /// An epoll instance.
    Epoll,
    /// One end of a pipe, socket pair or eventfd between threads; `peer` is the other end.
    Channel {
        /// The other end's description, or this one.
        peer: TableEntry,
    },
    /// A timerfd.
    Timer(TimerIndex),
    /// The source of random bytes.
    Random,
    /// An object that only the kernel knows.
    Kernel,
}

/// The process that a description stands for (pidfd_open(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OfProcess {
    /// The kernel's number of the process.
    pub number: i32,
    /// Whether the process has ended.
    pub ended: bool,
}

/// `F_OWNER_TID`, `F_OWNER_PID` and `F_OWNER_PGRP` of fcntl(2).
pub(crate) const THREAD: c_int = 0;
pub(crate) const PROCESS: c_int = 1;
pub(crate) const GROUP: c_int = 2;

/// The object that tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Teller {
    /// A socket: it is silent while a thread waits to read at it.
    Socket,
    /// The end of a pipe from which is read.
    Reader,
    /// The end to which is written.
    Writer,
}

/// The wish of a description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Notice {
    /// The number by which the program has turned it on, if it is on, and what tells.
    pub on: Option<(c_int, Teller)>,
    /// The kind of the owner.
    pub kind: c_int,
    /// Its number, or 0 for none.
    pub owner: pid_t,
    /// The signal, or 0 for SIGIO without a word of what it tells of.
    pub signal: c_int,
}

impl Notice {
    /// No wish.
    pub(crate) const NONE: Self = Self { on: None, kind: PROCESS, owner: 0, signal: 0 };
}

/// The reason of a signal (sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoticeReason {
    /// Something to read, or the end.
    In,
    /// Room to write.
    Out,
    /// An error.
    Error,
    /// The other side is gone.
    HangUp,
}

impl NoticeReason {
    /// Returns its code, and its band: the conditions as the flags of poll.
    pub(crate) fn code_and_band(self) -> (c_int, c_int) {
        match self {
            Self::In => (1, (libc::POLLIN | libc::POLLRDNORM).into()),
            Self::Out => (2, (libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND).into()),
            Self::Error => (4, libc::POLLERR.into()),
            Self::HangUp => (6, (libc::POLLHUP | libc::POLLERR).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_kernel() {
        assert_eq!(NoticeReason::In.code_and_band(), (1, 0x41));
        assert_eq!(NoticeReason::Out.code_and_band(), (2, 0x304));
        assert_eq!(NoticeReason::Error.code_and_band(), (4, 8));
        assert_eq!(NoticeReason::HangUp.code_and_band(), (6, 0x18));
    }
}
