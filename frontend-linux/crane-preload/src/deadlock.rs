//! A server of which no thread waits for anything that may come: no input, no time, no child, no
//! signal. Its threads wait for each other, for ever.
//!
//! A server in which a single thread waits for input is not looked at: a thread pool without work
//! waits for its own memory, too.

use core::fmt::Write;

use crane_core::execution::turn::{NEVER, ThreadId, WaitKey};
use crane_shm::sys;

use crate::execution::On;
use crate::notes;
use crate::outside;
use crate::trouble::Text;
use crate::world::World;

/// How long a server must have waited so, in nanoseconds. A signal from outside may end the wait,
/// as of a program that has not begun.
const REPORTED_AFTER: u64 = 1_200_000_000;
/// The threads that a report names.
const NAMED_MAX: usize = 4;

/// The time for which no thread has run, because none waits for anything that may come. Entries
/// that wake no thread do not end it.
#[derive(Default)]
pub(crate) struct StandStill {
    since: Option<u64>,
}

impl StandStill {
    /// Returns the time until it has to be reported, in nanoseconds, and begins it if it has not
    /// begun; `None` if it has to be reported now.
    pub(crate) fn rest(&mut self) -> Option<u64> {
        let now = moment();
        let since = *self.since.get_or_insert(now);
        REPORTED_AFTER.checked_sub(now.saturating_sub(since)).filter(|rest| *rest > 0)
    }

    /// Ends it: a thread waits for something that may come.
    pub(crate) fn end(&mut self) {
        self.since = None;
    }
}

/// Returns whether no thread waits for anything that may come. To be called when no thread is
/// runnable.
pub(crate) fn stands(world: &mut World) -> bool {
    // Nearly always, one of the first threads waits for input.
    waiting(world).all(|(_, key)| is_internal(key))
        && world.awaited == 0
        && world.run.turn.first_deadline() == NEVER
        && !outside::may_come(world)
}

/// Reports the deadlock to the daemon, once.
pub(crate) fn report(world: &mut World) {
    let mut text = Text::new();
    // A text that is cut is better than none.
    let _ = write!(
        text,
        "no thread of the server waits for input, a time, a child or a signal: its threads wait \
         for each other, and would without crane; look at them with a debugger"
    );
    let count = waiting(world).count();
    for (number, (thread, key)) in waiting(world).take(NAMED_MAX).enumerate() {
        let begin = if number == 0 { " (" } else { ", " };
        let own = world.threads[thread.0 as usize].tid;
        let _ = match ended_thread(world, key) {
            Some(other) => write!(text, "{begin}thread {own} waits for the end of thread {other}"),
            None => write!(text, "{begin}thread {own} waits for a lock or a condition"),
        };
    }
    let _ = match count.saturating_sub(NAMED_MAX) {
        0 => write!(text, ")"),
        more => write!(text, ", and {more} more)"),
    };
    notes::fault_once(world, "deadlock", text.as_str());
}

/// Returns the threads that wait, without the one that stands for timers.
fn waiting(world: &World) -> impl Iterator<Item = (ThreadId, WaitKey)> {
    let of_timers = world.timers.thread;
    let threads = (0..world.threads.len()).map(|number| ThreadId(number as u16));
    threads
        .filter(move |thread| Some(*thread) != of_timers)
        .filter_map(|thread| Some((thread, world.run.turn.waits_for(thread)?)))
}

/// Returns whether only a thread of this process can end a wait for `key`.
fn is_internal(key: WaitKey) -> bool {
    // User addresses are below 2^47.
    key.0 < 1 << 47 || key.0 >> 56 == On::End(ThreadId(0)).key().0 >> 56
}

/// Returns the number of the thread whose end ends a wait for `key`.
fn ended_thread(world: &World, key: WaitKey) -> Option<u32> {
    (key.0 >= 1 << 47).then(|| world.threads[(key.0 & 0xffff) as usize].tid)
}

/// Returns the time of this host in nanoseconds: the daemon alone hears of it.
fn moment() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let arguments = [libc::CLOCK_MONOTONIC as usize, (&raw mut now).addr(), 0, 0, 0, 0];
    // SAFETY: a place for the time.
    unsafe { sys::syscall(libc::SYS_clock_gettime, arguments) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
