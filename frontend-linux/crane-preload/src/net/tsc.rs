//! Reads of the processor's time stamp counter (TSC), by the instructions `rdtsc` and `rdtscp`,
//! which are no system calls.
//!
//! While a thread *forbids* them (`PR_SET_TSC` of prctl(2)), they raise SIGSEGV. With a floor the
//! thread then gets agreed time in their place, in nanoseconds; else the first read is noted, like
//! a call that bypasses the hooks. Where threads sleep and wake, the setting may cost microseconds
//! each time. So without `--strict` it does not always hold. With a floor it holds until the
//! program has listened for a while, and in *windows* of the logical clock, which are the same on
//! all replicas; if a read is seen, it holds for good. Without a floor it holds until the program
//! listens, and for a number of hooked calls in each round.

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

/// When reads are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watched {
    /// Always.
    Always,
    /// Until the program has listened for a while, and in windows, as long as no read is seen.
    InWindows,
    /// Until the program listens, and in samples of each thread's calls.
    InSamples,
}

/// The calls from one window to the next, and those of each.
const WINDOWS_EVERY: u64 = 1 << 14;
const WINDOW: u64 = 64;

/// Whether the first window, which begins with the program and lasts for the time of one to two
/// others behind its first listen, is still to pass a closing.
static IS_FIRST: AtomicBool = AtomicBool::new(true);

/// Whether there are windows, because no read was seen.
static HAS_WINDOWS: AtomicBool = AtomicBool::new(false);

/// The bit that each armed thread's word has now; 0 where threads are watched in samples, and
/// between windows.
static NOW: AtomicU64 = AtomicU64::new(0);

/// Lets reads be watched from now on.
pub(super) fn begin(watched: Watched, clock: ReadClock) {
    // A process begins once.
    let _ = CLOCK.set(clock);
    HAS_WINDOWS.store(watched == Watched::InWindows, Ordering::SeqCst);
    let now = if watched == Watched::InSamples { 0 } else { FORBIDS };
    set_now(now);
}

/// Ends the start of the program.
pub(super) fn end_start() {
    STARTS.store(false, Ordering::Relaxed);
}

/// Opens a window or closes one, if it is due at this value of the logical clock. The calling
/// thread holds the turn.
#[inline]
pub(crate) fn pass(clock: u64) {
    if is_edge(clock) {
        pass_edge(clock.is_multiple_of(WINDOWS_EVERY));
    }
}

/// Returns whether a window opens or closes at this value of the logical clock, if there are any.
#[inline]
pub(super) const fn is_edge(clock: u64) -> bool {
    let place = clock % WINDOWS_EVERY;
    place == 0 || place == WINDOW
}

#[cold]
fn pass_edge(opens: bool) {
    if !HAS_WINDOWS.load(Ordering::Relaxed) || STARTS.load(Ordering::Relaxed) {
        return;
    }
    if opens {
        set_now(FORBIDS);
    } else if !IS_FIRST.swap(false, Ordering::Relaxed) {
        set_now(0);
    }
}

/// Records that the program reads, so that each read is watched from now on. The calling thread
/// holds the turn.
pub(super) fn found() {
    if HAS_WINDOWS.swap(false, Ordering::Relaxed) {
        set_now(FORBIDS);
    }
}

/// Returns agreed time, as a call of the thread.
pub(super) fn now() -> u64 {
    CLOCK.get().map_or(0, |clock| clock())
}

/// Returns the bit that each armed thread has in its word now, or 0 where they are watched in
/// samples, and between windows.
#[inline]
pub(super) fn wanted() -> u64 {
    NOW.load(Ordering::Relaxed)
}

fn set_now(now: u64) {
    NOW.store(now, Ordering::SeqCst);
    selector::forget_known();
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
    let left = if wanted() == 0 { SAMPLE } else { 0 };
    set_word(selector::with_left(word(), left) | FORBIDS);
}

/// Gives the calling thread, which was just armed, the setting that it must have now.
pub(super) fn settle() {
    if HAS_WINDOWS.load(Ordering::Relaxed) && wanted() == 0 {
        permit_always();
    } else {
        forbid();
    }
}

/// Does the same for a thread that was armed before, and whose word was this.
pub(super) fn settle_again(before: u64) {
    let is_forbidden = before & FORBIDS != 0;
    if wanted() != 0 && !is_forbidden {
        forbid();
    } else if wanted() == 0 && is_forbidden && HAS_WINDOWS.load(Ordering::Relaxed) {
        permit();
    }
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
