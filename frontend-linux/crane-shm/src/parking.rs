//! Sleeping on a word of memory until another thread, or the other process, changes it (futex(2)).

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// Whether the sleepers may be in another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only threads of this process (cheaper).
    Process,
    /// Any process that maps the word.
    Shared,
}

impl Scope {
    const fn flag(self) -> i32 {
        match self {
            Self::Process => libc::FUTEX_PRIVATE_FLAG,
            Self::Shared => 0,
        }
    }
}

/// Sleeps while `word` holds `expected`. May return early: the caller looks again.
pub fn sleep(word: &AtomicU32, expected: u32, scope: Scope) {
    let operation = (libc::FUTEX_WAIT | scope.flag()) as usize;
    let arguments = [word.as_ptr() as usize, operation, expected as usize, 0, 0, 0];
    // SAFETY: the word is alive for the whole call; no timeout is passed.
    unsafe { sys::syscall(libc::SYS_futex, arguments) };
}

/// As [`sleep`], but not longer than `nanoseconds`.
pub fn sleep_at_most(word: &AtomicU32, expected: u32, scope: Scope, nanoseconds: u64) {
    let limit = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    let operation = (libc::FUTEX_WAIT | scope.flag()) as usize;
    let arguments =
        [word.as_ptr() as usize, operation, expected as usize, &raw const limit as usize, 0, 0];
    // SAFETY: word and timeout are alive for the whole call.
    unsafe { sys::syscall(libc::SYS_futex, arguments) };
}

/// Wakes up to `count` sleepers of `word`.
pub fn wake(word: &AtomicU32, count: u32, scope: Scope) {
    let operation = (libc::FUTEX_WAKE | scope.flag()) as usize;
    let arguments = [word.as_ptr() as usize, operation, count as usize, 0, 0, 0];
    // SAFETY: the word is alive for the whole call.
    unsafe { sys::syscall(libc::SYS_futex, arguments) };
}

/// A bell: one side rings it after it has published something, and wakes a sleeper of the other.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bell {
    rings: AtomicU32,
    sleepers: AtomicU32,
}

impl Bell {
    /// Returns the number for [`Bell::sleep_unless_rung_since`]. Call it *before* looking for work.
    pub fn listen(&self) -> u32 {
        self.sleepers.store(1, Ordering::SeqCst);
        self.rings.load(Ordering::SeqCst)
    }

    /// Sleeps until the bell is rung after `listen`, at most `nanoseconds`. May return early.
    pub fn sleep_unless_rung_since(&self, heard: u32, nanoseconds: u64) {
        sleep_at_most(&self.rings, heard, Scope::Shared, nanoseconds);
    }

    /// Ends the waiting: from now on ringing costs no system call.
    pub fn leave(&self) {
        self.sleepers.store(0, Ordering::SeqCst);
    }

    /// Rings, after everything that the sleeper should find has been published.
    pub fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            wake(&self.rings, u32::MAX, Scope::Shared);
        }
    }
}
