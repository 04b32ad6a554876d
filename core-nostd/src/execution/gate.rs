//! The logical clock, and the gate that decides whether it may advance.
//!
//! The script is consumed strictly from the head: an entry's timestamp and ops, then its grant,
//! step by step. An empty script can only make a replica wait; it never makes it choose. Physical
//! timing therefore has no influence on what happens at which value of the clock.

use serde::{Deserialize, Serialize};

use crate::limits::CALL_NANOSECONDS;

/// The clock, the steps that are granted to it, and agreed time.
///
/// Theorem: `clock` and `agreed` are functions of the script and of the calls made; `agreed` never
/// goes backwards.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Gate {
    /// The number of calls so far.
    clock: u64,
    /// The number of steps that are granted and not used.
    granted: u64,
    /// Agreed time in nanoseconds. It never goes back.
    agreed: u64,
}

impl Gate {
    /// Creates a gate at clock 0, with nothing granted, and agreed time at the genesis entry's
    /// timestamp (nanoseconds).
    pub const fn new(timestamp: u64) -> Self {
        Self { clock: 0, granted: 0, agreed: timestamp }
    }

    /// Returns the number of calls so far.
    pub const fn clock(&self) -> u64 {
        self.clock
    }

    /// Returns agreed time in nanoseconds since the Unix epoch: the last timestamp, plus a fixed
    /// amount per call.
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// Returns whether a step is granted.
    pub const fn is_granted(&self) -> bool {
        self.granted != 0
    }

    /// Advances the clock by one step if a step is granted, and returns whether it was. If not, the
    /// replica is stalled until the head of the script is consumed.
    #[must_use]
    // specs: S3, S5
    pub fn advance(&mut self) -> bool {
        if self.granted == 0 {
            return false;
        }
        self.granted -= 1;
        self.clock += 1;
        self.agreed = self.agreed.saturating_add(CALL_NANOSECONDS);
        true
    }

    /// Admits an entry's timestamp. The grant before it must have been used or dropped.
    // specs: S2, S5
    pub fn admit_timestamp(&mut self, timestamp: u64) {
        assert!(self.granted == 0, "an entry is admitted when the grant before it is gone");
        self.agreed = self.agreed.max(timestamp);
    }

    /// Adds the grant after an entry's ops, which is at the head of the script now.
    pub fn grant(&mut self, steps: u32) {
        assert!(self.granted == 0);
        self.granted = u64::from(steps);
    }

    /// Drops the rest of the grant at the head, because no thread is runnable.
    // specs: S4
    pub fn drop_grant(&mut self) {
        self.granted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_uses_what_is_granted_and_no_more() {
        let mut gate = Gate::new(1_000);
        assert!(!gate.advance());
        gate.admit_timestamp(5_000);
        gate.grant(2);
        assert!(gate.advance() && gate.advance() && !gate.advance());
        assert_eq!((gate.clock(), gate.agreed()), (2, 5_000 + 2 * CALL_NANOSECONDS));
    }

    #[test]
    fn agreed_time_never_goes_back() {
        let mut gate = Gate::new(1_000);
        gate.admit_timestamp(900);
        assert_eq!(gate.agreed(), 1_000);
    }

    #[test]
    fn agreed_time_stays_at_the_end_of_its_range() {
        let mut gate = Gate::new(0);
        gate.admit_timestamp(u64::MAX);
        gate.grant(1);
        assert!(gate.advance());
        assert_eq!(gate.agreed(), u64::MAX);
    }

    #[test]
    fn quiescence_drops_the_rest() {
        let mut gate = Gate::new(0);
        gate.grant(1000);
        assert!(gate.advance());
        gate.drop_grant();
        assert!(!gate.advance());
    }
}
