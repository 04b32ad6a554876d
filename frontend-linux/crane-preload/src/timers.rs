//! The table of the program's timers, which expire by agreed time (see `expirations`).

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::{NEVER, ThreadId};

use crate::descriptors::{TableEntry, TimerIndex};
use crate::processes;

/// The number of timers that can exist at the same time.
pub(crate) const TIMERS: usize = 1024;

/// The effect of an expiration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expires {
    /// No effect: the place is free.
    Free,
    /// The expiration counts at a descriptor, which the program may read.
    Descriptor(TableEntry),
    /// `SIGALRM` for the process.
    Alarm,
    /// A signal.
    Signal(Signal),
    /// A call of a function, in the thread of the timer.
    Thread,
    /// None: the program asks for the time that is left.
    Count,
    /// None: the timer is deleted, and its thread has not ended.
    Deleted,
}

/// The signal of a timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signal {
    /// The signal's number.
    pub number: i32,
    /// The thread that it is for; `None`: the process.
    pub thread: Option<ThreadId>,
    /// The program's own word.
    pub value: usize,
    /// The number of the timer.
    pub timer: i32,
}

/// A timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// The effect of an expiration.
    pub expires: Expires,
    /// The process that made it.
    pub process: ProcessId,
    /// The clock with which the program made the timer.
    pub clock: libc::clockid_t,
    /// The agreed time of the next expiration, or [`NEVER`] if the timer is stopped.
    pub next: u64,
    /// The time between expirations, or 0 if the timer expires once.
    pub interval: u64,
    /// The expirations that came together with the last one.
    pub overrun: u32,
    /// The expirations for which the function was not called yet.
    pub unserved: u64,
}

const FREE: Timer = Timer {
    expires: Expires::Free,
    process: ProcessId::FIRST,
    clock: 0,
    next: NEVER,
    interval: 0,
    overrun: 0,
    unserved: 0,
};

/// All timers.
pub(crate) struct Timers {
    table: [Timer; TIMERS],
    /// An upper bound of every place that was ever used.
    used_below: usize,
    /// The number in the turn that waits for timers, or `None` if the program has never started a
    /// timer.
    pub thread: Option<ThreadId>,
    /// The agreed time of the first expiration.
    pub next: u64,
}

impl Timers {
    /// Creates a table without timers.
    pub(crate) const fn new() -> Self {
        Self { table: [FREE; TIMERS], used_below: 0, thread: None, next: NEVER }
    }

    /// Makes a timer, which is stopped, or returns `None` if the table is full.
    pub(crate) fn make(&mut self, expires: Expires, clock: libc::clockid_t) -> Option<TimerIndex> {
        let index = self.table.iter().position(|timer| timer.expires == Expires::Free)?;
        self.table[index] = Timer { expires, process: processes::own(), clock, ..FREE };
        self.used_below = self.used_below.max(index + 1);
        Some(TimerIndex(index as u16))
    }

    /// Frees the timers of a process, but for those behind descriptors, and one that stays.
    pub(crate) fn free_all_of(&mut self, process: ProcessId, stays: Option<TimerIndex>) {
        for (index, timer) in self.table[..self.used_below].iter_mut().enumerate() {
            let stays = stays.is_some_and(|stays| usize::from(stays.0) == index)
                || matches!(timer.expires, Expires::Descriptor(_));
            if timer.process == process && !stays {
                *timer = FREE;
            }
        }
    }

    /// Frees the place of a timer.
    pub(crate) fn free(&mut self, timer: TimerIndex) {
        *self.at(timer) = FREE;
    }

    /// A timer.
    pub(crate) fn at(&mut self, timer: TimerIndex) -> &mut Timer {
        &mut self.table[usize::from(timer.0)]
    }

    /// Finds the timer that is due first. If several are due at that time, it is the first in the
    /// table.
    pub(crate) fn first(&self) -> Option<(u64, TimerIndex)> {
        let timers = self.table[..self.used_below].iter().enumerate();
        let started = timers.filter(|(_, timer)| timer.next != NEVER);
        let first = started.map(|(index, timer)| (timer.next, index as u16)).min();
        first.map(|(next, index)| (next, TimerIndex(index)))
    }
}
