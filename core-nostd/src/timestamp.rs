//! The primary's clock, from which entries get their timestamps.
//!
//! Timestamps grow from entry to entry, also from one primary to the next, even if the clocks of
//! their hosts differ: a replica continues from the highest timestamp that it has seen in any
//! entry. The driver therefore reports every timestamp that enters the log to [`Timestamps::saw`],
//! and at the start all timestamps that the log holds, committed or not. If the log's front was
//! cut, the driver reports the agreed time of the checkpoint instead.
//!
//! Time is an argument here, too: `local` is in nanoseconds of a clock that the driver chooses and
//! that is not set while it runs; `host` is the time since the Unix epoch by the host's clock.

use crate::mutants::{Mutant, broken};

/// The source of one replica's timestamps, in nanoseconds since the Unix epoch.
///
/// Theorem: every timestamp is above all earlier timestamps, both those made here and those seen
/// (64 bits last until 2554).
///
/// ```
/// use crane_core::timestamp::Timestamps;
///
/// let mut timestamps = Timestamps::new(0, 1_000);
/// assert_eq!(timestamps.timestamp(50), 1_050, "the local clock has moved by 50");
/// timestamps.saw(60, 9_000); // An entry of another primary, whose clock is ahead.
/// assert_eq!(timestamps.timestamp(60), 9_001);
/// assert_eq!(timestamps.timestamp(70), 9_010);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timestamps {
    /// The time when the local clock read `at`.
    base: u64,
    /// The reading of the local clock at the time `base`.
    at: u64,
    /// The highest timestamp that was made here or seen.
    last: u64,
}

impl Timestamps {
    /// Creates a clock that begins with the host's time.
    pub const fn new(local: u64, host: u64) -> Self {
        Self { base: host, at: local, last: 0 }
    }

    /// Returns the present time.
    pub const fn now(&self, local: u64) -> u64 {
        self.base.saturating_add(local.saturating_sub(self.at))
    }

    /// Returns the highest timestamp that was made here or seen; 0 if there was none.
    pub const fn highest(&self) -> u64 {
        self.last
    }

    /// Takes the timestamp of an entry. Time continues from that timestamp if it is ahead.
    // specs: S9
    pub fn saw(&mut self, local: u64, timestamp: u64) {
        if broken(Mutant::StampsUnseen) {
            return;
        }
        self.last = self.last.max(timestamp);
        if timestamp > self.now(local) {
            (self.base, self.at) = (timestamp, local);
        }
    }

    /// Takes the host's time if it is ahead, because this replica has become primary.
    pub fn consult_host(&mut self, local: u64, host: u64) {
        if host > self.now(local) {
            (self.base, self.at) = (host, local);
        }
    }

    /// Returns the next entry's timestamp.
    // specs: S9
    pub fn timestamp(&mut self, local: u64) -> u64 {
        self.last = self.now(local).max(self.last.saturating_add(1));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_grow_although_the_hosts_clock_is_behind() {
        let mut timestamps = Timestamps::new(7, 1_000);
        timestamps.saw(8, 9_000);
        timestamps.consult_host(9, 1_002);
        let first = timestamps.timestamp(9);
        assert_eq!(first, 9_001);
        assert_eq!(timestamps.timestamp(9), 9_002);
        timestamps.saw(10, 5);
        assert_eq!(timestamps.timestamp(109), 9_101);
    }

    #[test]
    fn timestamps_follow_a_primarys_host_that_is_ahead() {
        let mut timestamps = Timestamps::new(0, 1_000);
        assert_eq!(timestamps.timestamp(50), 1_050);
        timestamps.consult_host(50, 5_000);
        assert_eq!(timestamps.timestamp(60), 5_010);
    }

    #[test]
    fn timestamps_grow_while_the_local_clock_stops_or_goes_back() {
        let mut timestamps = Timestamps::new(100, 1_000);
        let made = [100, 100, 90, 100].map(|local| timestamps.timestamp(local));
        assert_eq!(made, [1_000, 1_001, 1_002, 1_003]);
    }
}
