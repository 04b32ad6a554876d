//! The primary's clock, as entries are stamped with it.
//!
//! Stamps grow from entry to entry, also from one primary to the next, whatever the clocks of their
//! hosts say: a replica goes on from the highest stamp that it has seen in any entry. So the driver
//! shows every stamp that gets into its log, and those that are in it at the start, committed or not;
//! a log that was cut is replaced by the agreed time of the checkpoint.
//!
//! Time is an argument here, too: `local` is in nanoseconds of a clock that the driver chooses and
//! that is not set while it runs; `host` is what the host takes for the time since the Unix epoch.

use crate::mutants::{Mutant, broken};

/// What one replica would stamp entries with, in nanoseconds since the Unix epoch.
///
/// Theorem: every stamp is above all stamps before it, made here or seen (64 bits last until 2554).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stamps {
    /// The time at the moment `at` of the local clock.
    base: u64,
    at: u64,
    last: u64,
}

impl Stamps {
    /// Begins with the time that the host tells.
    pub const fn new(local: u64, host: u64) -> Self {
        Self { base: host, at: local, last: 0 }
    }

    /// The time now.
    pub const fn now(&self, local: u64) -> u64 {
        self.base.saturating_add(local.saturating_sub(self.at))
    }

    /// An entry has this stamp: time goes on from there if it is ahead.
    // specs: S9
    pub fn saw(&mut self, local: u64, stamp: u64) {
        if broken(Mutant::StampsUnseen) {
            return;
        }
        self.last = self.last.max(stamp);
        if stamp > self.now(local) {
            (self.base, self.at) = (stamp, local);
        }
    }

    /// This replica has become primary: the host's clock counts again if it is ahead.
    pub fn consult_host(&mut self, local: u64, host: u64) {
        if host > self.now(local) {
            (self.base, self.at) = (host, local);
        }
    }

    /// The next entry's stamp.
    // specs: S9
    pub fn stamp(&mut self, local: u64) -> u64 {
        self.last = self.now(local).max(self.last.saturating_add(1));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_over_a_host_whose_clock_is_behind() {
        let mut stamps = Stamps::new(7, 1_000);
        stamps.saw(8, 9_000);
        stamps.consult_host(9, 1_002);
        let first = stamps.stamp(9);
        assert_eq!(first, 9_001);
        assert_eq!(stamps.stamp(9), 9_002);
        stamps.saw(10, 5);
        assert_eq!(stamps.stamp(109), 9_101);
    }

    #[test]
    fn a_host_that_is_ahead_is_believed_when_its_replica_leads() {
        let mut stamps = Stamps::new(0, 1_000);
        assert_eq!(stamps.stamp(50), 1_050);
        stamps.consult_host(50, 5_000);
        assert_eq!(stamps.stamp(60), 5_010);
    }

    #[test]
    fn a_local_clock_that_stands_still_or_goes_back_makes_no_stamp_twice() {
        let mut stamps = Stamps::new(100, 1_000);
        let made = [100, 100, 90, 100].map(|local| stamps.stamp(local));
        assert_eq!(made, [1_000, 1_001, 1_002, 1_003]);
    }
}
