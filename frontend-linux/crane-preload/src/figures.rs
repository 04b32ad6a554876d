//! The figures of a host that the server sees: those of the genesis entry, whatever this host has.
//!
//! They are constants, so a hook that answers with them is no call of the schedule. A child process
//! sees them as well, because the numbers that it derives from them often reach its parent.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crane_core::wire::HostFigures;

/// The number of bytes in a page.
const PAGE: u64 = 4096;

static PROCESSORS: AtomicU32 = AtomicU32::new(0);
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Sets the figures, before the program's first instruction.
pub(crate) fn set(figures: HostFigures) {
    MEMORY.store(figures.memory, Ordering::SeqCst);
    PROCESSORS.store(figures.processors, Ordering::SeqCst);
}

/// Returns the number of processors, or `None` if the program takes no part.
#[inline]
pub(crate) fn processors() -> Option<u32> {
    match PROCESSORS.load(Ordering::Relaxed) {
        0 => None,
        count => Some(count),
    }
}

/// The memory that the server sees, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub all: u64,
    /// The part that is free, which never changes.
    pub free: u64,
}

/// Returns the memory, or `None` if the program takes no part.
pub(crate) fn memory() -> Option<Memory> {
    let all = MEMORY.load(Ordering::Relaxed);
    (all != 0).then_some(Memory { all, free: all / 2 })
}

/// Returns a number of bytes in pages.
pub(crate) fn pages(bytes: u64) -> i64 {
    (bytes / PAGE) as i64
}
