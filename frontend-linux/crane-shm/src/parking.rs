//! Sleeping on a word of memory until another thread, or the other process, changes it (futex(2)).

use core::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex::{self, Flags, Timespec};

/// Whether the sleepers may be in another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only threads of this process (cheaper).
    Process,
    /// Any process that maps the word.
    Shared,
}

impl Scope {
    const fn flags(self) -> Flags {
        match self {
            Self::Process => Flags::PRIVATE,
            Self::Shared => Flags::empty(),
        }
    }
}

/// All sleepers: as many as the kernel can count.
const ALL: u32 = i32::MAX as u32;

/// Sleeps while `word` holds `expected`. May return early: the caller looks again.
pub fn sleep(word: &AtomicU32, expected: u32, scope: Scope) {
    // Each reason to return is a reason to look again.
    let _ = futex::wait(word, scope.flags(), expected, None);
}

/// As [`sleep`], but not longer than `nanoseconds`.
pub fn sleep_at_most(word: &AtomicU32, expected: u32, scope: Scope, nanoseconds: u64) {
    let limit = Timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    // As in `sleep`.
    let _ = futex::wait(word, scope.flags(), expected, Some(&limit));
}

/// Wakes up to `count` sleepers of `word`.
pub fn wake(word: &AtomicU32, count: u32, scope: Scope) {
    // An error would mean that the word is no memory, which its reference excludes.
    let _ = futex::wake(word, scope.flags(), count);
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
            wake(&self.rings, ALL, Scope::Shared);
        }
    }
}
