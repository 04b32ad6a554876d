//! Calls that bypass the hooks, by kind: the call's number and the place that makes it.
//!
//! The server's side finds them in a signal handler, so a kind claims its cell by one exchange, and
//! a second occurrence costs one addition. The daemon reads the cells in order, each once.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The number of kinds that are told apart. Further kinds are counted only.
pub const BYPASSES: usize = 64;

/// The maximum number of stack words that are kept of a kind's first occurrence. Its callers are
/// among them.
pub(crate) const BYPASS_WORDS: usize = 128;

/// A kind of call that bypasses the hooks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BypassKind {
    /// The call's number, or one of the constants below.
    pub number: u32,
    /// The address behind the instruction that makes it.
    pub address: u64,
}

impl BypassKind {
    /// The number of `rdtsc`, which is no system call.
    pub const RDTSC: u32 = 0x4000;
    /// The number of `rdtscp`.
    pub const RDTSCP: u32 = 0x4001;

    /// Returns the kind as one number, which is not 0.
    pub(crate) fn key(self) -> u64 {
        u64::from(self.number) << ADDRESS_BITS | self.address
    }

    /// Returns the kind of a key.
    pub(crate) fn of_key(key: u64) -> Self {
        Self { number: (key >> ADDRESS_BITS) as u32, address: key & ((1 << ADDRESS_BITS) - 1) }
    }
}

/// The first occurrence of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bypass {
    /// The kind.
    pub kind: BypassKind,
    /// Whether the call was refused, so that its thread waits for the daemon to end the server.
    pub refused: bool,
    /// The top of the thread's stack.
    pub stack: Vec<u64>,
}

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Bypasses {
    cells: [BypassCell; BYPASSES],
}

#[repr(C)]
#[derive(Debug)]
struct BypassCell {
    /// The address and the number, or 0 if the cell is free.
    key: AtomicU64,
    refused: AtomicU32,
    words: AtomicU32,
    /// 1 if the rest is written.
    ready: AtomicU32,
    stack: [AtomicU64; BYPASS_WORDS],
}

/// User addresses are below 2^47, and the numbers of system calls below 2^10.
const ADDRESS_BITS: u32 = 48;

impl Bypasses {
    /// Returns the cell of a kind, and whether this call has claimed it for a new kind.
    fn claim(&self, kind: BypassKind) -> Option<(&BypassCell, bool)> {
        let key = kind.key();
        self.cells.iter().find_map(|cell| {
            match cell.key.compare_exchange(0, key, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => Some((cell, true)),
                Err(known) => (known == key).then_some((cell, false)),
            }
        })
    }

    /// Notes an occurrence. `read_stack` gets an address and a maximum number of words, copies the
    /// top of the stack to the address, and returns the number of words copied. Returns whether the
    /// kind is new and has a cell.
    pub(crate) fn note(
        &self,
        kind: BypassKind,
        refused: bool,
        read_stack: impl FnOnce(*mut u64, usize) -> usize,
    ) -> bool {
        let Some((cell, true)) = self.claim(kind) else { return false };
        let words = read_stack(cell.stack.as_ptr().cast_mut().cast(), BYPASS_WORDS);
        cell.words.store(words as u32, Ordering::Relaxed);
        cell.refused.store(u32::from(refused), Ordering::Relaxed);
        cell.ready.store(1, Ordering::SeqCst);
        true
    }

    /// Returns the kind with this number, counted from 0 in the order of their discovery.
    pub(crate) fn get(&self, place: usize) -> Option<Bypass> {
        let cell = self.cells.get(place)?;
        (cell.ready.load(Ordering::SeqCst) == 1).then(|| {
            let words = (cell.words.load(Ordering::Relaxed) as usize).min(BYPASS_WORDS);
            Bypass {
                kind: BypassKind::of_key(cell.key.load(Ordering::Relaxed)),
                refused: cell.refused.load(Ordering::Relaxed) != 0,
                stack: cell.stack[..words].iter().map(|w| w.load(Ordering::Relaxed)).collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use core::array::from_fn;

    use super::*;

    fn none() -> Bypasses {
        let cell = |_| BypassCell {
            key: AtomicU64::new(0),
            refused: AtomicU32::new(0),
            words: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            stack: from_fn(|_| AtomicU64::new(0)),
        };
        Bypasses { cells: from_fn(cell) }
    }

    fn kind(number: u32, address: u64) -> BypassKind {
        BypassKind { number, address }
    }

    #[test]
    fn a_kind_is_new_once_and_keeps_the_stack_of_its_first_occurrence() {
        let all = none();
        let note = |kind, word: u64| {
            all.note(kind, false, |to, room| {
                assert_eq!(room, BYPASS_WORDS);
                // SAFETY: the place has room for one word.
                unsafe { to.write(word) };
                1
            })
        };
        assert!(note(kind(9, 0x7fff_1234_5678), 5));
        assert!(!note(kind(9, 0x7fff_1234_5678), 6));
        assert!(note(kind(10, 0x7fff_1234_5678), 7));
        let first = all.get(0).expect("the first kind");
        assert_eq!((first.kind, &*first.stack), (kind(9, 0x7fff_1234_5678), &[5][..]));
        assert_eq!(all.get(1).expect("the second kind").kind.number, 10);
        assert_eq!(all.get(2), None);
    }

    #[test]
    fn kinds_beyond_the_cells_are_not_new() {
        let all = none();
        let new = (1..=BYPASSES as u64 + 3).filter(|at| all.note(kind(1, *at), true, |_, _| 0));
        assert_eq!(new.count(), BYPASSES);
        assert!(all.get(BYPASSES - 1).expect("the last kind").refused);
    }
}
