//! The primary's clock, from which entries get their timestamps: *agreed time*.
//!
//! Timestamps grow from entry to entry, also from one primary to the next. No host's clock decides
//! over them: a replica continues from the highest timestamp that it has seen in any entry, at the
//! rate of its own monotonic clock, and a primary corrects that rate by at most one percent towards
//! the median of the members' clocks ([`clocks`](crate::clocks)). The driver therefore reports
//! every timestamp that enters the log to [`Timestamps::saw`], and at the start all timestamps that
//! the log holds, committed or not. If the log's front was cut, the driver reports the agreed time
//! of the checkpoint instead.
//!
//! While no replica ran, nothing counted the time. A new primary therefore steps forward to the
//! median once, if more than half of the clocks agree on it.
//!
//! Time is an argument here, too: `local` is in nanoseconds of a clock that the driver chooses and
//! that is not set while it runs; `host` is the time since the Unix epoch by the host's clock.

use crate::clocks::{ClockSight, TOLERANCE};
use crate::mutants::{Mutant, broken};

/// The largest correction of the rate, in millionths.
pub const SLEW_MAX: i64 = 10_000;
/// The time in which a correction is to end, as far as [`SLEW_MAX`] permits.
const CORRECT_WITHIN: i64 = 1_000_000_000;
/// The time for which a correction lasts unless it is renewed.
const CORRECTION_LASTS: u64 = 2_000_000_000;

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
/// timestamps.saw(60, 9_000); // An entry of another primary.
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
    /// The correction of the rate, in millionths; at most [`SLEW_MAX`] either way.
    slew: i64,
    /// The reading of the local clock at which the correction ends.
    slew_until: u64,
    /// Whether this replica has become primary, and may step forward once.
    may_step: bool,
}

impl Timestamps {
    /// Creates a clock that begins with the host's time, until a timestamp is seen.
    pub const fn new(local: u64, host: u64) -> Self {
        Self { base: host, at: local, last: 0, slew: 0, slew_until: 0, may_step: false }
    }

    /// Returns the present time.
    // specs: T1
    pub const fn now(&self, local: u64) -> u64 {
        let since = local.saturating_sub(self.at);
        let until = if local < self.slew_until { local } else { self.slew_until };
        let corrected = until.saturating_sub(self.at);
        let correction = corrected as i128 * self.slew as i128 / 1_000_000;
        self.base.saturating_add(since).saturating_add_signed(correction as i64)
    }

    /// Returns the highest timestamp that was made here or seen; 0 if there was none.
    pub const fn highest(&self) -> u64 {
        self.last
    }

    /// Takes the timestamp of an entry. Time continues from the highest one.
    // specs: S9, T1
    pub fn saw(&mut self, local: u64, timestamp: u64) {
        if broken(Mutant::StampsUnseen) {
            return;
        }
        if timestamp > self.last {
            (self.last, self.base, self.at) = (timestamp, timestamp, local);
        }
    }

    /// Lets time step forward once, because this replica has become primary.
    // specs: T4
    pub const fn became_primary(&mut self) {
        self.may_step = true;
    }

    /// Begins with the median of the members' clocks, in a group that has no timestamp yet.
    // specs: T5
    pub fn begin_with(&mut self, local: u64, sight: &ClockSight) {
        if let Some(median) = sight.median
            && self.last == 0
        {
            (self.base, self.at) = (median, local);
        }
    }

    /// Corrects the rate of this primary's clock towards the median of the members' clocks. Call
    /// this at least once within two seconds: a correction lasts no longer.
    // specs: T3, T4
    pub fn steer(&mut self, local: u64, sight: &ClockSight) {
        let now = self.now(local);
        (self.base, self.at) = (now, local);
        (self.slew, self.slew_until) = (0, local);
        let Some(median) = sight.median else { return };
        if self.may_step && sight.is_agreed || broken(Mutant::TimeSteps) {
            self.may_step = false;
            if median > now.saturating_add(TOLERANCE) {
                self.base = median;
                return;
            }
        }
        let ahead = i128::from(median) - i128::from(now);
        let wanted = ahead * 1_000_000 / i128::from(CORRECT_WITHIN);
        let most = i128::from(SLEW_MAX);
        self.slew = wanted.clamp(-most, most) as i64;
        self.slew_until = local.saturating_add(CORRECTION_LASTS);
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
    use crate::limits::NODES_MAX;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;

    fn sight(median: u64, is_agreed: bool) -> ClockSight {
        ClockSight { walls: [None; NODES_MAX], median: Some(median), is_agreed }
    }

    #[test]
    fn timestamps_grow_although_the_hosts_clock_is_behind() {
        let mut timestamps = Timestamps::new(7, 1_000);
        timestamps.saw(8, 9_000);
        let first = timestamps.timestamp(9);
        assert_eq!(first, 9_001);
        assert_eq!(timestamps.timestamp(9), 9_002);
        timestamps.saw(10, 5);
        assert_eq!(timestamps.timestamp(109), 9_101);
    }

    #[test]
    fn a_primary_continues_from_the_last_timestamp_whatever_its_own_clock_says() {
        let mut timestamps = Timestamps::new(0, DAY);
        timestamps.saw(50, 5_000);
        timestamps.became_primary();
        assert_eq!(timestamps.timestamp(60), 5_010);
    }

    #[test]
    fn timestamps_grow_while_the_local_clock_stops_or_goes_back() {
        let mut timestamps = Timestamps::new(100, 1_000);
        let made = [100, 100, 90, 100].map(|local| timestamps.timestamp(local));
        assert_eq!(made, [1_000, 1_001, 1_002, 1_003]);
    }

    /// Runs a primary for this many seconds of its own clock, whose offset from the median grows by
    /// `drift` millionths. Returns by how much the last timestamp is ahead of the median.
    fn run(timestamps: &mut Timestamps, seconds: u64, median_at_start: u64, drift: i64) -> i64 {
        let median = |local: u64| {
            let drifted = local as i128 * i128::from(drift) / 1_000_000;
            (i128::from(median_at_start) + i128::from(local) + drifted) as u64
        };
        let mut last = (0, timestamps.timestamp(0));
        for local in (0..=seconds * 5).map(|step| step * SECOND / 5) {
            timestamps.steer(local, &sight(median(local), true));
            let timestamp = timestamps.timestamp(local);
            let (passed, moved) = (local - last.0, timestamp - last.1);
            assert!(passed == 0 || moved + 2 >= passed - passed / 100, "{moved} in {passed}");
            assert!(passed == 0 || moved <= passed + passed / 100 + 2, "{moved} in {passed}");
            last = (local, timestamp);
        }
        last.1.wrapping_sub(median(last.0)) as i64
    }

    #[test]
    fn time_is_slewed_by_one_percent_at_most_and_never_goes_back() {
        for (start, median) in [(DAY, DAY + 3 * SECOND), (DAY + 3 * SECOND, DAY)] {
            let mut timestamps = Timestamps::new(0, start);
            let off = run(&mut timestamps, 400, median, 0);
            assert!(off.abs() < 10_000_000, "{off} ns");
        }
        let off = run(&mut Timestamps::new(0, DAY), 600, DAY, 5_000);
        assert!(off.abs() < 50_000_000, "a drift of half a percent: {off} ns");
        let off = run(&mut Timestamps::new(0, 2 * DAY), 100, DAY, 0);
        assert!(off > (DAY - 2 * SECOND) as i64, "a whole day ahead");
    }

    #[test]
    fn a_new_primary_steps_forward_once_if_most_clocks_agree() {
        let mut timestamps = Timestamps::new(0, DAY);
        timestamps.saw(0, DAY);
        timestamps.steer(0, &sight(2 * DAY, true));
        assert!(timestamps.now(SECOND) < DAY + 2 * SECOND, "it is not new");
        timestamps.became_primary();
        timestamps.steer(SECOND, &sight(2 * DAY, false));
        assert!(timestamps.now(2 * SECOND) < DAY + 3 * SECOND, "two bad clocks of three");
        timestamps.steer(2 * SECOND, &sight(2 * DAY, true));
        assert_eq!(timestamps.timestamp(2 * SECOND), 2 * DAY);
        timestamps.steer(3 * SECOND, &sight(3 * DAY, true));
        assert!(timestamps.timestamp(4 * SECOND) < 2 * DAY + 3 * SECOND, "once");
        timestamps.became_primary();
        timestamps.steer(5 * SECOND, &sight(DAY, true));
        assert!(timestamps.timestamp(5 * SECOND) > 2 * DAY, "never back");
    }

    #[test]
    fn a_correction_ends_with_its_measurements() {
        let mut timestamps = Timestamps::new(0, DAY);
        timestamps.steer(0, &sight(2 * DAY, false));
        let left = timestamps.now(100 * SECOND) - DAY;
        assert_eq!(left, 100 * SECOND + SECOND / 50);
        timestamps.steer(100 * SECOND, &ClockSight { median: None, ..sight(0, false) });
        assert_eq!(timestamps.now(200 * SECOND) - DAY, 200 * SECOND + SECOND / 50);
    }

    #[test]
    fn a_group_begins_with_the_median() {
        let mut timestamps = Timestamps::new(0, 3 * DAY);
        timestamps.begin_with(10, &sight(DAY, true));
        assert_eq!(timestamps.timestamp(20), DAY + 10);
        timestamps.begin_with(30, &sight(2 * DAY, true));
        assert_eq!(timestamps.timestamp(40), DAY + 30, "it has begun");
    }
}
