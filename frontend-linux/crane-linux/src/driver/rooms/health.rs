//! The progress of this replica, and what was done because of it.

use crane_core::id::NodeId;
use crane_core::progress::{Ailment, Findings, Vigil};
use crane_core::time::Instant;

/// The progress of this replica.
#[derive(Debug)]
pub(in crate::driver) struct Health {
    /// Follows disk and server, and decides.
    pub(in crate::driver) vigil: Vigil,
    /// The last findings.
    pub(in crate::driver) found: Findings,
    /// The ailment that was reported to the operator.
    pub(in crate::driver) reported: Option<Ailment>,
    /// Whether the operator was told that no member is better than this primary.
    pub(in crate::driver) alone_reported: bool,
    /// Whether clients are refused, because this replica is sick and others are not.
    pub(in crate::driver) refuses: bool,
}

impl Health {
    /// Creates the state of a replica that starts.
    pub(in crate::driver) fn new(me: NodeId, now: Instant) -> Self {
        Self {
            vigil: Vigil::new(me, now),
            found: Findings::default(),
            reported: None,
            alone_reported: false,
            refuses: false,
        }
    }
}
