//! When clocks are asked for, and agreed time is corrected.

use crane_core::time::Instant;

/// The times of the next acts, which are due at once at the start.
#[derive(Debug, Default)]
pub(in crate::driver) struct ClockDates {
    /// When the other members are asked for their clocks.
    pub(in crate::driver) ask_at: Instant,
    /// When this primary corrects the rate of agreed time.
    pub(in crate::driver) steer_at: Instant,
    /// When a group is created although too few clocks are known.
    pub(in crate::driver) begin_by: Option<Instant>,
    /// Since when too few clocks have been known.
    pub(in crate::driver) unknown_since: Option<Instant>,
}
