//! The comparison of two servers' histories, which finds the place where the servers parted.
//!
//! The hashes of blocks are running hashes: once they differ, they differ for good. The difference
//! lies in the calls after the last equal block, and these are compared one by one. A call's record
//! holds the hash of the bytes written before the call, so the record after a call shows whether
//! that call wrote different bytes.

use crane_core::id::Slot;
use crane_shm::history::{BLOCK_CALLS, block_end};

use super::ServerHistory;

/// The place where two servers parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// The servers did not part: everything that both histories hold, up to this clock, is equal.
    Nowhere(u64),
    /// The calls at this clock differ.
    Call(u64),
    /// The calls at this clock are equal, but wrote different bytes for clients.
    Output(u64),
    /// The servers parted behind this clock, where not both histories hold the calls.
    Behind(u64),
    /// The servers parted before the first call that both histories hold, up to this clock.
    Before(u64),
    /// The histories have no clock in common.
    Unknown,
}

/// The comparison of two histories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallDifference {
    /// The last block with equal hashes.
    pub equal_block: Option<u64>,
    /// The first block with different hashes.
    pub differing_block: Option<u64>,
    /// The first clock at which calls can differ.
    pub from: u64,
    /// The place where the servers parted.
    pub parting: Parting,
    /// The last slot at whose admission the servers had the same hashes.
    pub equal_slot: Option<Slot>,
    /// The first slot at whose admission they had different hashes.
    pub differing_slot: Option<Slot>,
}

/// Compares the histories of two servers.
pub fn compare(one: &ServerHistory, other: &ServerHistory) -> CallDifference {
    let (equal_block, differing_block) = compare_blocks(one, other);
    let (equal_slot, differing_slot) = compare_marks(one, other);
    let from = match equal_block {
        Some(block) => block_end(block) + 1,
        // Block 0 differs, or neither server has reached its end.
        None => 1,
    };
    let begins = differing_block.is_none_or(|block| block == 0);
    let parting = match (equal_block, differing_block) {
        (None, Some(block)) if !begins => Parting::Before(block_end(block)),
        _ => compare_calls(one, other, from, differing_block.is_some()),
    };
    let parting = match (parting, differing_slot) {
        // The last call of all wrote the different bytes, or neither history holds the call that
        // did.
        (Parting::Nowhere(clock), Some(_)) => Parting::Behind(clock),
        (Parting::Unknown, Some(_)) => Parting::Behind(0),
        (parting, _) => parting,
    };
    CallDifference { equal_block, differing_block, from, parting, equal_slot, differing_slot }
}

/// Returns the last block with equal hashes, and the first block with different hashes.
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

/// Returns the last slot with equal hashes, and the first slot with different hashes.
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

/// Compares the calls from a clock on, below which all calls are equal. `differs` says that the
/// histories are known to differ.
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
