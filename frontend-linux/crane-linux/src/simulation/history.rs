//! The last calls of a simulated server, as the region of a real one holds them.

use std::collections::{BTreeMap, VecDeque};

use crane_core::execution::Mark;
use crane_core::id::Slot;
use crane_shm::history::{BLOCK_CALLS, MARKS};

use crate::frozen::{FrozenBlock, FrozenCall, ServerHistory};
use crate::symbols::Maps;

/// How many calls are kept: few, so that servers also part where none has the calls any more.
const CALLS_KEPT: usize = 4 * BLOCK_CALLS as usize;

/// The last calls of a server, and the hashes at the ends of blocks of them.
#[derive(Clone, Debug, Default)]
pub(super) struct CallHistory {
    /// The clock of the last call.
    clock: u64,
    calls: VecDeque<FrozenCall>,
    /// From the first block on, which begins at clock 1.
    blocks: Vec<FrozenBlock>,
}

impl CallHistory {
    /// Keeps the call that has made the clock rise, with the schedule's hash behind it.
    pub(super) fn record(&mut self, clock: u64, word: u64, output: u64, schedule: u64) {
        assert_eq!(clock, self.clock + 1, "a call has no clock of its own");
        self.clock = clock;
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(FrozenCall { word, address: 0, output });
        if clock.is_multiple_of(BLOCK_CALLS) {
            self.blocks.push(FrozenBlock { schedule, output });
        }
    }

    /// Returns the history, with the last of the marks.
    pub(super) fn with_marks(&self, marks: &BTreeMap<Slot, Mark>) -> ServerHistory {
        let surplus = marks.len().saturating_sub(MARKS);
        ServerHistory {
            first_block: 0,
            blocks: self.blocks.clone(),
            first_call: self.clock + 1 - self.calls.len() as u64,
            calls: self.calls.iter().copied().collect(),
            marks: marks.values().skip(surplus).copied().collect(),
            maps: Maps::default(),
        }
    }
}
