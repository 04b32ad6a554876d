//! The comparison of servers, and the steps that follow from it.

use std::sync::Arc;

use crane_core::divergence::Comparison;
use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_core::paxos::NodeSet;
use crane_core::time::Instant;

use crate::frozen::FrozenCalls;
use crate::report::CallsMessage;

/// The number of slots that are compared at the same time.
pub(in crate::driver) const ROUNDS: usize = 64;
/// The number of slots of equal marks that are kept behind the last one.
const AGREED_KEPT: usize = 15;

/// The state of the comparison.
#[derive(Debug)]
pub(in crate::driver) struct Divergence {
    /// The marks of all servers.
    pub(in crate::driver) marks: Comparison<ROUNDS>,
    /// The slots at which others want this server's mark, and which the server has not reached.
    pub(in crate::driver) wanted: Vec<Slot>,
    /// The time when this primary last announced its mark, or tried to.
    pub(in crate::driver) announced_at: Instant,
    /// The clock of the server at that time.
    pub(in crate::driver) announced_clock: u64,
    /// The clock of the last mark that this primary announced.
    pub(in crate::driver) marked_clock: u64,
    /// The last slot whose mark this primary announced.
    pub(in crate::driver) announced: Slot,
    /// The last slot at which this server agreed with the majority.
    pub(in crate::driver) agreed: Slot,
    /// The slots before that one at which this server agreed with the majority, the last one
    /// first. The verdict on a slot may come after those on several later ones.
    pub(in crate::driver) agreed_before: [Slot; AGREED_KEPT],
    /// The last slot on whose verdict this replica has acted.
    pub(in crate::driver) acted: Slot,
    /// The last slot at which no mark had a majority. One may have it when more marks arrive.
    pub(in crate::driver) split: Slot,
    /// The servers that were found wrong and have not been built again: their marks are not those
    /// of the next run.
    pub(in crate::driver) stale: NodeSet,
    /// The trial for which this server is built again, if it decides which servers are right.
    pub(in crate::driver) trial: Option<Trial>,
    /// The other replica whose server is built again to decide which servers are right.
    pub(in crate::driver) awaited: Option<NodeId>,
    /// Whether the bytes for clients differ each time the program runs, so that they are no longer
    /// compared.
    pub(in crate::driver) output_differs: bool,
    /// The calls of this replica's server at the last difference of marks, kept for a while.
    pub(in crate::driver) frozen: Option<Arc<FrozenCalls>>,
    /// Those at the difference before, about which replicas may still ask: marks of later slots
    /// differ as well until the wrong server has been stopped.
    pub(in crate::driver) frozen_before: Option<Arc<FrozenCalls>>,
    /// The time at which the last ones were frozen.
    pub(in crate::driver) frozen_at: Instant,
    /// The last message about calls at a slot that this replica has not judged yet.
    pub(in crate::driver) early: Option<(NodeId, CallsMessage)>,
    /// The last slot whose first difference in calls was reported.
    pub(in crate::driver) named: Slot,
    /// The reason why the group has agreed to stop serving, if it has.
    pub(in crate::driver) halted: Option<String>,
}

/// A server that is built again as a third opinion.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Trial {
    /// The slot at which servers differ.
    pub(in crate::driver) slot: Slot,
    /// The mark that this server had there.
    pub(in crate::driver) before: Mark,
    /// Whether only the bytes for clients differ.
    pub(in crate::driver) output_only: bool,
}

impl Divergence {
    /// Returns the last slot below this one at which this server agreed with the majority.
    pub(in crate::driver) fn agreed_below(&self, slot: Slot) -> Slot {
        let mut agreed = std::iter::once(&self.agreed).chain(&self.agreed_before);
        agreed.find(|agreed| **agreed < slot).copied().unwrap_or(Slot::NONE)
    }

    /// Forgets the clocks of the incarnation that has ended: those of the next one begin anew.
    pub(in crate::driver) fn begin_incarnation(&mut self) {
        self.announced_clock = 0;
        self.marked_clock = 0;
    }
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
            agreed_before: [Slot::NONE; AGREED_KEPT],
            acted: Slot::NONE,
            split: Slot::NONE,
            stale: NodeSet::EMPTY,
            trial: None,
            awaited: None,
            output_differs: false,
            frozen: None,
            frozen_before: None,
            frozen_at: Instant::START,
            early: None,
            named: Slot::NONE,
            halted: None,
        }
    }
}
