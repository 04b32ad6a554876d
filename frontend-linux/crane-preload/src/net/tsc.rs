//! Reads of the processor's time stamp counter (TSC), by the instructions `rdtsc` and `rdtscp`,
//! which are no system calls.
//!
//! While a thread *forbids* them (`PR_SET_TSC` of prctl(2)), they raise SIGSEGV. With a floor the
//! thread then gets agreed time in their place, in nanoseconds; else the first read is noted, like
//! a call that bypasses the hooks. Where threads sleep and wake, the setting may cost microseconds
//! each time. So without a floor, and without `--strict`, it holds in samples only: until the
//! program listens, and for a number of hooked calls in each round.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crane_shm::sys;

use super::selector::{self, FORBIDS, set_word, word};

/// The number of hooked calls in each round during which a thread is watched.
const SAMPLE: u64 = 64;

/// Returns agreed time in nanoseconds, as a call of the thread.
pub(crate) type ReadClock = fn() -> u64;

/// The function that answers, once the net is spread.
static CLOCK: OnceLock<ReadClock> = OnceLock::new();

/// Whether the program has not listened yet.
static STARTS: AtomicBool = AtomicBool::new(true);

/// The bit that each armed thread's word has; 0 where threads are watched in samples.
static ALWAYS: AtomicU64 = AtomicU64::new(0);

/// Lets reads be watched from now on.
pub(super) fn begin(is_always: bool, clock: ReadClock) {
    // A process begins once.
    let _ = CLOCK.set(clock);
    let always = if is_always { FORBIDS } else { 0 };
    ALWAYS.store(always, Ordering::SeqCst);
}

/// Ends the start of the program.
pub(super) fn end_start() {
    STARTS.store(false, Ordering::Relaxed);
}

/// Returns agreed time, as a call of the thread.
pub(super) fn now() -> u64 {
    CLOCK.get().map_or(0, |clock| clock())
}

/// Returns the bit that each armed thread's word has, or 0 where threads are watched in samples.
#[inline]
pub(super) fn always() -> u64 {
    ALWAYS.load(Ordering::Relaxed)
}

fn set(setting: i32) {
    let arguments = [libc::PR_SET_TSC as usize, setting as usize, 0, 0, 0, 0];
    // SAFETY: prctl with this option touches no memory.
    unsafe { sys::syscall(libc::SYS_prctl, arguments) };
}

/// Makes reads of the calling thread, which was just armed, raise SIGSEGV.
pub(super) fn forbid() {
    if CLOCK.get().is_none() {
        return;
    }
    set(libc::PR_TSC_SIGSEGV);
    let left = if always() == 0 { SAMPLE } else { 0 };
    set_word(selector::with_left(word(), left) | FORBIDS);
}

/// Lets the calling thread read.
pub(super) fn permit() {
    if word() & FORBIDS != 0 {
        permit_always();
    }
}

/// Lets a thread read that may have inherited the setting from the one that made it.
pub(super) fn permit_always() {
    if CLOCK.get().is_some() {
        set(libc::PR_TSC_ENABLE);
        set_word(selector::with_left(word(), 0) & !FORBIDS);
    }
}

/// Counts a hooked call of an armed thread in a sample. Returns whether it is in one.
pub(super) fn count() -> bool {
    let now = word();
    let left = selector::left(now);
    if !selector::is_blocking(now) || left == 0 {
        return false;
    }
    if STARTS.load(Ordering::Relaxed) {
        return true;
    }
    set_word(selector::with_left(now, left - 1));
    if left == 1 {
        permit();
    }
    true
}

/// Proof that the calling thread, and a process or program that it makes, may read for a while.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Permit {
    was_forbidden: bool,
}

impl Permit {
    /// Changes nothing.
    pub(crate) const fn none() -> Self {
        Self { was_forbidden: false }
    }

    /// Lets the calling thread read.
    pub(crate) fn take() -> Self {
        let was_forbidden = word() & FORBIDS != 0;
        permit();
        Self { was_forbidden }
    }

    /// Restores the setting before, in the thread that has the permit.
    pub(crate) fn give_back(self) {
        if self.was_forbidden {
            forbid();
        }
    }
}
