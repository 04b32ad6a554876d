//! The preferred primary, according to the members' priorities.

use crane_core::id::NodeId;
use crane_core::limits::NODES_MAX;
use crane_core::time::Instant;

use crate::options::Priority;

/// The priorities of the other members, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Preference {
    pub(in crate::driver) priorities: [Priority; NODES_MAX],
    /// The replica that is fit to become primary, and since when.
    pub(in crate::driver) fit: Option<(NodeId, Instant)>,
}

impl Default for Preference {
    fn default() -> Self {
        Self { priorities: [Priority::Normal; NODES_MAX], fit: None }
    }
}
