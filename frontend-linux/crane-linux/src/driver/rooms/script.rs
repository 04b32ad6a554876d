//! How far the log has been observed, and what it said.

use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::wire::Genesis;

/// How far the log has been observed, and what it said.
#[derive(Debug, Default)]
pub(in crate::driver) struct Script {
    /// The last observed slot.
    pub(in crate::driver) observed: Slot,
    /// The group's genesis, once it is committed, and its slot.
    pub(in crate::driver) genesis: Option<(Slot, Genesis)>,
    /// By entry replica: the highest generation with a connection.
    pub(in crate::driver) connected: [Option<Generation>; NODES_MAX],
    /// By entry replica: the highest generation that was retired.
    pub(in crate::driver) retired: [Generation; NODES_MAX],
}

impl Script {
    /// Returns the generation of an entry replica that may have open connections.
    pub(in crate::driver) fn open_generation(&self, node: NodeId) -> Option<Generation> {
        let retired = self.retired[node.index()];
        self.connected[node.index()].filter(|generation| *generation > retired)
    }
}
