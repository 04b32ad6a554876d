//! The server's history in the region, which replicas compare, and keep when it differs.
//!
//! The history of a run has three parts, each coarser and longer than the one before: the last
//! calls, hashes at the ends of blocks of calls, and hashes at the admission of slots. One thread
//! writes at a time, and never waits for a reader. A reader gets a complete value or none.

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// The number of slots whose hashes are kept, for comparison with faster and slower replicas.
pub const MARKS: usize = 4096;

/// The number of calls that are kept for comparison with other replicas. They cover five marks of a
/// server that makes a million calls a second.
pub const CALLS: usize = 1 << 18;

/// The number of calls in a block.
pub const BLOCK_CALLS: u64 = 1024;

/// The number of blocks whose hashes are kept, which cover 64 Mi calls.
pub const BLOCKS: usize = 1 << 16;

/// The hashes at the admission of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HashMark {
    /// The slot that was admitted.
    pub slot: u64,
    /// The logical clock at that moment.
    pub clock: u64,
    /// The hash of (clock, thread, call, object) of all calls before.
    pub schedule: u64,
    /// The hash of all bytes written to connections before.
    pub output: u64,
}

/// One call of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallRecord {
    /// The clock at which the call was made.
    pub clock: u64,
    /// Thread, kind and object, as the schedule hash takes them in.
    pub word: u64,
    /// The return address of the program's call, or 0 if it is not known.
    pub address: u64,
    /// The hash of all bytes written to connections by the calls before.
    pub output: u64,
}

/// The hashes at the end of a block of [`BLOCK_CALLS`] calls. Block 0 begins with the call at
/// clock 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockHash {
    /// The hash of all calls up to the block's last call.
    pub schedule: u64,
    /// The hash of all bytes written to connections by the calls before that call.
    pub output: u64,
}

/// Returns the clock of a block's last call.
pub const fn block_end(block: u64) -> u64 {
    block.saturating_add(1).saturating_mul(BLOCK_CALLS)
}

#[repr(C)]
#[derive(Debug, Default)]
struct MarkCell {
    /// The slot, or 0 while the other fields change.
    slot: AtomicU64,
    clock: AtomicU64,
    schedule: AtomicU64,
    output: AtomicU64,
}

#[repr(C)]
#[derive(Debug, Default)]
struct CallCell {
    /// The clock, or 0 while the other fields change.
    clock: AtomicU64,
    word: AtomicU64,
    address: AtomicU64,
    output: AtomicU64,
}

#[repr(C)]
#[derive(Debug, Default)]
struct BlockCell {
    schedule: AtomicU64,
    output: AtomicU64,
}

/// The history's part of the region.
#[repr(C)]
pub(crate) struct History {
    marks: [MarkCell; MARKS],
    blocks: [BlockCell; BLOCKS],
    calls: [CallCell; CALLS],
}

impl History {
    /// Publishes the hashes at a slot's admission.
    pub(crate) fn put_mark(&self, mark: HashMark) {
        let cell = &self.marks[mark.slot as usize % MARKS];
        cell.slot.store(0, Ordering::SeqCst);
        cell.clock.store(mark.clock, Ordering::SeqCst);
        cell.schedule.store(mark.schedule, Ordering::SeqCst);
        cell.output.store(mark.output, Ordering::SeqCst);
        cell.slot.store(mark.slot, Ordering::SeqCst);
    }

    /// Returns the hashes at a slot's admission, if the slot is among the last [`MARKS`].
    pub(crate) fn mark(&self, slot: u64) -> Option<HashMark> {
        let cell = &self.marks[slot as usize % MARKS];
        let before = cell.slot.load(Ordering::SeqCst);
        let mark = HashMark {
            slot,
            clock: cell.clock.load(Ordering::SeqCst),
            schedule: cell.schedule.load(Ordering::SeqCst),
            output: cell.output.load(Ordering::SeqCst),
        };
        let after = cell.slot.load(Ordering::SeqCst);
        (before == slot && after == slot && slot != 0).then_some(mark)
    }

    /// Keeps a call.
    #[inline(always)]
    pub(crate) fn record_call(&self, call: CallRecord) {
        let cell = &self.calls[call.clock as usize % CALLS];
        // A reader at this moment sees a different clock before or after it reads.
        cell.clock.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        cell.word.store(call.word, Ordering::Relaxed);
        cell.address.store(call.address, Ordering::Relaxed);
        cell.output.store(call.output, Ordering::Relaxed);
        cell.clock.store(call.clock, Ordering::Release);
    }

    /// Returns the call at this clock, if it is among the last [`CALLS`].
    pub(crate) fn call(&self, clock: u64) -> Option<CallRecord> {
        let cell = &self.calls[clock as usize % CALLS];
        let before = cell.clock.load(Ordering::Acquire);
        let call = CallRecord {
            clock,
            word: cell.word.load(Ordering::Relaxed),
            address: cell.address.load(Ordering::Relaxed),
            output: cell.output.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let after = cell.clock.load(Ordering::Relaxed);
        (before == clock && after == clock && clock != 0).then_some(call)
    }

    /// Keeps the hashes at the end of the block whose last call is at this clock. Call it before
    /// that clock is published.
    #[cold]
    pub(crate) fn record_block(&self, clock: u64, hash: BlockHash) {
        let cell = &self.blocks[(clock / BLOCK_CALLS - 1) as usize % BLOCKS];
        // A reader that sees some of these stores also sees the previous clock.
        fence(Ordering::Release);
        cell.schedule.store(hash.schedule, Ordering::Relaxed);
        cell.output.store(hash.output, Ordering::Relaxed);
    }

    /// Returns the hashes of a block, if it is among the last [`BLOCKS`]. `clock` is the server's
    /// clock.
    pub(crate) fn block(&self, block: u64, clock: &AtomicU64) -> Option<BlockHash> {
        let end = block_end(block);
        if clock.load(Ordering::Acquire) < end {
            return None;
        }
        let cell = &self.blocks[block as usize % BLOCKS];
        let hash = BlockHash {
            schedule: cell.schedule.load(Ordering::Relaxed),
            output: cell.output.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        // The hashes of the block that takes this place are written before the clock of its end is
        // published.
        let replaced_at = end.saturating_add(BLOCKS as u64 * BLOCK_CALLS);
        (clock.load(Ordering::Relaxed) < replaced_at - 1).then_some(hash)
    }
}

impl core::fmt::Debug for History {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc_zeroed};

    use super::*;

    fn history() -> Box<History> {
        // SAFETY: the layout is that of the type, all zeros are a value of it, and the box owns the
        // memory from here on.
        unsafe { Box::from_raw(alloc_zeroed(Layout::new::<History>()).cast()) }
    }

    #[test]
    fn the_last_calls_are_kept() {
        let history = history();
        let call = |clock| CallRecord { clock, word: clock * 3, address: 7, output: clock / 2 };
        assert_eq!((history.call(0), history.call(1)), (None, None));
        let last = CALLS as u64 + 5;
        for clock in 1..=last {
            history.record_call(call(clock));
        }
        assert_eq!(history.call(last), Some(call(last)));
        assert_eq!(history.call(6), Some(call(6)));
        assert_eq!((history.call(5), history.call(last + 1)), (None, None));
    }

    #[test]
    fn the_hashes_of_the_last_blocks_are_kept() {
        let (history, clock) = (history(), AtomicU64::new(0));
        let hash = |block: u64| BlockHash { schedule: block + 9, output: block * 2 };
        let count = BLOCKS as u64 + 3;
        for block in 0..count {
            let end = block_end(block);
            clock.store(end - 1, Ordering::Relaxed);
            assert_eq!(history.block(block, &clock), None, "it has not ended");
            history.record_block(end, hash(block));
            clock.store(end, Ordering::Relaxed);
        }
        assert_eq!(history.block(count - 1, &clock), Some(hash(count - 1)));
        assert_eq!(history.block(3, &clock), Some(hash(3)));
        assert_eq!(history.block(2, &clock), None, "another block has its place");
        // The block that takes the place of block 3 may be half written.
        clock.store(block_end(count) - 1, Ordering::Relaxed);
        assert_eq!(history.block(3, &clock), None);
        assert_eq!(history.block(u64::MAX, &clock), None);
    }
}
