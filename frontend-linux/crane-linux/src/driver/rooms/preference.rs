//! Which replica is to be primary, where one is preferred.

use crane_core::id::NodeId;
use crane_core::limits::NODES_MAX;
use crane_core::time::Instant;

use crate::options::Priority;

/// The others' priorities, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Preference {
    pub(in crate::driver) priorities: [Priority; NODES_MAX],
    /// The replica that is fit to be preferred, and since when.
    pub(in crate::driver) fit: Option<(NodeId, Instant)>,
}

impl Default for Preference {
    fn default() -> Self {
        Self { priorities: [Priority::Normal; NODES_MAX], fit: None }
    }
}
