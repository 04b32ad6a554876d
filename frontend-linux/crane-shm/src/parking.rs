//! Sleeping on a word of memory until another thread, or the other process, changes it (futex(2)).

use core::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex::{self, Flags, Timespec};

/// The processes in which the sleepers may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The sleepers are threads of this process, which is cheaper.
    Process,
    /// The sleepers may be in any process that maps the word.
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

/// The number that wakes all sleepers, which is the largest that the kernel can count.
const ALL: u32 = i32::MAX as u32;

/// Sleeps while `word` holds `expected`. May return early, so the caller checks again.
pub fn sleep(word: &AtomicU32, expected: u32, scope: Scope) {
    // The caller checks again after any return.
    let _ = futex::wait(word, scope.flags(), expected, None);
}

/// Sleeps as [`sleep`] does, but at most `nanoseconds`.
pub fn sleep_at_most(word: &AtomicU32, expected: u32, scope: Scope, nanoseconds: u64) {
    let limit = Timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    // As in `sleep`.
    let _ = futex::wait(word, scope.flags(), expected, Some(&limit));
}

/// Wakes up to `count` threads that sleep on `word`.
pub fn wake(word: &AtomicU32, count: u32, scope: Scope) {
    // An error would mean that the word is not mapped, which its reference excludes.
    let _ = futex::wake(word, scope.flags(), count);
}

/// A bell, which one side rings after it has published something, to wake a sleeper of the other
/// side.
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

    /// Sleeps until the bell rings after `listen`, at most `nanoseconds`. May return early.
    pub fn sleep_unless_rung_since(&self, heard: u32, nanoseconds: u64) {
        sleep_at_most(&self.rings, heard, Scope::Shared, nanoseconds);
    }

    /// Ends the wait. From now on, ringing costs no system call.
    pub fn leave(&self) {
        self.sleepers.store(0, Ordering::SeqCst);
    }

    /// Rings the bell. Call it after publishing everything that the sleeper should find.
    pub fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            wake(&self.rings, ALL, Scope::Shared);
        }
    }
}
