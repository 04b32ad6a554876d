//! The generations with which daemons have begun, by which those with one number are told apart.
//! Pure.

use crane_core::id::{Generation, NodeId};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::NodeSet;

/// The generation from which on a claim is not believed: generations must not run out by one, and
/// the daemon that it is about must get its links back.
const UNBELIEVABLE: Generation = Generation(u64::MAX / 2);

/// Later daemons, as far as they are known.
#[derive(Debug, Default)]
pub(in crate::driver) struct Fence {
    /// By replica: the highest generation with which a daemon of it has begun.
    latest: [Generation; NODES_MAX],
    /// The members that are linked with a later daemon of this replica.
    by: NodeSet,
    /// The generation that must be kept before this replica starts again, because another daemon
    /// seems to have its place.
    begins_above: Option<Generation>,
}

impl Fence {
    /// Takes the generation with which a daemon of a replica has begun. Returns that of a later
    /// one, if one has been heard.
    // specs: R12
    pub(in crate::driver) fn hear(
        &mut self,
        node: NodeId,
        begun: Generation,
    ) -> Option<Generation> {
        let latest = &mut self.latest[node.index()];
        if begun < *latest {
            return Some(*latest);
        }
        if begun < UNBELIEVABLE {
            *latest = begun;
        }
        None
    }

    /// Forgets the daemons of a number, which another replica may have from now on.
    pub(in crate::driver) fn forget(&mut self, node: NodeId) {
        self.latest[node.index()] = Generation::default();
    }

    /// Returns whether a claim that a later daemon has begun with this generation is believed.
    pub(in crate::driver) fn believes(newest: Generation) -> bool {
        newest < UNBELIEVABLE
    }

    /// Records that a member does not hear this daemon. Returns whether this is so for more than
    /// half of the others.
    pub(in crate::driver) fn fenced(&mut self, by: NodeId, others: NodeSet) -> bool {
        self.by = self.by.with(by);
        2 * self.by.intersection(others).len() > others.len()
    }

    /// Returns whether this replica starts again.
    pub(in crate::driver) fn begins_again(&self) -> bool {
        self.begins_above.is_some()
    }

    /// Lets this replica start again once this generation is kept.
    pub(in crate::driver) fn begin_again_above(&mut self, generation: Generation) {
        self.begins_above = Some(generation);
    }

    /// Takes note that a generation is kept. Returns whether this replica starts again now.
    pub(in crate::driver) fn on_kept(&mut self, generation: Generation) -> bool {
        self.begins_above.take_if(|begins| *begins <= generation).is_some()
    }
}
