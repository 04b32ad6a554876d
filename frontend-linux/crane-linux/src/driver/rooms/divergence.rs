//! The comparison of servers, and the steps that follow from it.

use std::sync::Arc;

use crane_core::divergence::Comparison;
use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_core::time::Instant;

use crate::frozen::FrozenCalls;
use crate::report::CallsMessage;

/// Slots that are compared at a time.
pub(in crate::driver) const ROUNDS: usize = 64;

/// The state of the comparison.
#[derive(Debug)]
pub(in crate::driver) struct Divergence {
    /// The marks.
    pub(in crate::driver) marks: Comparison<ROUNDS>,
    /// Slots at which this server's mark is wanted, and which it has not reached.
    pub(in crate::driver) wanted: Vec<Slot>,
    /// When this primary last announced its mark, or tried to.
    pub(in crate::driver) announced_at: Instant,
    /// The clock of the server then.
    pub(in crate::driver) announced_clock: u64,
    /// The clock of the mark that was announced last.
    pub(in crate::driver) marked_clock: u64,
    /// The last slot that was announced here.
    pub(in crate::driver) announced: Slot,
    /// The last slot at which this server agreed with the majority.
    pub(in crate::driver) agreed: Slot,
    /// The slot before that one at which it did.
    pub(in crate::driver) agreed_before: Slot,
    /// The last slot on whose verdict this replica has acted.
    pub(in crate::driver) acted: Slot,
    /// This server is built again to say who is right.
    pub(in crate::driver) trial: Option<Trial>,
    /// The replica whose server is built again to say who is right, where it is another one.
    pub(in crate::driver) awaited: Option<NodeId>,
    /// The bytes for clients differ each time the program runs: they are not compared any more.
    pub(in crate::driver) output_differs: bool,
    /// The calls of this replica's server as they were when marks differed last, for a while.
    pub(in crate::driver) frozen: Option<Arc<FrozenCalls>>,
    /// The time at which they were frozen.
    pub(in crate::driver) frozen_at: Instant,
    /// The last message about calls at a slot at which this replica has not judged yet.
    pub(in crate::driver) early: Option<(NodeId, CallsMessage)>,
    /// The slot whose first difference in calls was reported last.
    pub(in crate::driver) named: Slot,
    /// The group has agreed to stop serving, for this reason.
    pub(in crate::driver) halted: Option<String>,
}

/// A server that is built again as a third opinion.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Trial {
    /// The slot at which servers differ.
    pub(in crate::driver) slot: Slot,
    /// The mark that this server had there.
    pub(in crate::driver) before: Mark,
    /// Only the bytes for clients differ.
    pub(in crate::driver) output_only: bool,
}

impl Default for Divergence {
    fn default() -> Self {
        Self {
            marks: Comparison::new(),
            wanted: Vec::new(),
            announced_at: Instant::START,
            announced_clock: 0,
            marked_clock: 0,
            announced: Slot::NONE,
            agreed: Slot::NONE,
            agreed_before: Slot::NONE,
            acted: Slot::NONE,
            trial: None,
            awaited: None,
            output_differs: false,
            frozen: None,
            frozen_at: Instant::START,
            early: None,
            named: Slot::NONE,
            halted: None,
        }
    }
}
