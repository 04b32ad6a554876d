//! The present wait.

use crane_core::time::Instant;

use crate::event::Cause;

/// A wait, and a number that changes when it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Wait {
    pub(in crate::driver) cause: Cause,
    pub(in crate::driver) mark: u64,
}

/// The present wait, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver) struct Stalls {
    pub(in crate::driver) present: Option<(Wait, Instant)>,
    pub(in crate::driver) told: bool,
}
