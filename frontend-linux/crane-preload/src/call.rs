//! The calls of the schedule.

/// Calls, by the numbers that go into the schedule hash. Never renumbered: replicas of two versions
/// would differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(crate) enum Call {
    Create = 1,
    Join = 2,
    Detach = 3,
    ThreadEnd = 4,
    Lock = 5,
    TryLock = 6,
    Unlock = 7,
    Wait = 8,
    Wake = 9,
    Barrier = 10,
    Once = 11,
    Sleep = 12,
    Yield = 13,
    Socket = 14,
    Bind = 15,
    Listen = 16,
    Accept = 17,
    Receive = 18,
    Send = 19,
    Shutdown = 20,
    Close = 21,
    Duplicate = 22,
    Name = 23,
    Option = 24,
    Poll = 25,
    EpollControl = 26,
    Channel = 27,
    Time = 28,
    Random = 29,
    Fork = 30,
    Cancel = 31,
    TestCancel = 32,
    Exec = 33,
    Signal = 34,
    Futex = 35,
    Splice = 36,
    FileLock = 37,
    Queue = 38,
    // 39 and 40 are free: 40 was to ask for a child process, which is no call any more.
    Timer = 41,
    Affinity = 42,
    Exit = 43,
    Child = 44,
}

impl Call {
    /// Returns whether a cancelled thread ends here (pthreads(7), cancellation points).
    pub(crate) fn is_cancellation_point(self) -> bool {
        use Call::{Accept, Join, Poll, Receive, Send, Sleep, TestCancel, Wait};
        matches!(self, Accept | Join | Poll | Receive | Send | Sleep | TestCancel | Wait)
    }
}
