//! The processors on which threads may run, as the program sees and sets them. Nothing real is
//! done: this host may have fewer than the server sees.

use std::sync::atomic::{AtomicU64, Ordering};

use crane_core::execution::turn::ThreadId;
use crane_core::limits::PROCESSORS_MAX;

use crate::capacities::THREADS;
use crate::figures;

/// The number of words of a set.
pub(crate) const SET_WORDS: usize = PROCESSORS_MAX as usize / 64;
/// The number of bytes of a set.
pub(crate) const SET_BYTES: usize = SET_WORDS * 8;

/// A set of processors, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProcessorSet(pub [u64; SET_WORDS]);

impl ProcessorSet {
    /// No processor.
    pub(crate) const EMPTY: Self = Self([0; SET_WORDS]);

    /// Returns the first processors.
    pub(crate) fn first(count: u32) -> Self {
        let mut set = Self::EMPTY;
        for number in 0..count.min(PROCESSORS_MAX) {
            set.0[(number / 64) as usize] |= 1 << (number % 64);
        }
        set
    }

    /// Returns the set that a mask of the kernel's names, which may end in the middle of a word.
    /// Processors that no server sees are left out.
    pub(crate) fn from_bytes(mask: &[u8]) -> Self {
        let mut bytes = [0; SET_BYTES];
        let length = mask.len().min(SET_BYTES);
        bytes[..length].copy_from_slice(&mask[..length]);
        let mut set = Self::EMPTY;
        for (word, bytes) in set.0.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        set
    }

    /// Returns the kernel's mask.
    pub(crate) fn to_bytes(self) -> [u8; SET_BYTES] {
        let mut bytes = [0; SET_BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    /// Returns the processors of both sets.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        self
    }

    /// Returns whether the set has no processor.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Returns the lowest number.
    pub(crate) fn lowest(self) -> Option<u32> {
        let place = self.0.iter().position(|word| *word != 0)?;
        Some(place as u32 * 64 + self.0[place].trailing_zeros())
    }
}

/// A thread's set in words that other threads may read; empty before the program has set one.
struct Mask([AtomicU64; SET_WORDS]);

/// The sets of the threads, by number, and at the end one for all that have no number: those of a
/// child after fork, and those that the library did not see begin.
static MASKS: [Mask; THREADS + 1] =
    [const { Mask([const { AtomicU64::new(0) }; SET_WORDS]) }; THREADS + 1];

fn mask_of(thread: Option<ThreadId>) -> &'static [AtomicU64; SET_WORDS] {
    &MASKS[thread.map_or(THREADS, |thread| thread.0 as usize)].0
}

/// Returns what the program has set for a thread, or the empty set.
pub(crate) fn wish(thread: Option<ThreadId>) -> ProcessorSet {
    let mut set = ProcessorSet::EMPTY;
    for (word, from) in set.0.iter_mut().zip(mask_of(thread)) {
        *word = from.load(Ordering::Relaxed);
    }
    set
}

/// Sets what the program wishes for a thread, or that it wishes nothing.
pub(crate) fn set_wish(thread: Option<ThreadId>, set: ProcessorSet) {
    for (to, word) in mask_of(thread).iter().zip(set.0) {
        to.store(word, Ordering::Relaxed);
    }
}

/// Returns the processors on which a thread may run: all that the server sees, unless the program
/// has set others. Safe in a signal handler.
pub(crate) fn of(thread: Option<ThreadId>) -> ProcessorSet {
    let wish = wish(thread);
    if !wish.is_empty() {
        return wish;
    }
    ProcessorSet::first(figures::processors().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_kernels_mask() {
        for count in [1, 8, 63, 64, 65, 1024] {
            let set = ProcessorSet::first(count);
            let bits: u32 = set.0.iter().map(|word| word.count_ones()).sum();
            assert_eq!((bits, set.lowest()), (count, Some(0)));
            assert_eq!(ProcessorSet::from_bytes(&set.to_bytes()), set);
        }
        assert_eq!(ProcessorSet::first(5000), ProcessorSet::first(PROCESSORS_MAX));
        assert_eq!(ProcessorSet::first(3).to_bytes()[..2], [7, 0]);
    }

    #[test]
    fn a_mask_may_be_shorter_and_longer_than_a_set() {
        assert_eq!(ProcessorSet::from_bytes(&[0b1010]).lowest(), Some(1));
        assert_eq!(ProcessorSet::from_bytes(&[0; 8]), ProcessorSet::EMPTY);
        let mut long = [0; SET_BYTES + 8];
        long[SET_BYTES] = 1;
        assert!(ProcessorSet::from_bytes(&long).is_empty());
        long[70 / 8] = 1 << (70 % 8);
        assert_eq!(ProcessorSet::from_bytes(&long).lowest(), Some(70));
        assert!(ProcessorSet::from_bytes(&long).and(ProcessorSet::first(70)).is_empty());
        assert_eq!(ProcessorSet::from_bytes(&long).and(ProcessorSet::first(71)).lowest(), Some(70));
    }

    #[test]
    fn a_thread_has_all_processors_until_it_wishes_for_some() {
        let thread = Some(ThreadId(1000));
        assert_eq!(of(thread), ProcessorSet::first(1), "no figures are agreed in this test");
        let second = ProcessorSet::from_bytes(&[2]);
        set_wish(thread, second);
        assert_eq!((of(thread), of(Some(ThreadId(1001)))), (second, ProcessorSet::first(1)));
        set_wish(thread, ProcessorSet::EMPTY);
        assert_eq!(of(thread), ProcessorSet::first(1));
    }
}
