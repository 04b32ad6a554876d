//! Where two servers parted, by what is left of their calls.
//!
//! Hashes of blocks are running ones: once they differ, they differ for good. The last equal block
//! is followed by the calls in which the difference lies, and these are compared one by one. A
//! call's record holds the hash of the bytes written before it, so bytes that differ are found by
//! the record after the call that wrote them.

use crane_core::id::Slot;
use crane_shm::history::{BLOCK_CALLS, block_end};

use super::ServerHistory;

/// The place where two servers parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// Everything that both keep up to this clock is equal.
    Nowhere(u64),
    /// The calls at this clock are different ones.
    Call(u64),
    /// The calls at this clock are equal, and have written different bytes for clients.
    Output(u64),
    /// Behind this clock; the calls there are not kept by both.
    Behind(u64),
    /// Before everything that both keep, up to this clock.
    Before(u64),
    /// Nothing of what they keep is of one and the same clock.
    Unknown,
}

/// The comparison of two histories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallDifference {
    /// The last block that is equal.
    pub equal_block: Option<u64>,
    /// The first block that differs.
    pub differing_block: Option<u64>,
    /// The first clock at which calls can differ.
    pub from: u64,
    /// The place.
    pub parting: Parting,
    /// The last slot at whose admission the servers had the same hashes.
    pub equal_slot: Option<Slot>,
    /// The first slot at which they had others.
    pub differing_slot: Option<Slot>,
}

/// Compares what two servers did.
pub fn compare(one: &ServerHistory, other: &ServerHistory) -> CallDifference {
    let (equal_block, differing_block) = compare_blocks(one, other);
    let (equal_slot, differing_slot) = compare_marks(one, other);
    let from = match equal_block {
        Some(block) => block_end(block) + 1,
        // Block 0 differs, or neither server has come to its end.
        None => 1,
    };
    let begins = differing_block.is_none_or(|block| block == 0);
    let parting = match (equal_block, differing_block) {
        (None, Some(block)) if !begins => Parting::Before(block_end(block)),
        _ => compare_calls(one, other, from, differing_block.is_some()),
    };
    let parting = match (parting, differing_slot) {
        // The last call of all has written it, or no call is left.
        (Parting::Nowhere(clock), Some(_)) => Parting::Behind(clock),
        (Parting::Unknown, Some(_)) => Parting::Behind(0),
        (parting, _) => parting,
    };
    CallDifference { equal_block, differing_block, from, parting, equal_slot, differing_slot }
}

/// Returns the last block that is equal, and the first one that differs.
fn compare_blocks(one: &ServerHistory, other: &ServerHistory) -> (Option<u64>, Option<u64>) {
    let first = one.first_block.max(other.first_block);
    let mut equal = None;
    for block in first.. {
        let (Some(here), Some(there)) = (one.block(block), other.block(block)) else { break };
        if here != there {
            return (equal, Some(block));
        }
        equal = Some(block);
    }
    (equal, None)
}

/// Returns the last slot with equal hashes, and the first with others.
fn compare_marks(one: &ServerHistory, other: &ServerHistory) -> (Option<Slot>, Option<Slot>) {
    let mut equal = None;
    for mark in &one.marks {
        let Ok(place) = other.marks.binary_search_by_key(&mark.slot, |mark| mark.slot) else {
            continue;
        };
        if other.marks[place] != *mark {
            return (equal, Some(mark.slot));
        }
        equal = Some(mark.slot);
    }
    (equal, None)
}

/// Compares calls from a clock on, up to which all are equal. `differs`: there is a difference.
pub(crate) fn compare_calls(
    one: &ServerHistory,
    other: &ServerHistory,
    from: u64,
    differs: bool,
) -> Parting {
    let mut equal = from.saturating_sub(1);
    while let (Some(here), Some(there)) = (one.call(equal + 1), other.call(equal + 1)) {
        let clock = equal + 1;
        if here.output != there.output && clock > 1 {
            return Parting::Output(clock - 1);
        }
        if here.word != there.word {
            return Parting::Call(clock);
        }
        equal = clock;
    }
    if differs {
        return Parting::Behind(equal);
    }
    if equal > 0 {
        return Parting::Nowhere(equal);
    }
    Parting::Unknown
}

/// Returns the clocks of a block's first and last call.
pub(crate) fn calls_of(block: u64) -> (u64, u64) {
    (block_end(block) - BLOCK_CALLS + 1, block_end(block))
}
