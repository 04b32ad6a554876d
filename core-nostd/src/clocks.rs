//! The clocks of a group's hosts, as one replica measures them, and their median.
//!
//! Each replica asks the others for their time of day and measures how long the answer takes, as in
//! NTP (Mills, "Internet time synchronization", 1991): the answer was given within that time, most
//! likely in its middle. The median of more than half of all members' clocks is off by no more than
//! the worse of the clocks that are right, as long as these are more than half (Marzullo and
//! Owicki, "Maintaining the time in a distributed system", 1983).
//!
//! All times are in nanoseconds: `local` is a clock of this replica that is not set while it runs,
//! a `wall` is a host's time since the Unix epoch.

use crate::id::NodeId;
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::paxos::NodeSet;

/// The time for which a measurement counts.
pub const VALID_FOR: u64 = 10_000_000_000;
/// The time after which a worse measurement takes the place of a better one.
const BETTER_FOR: u64 = 3_000_000_000;
/// How far a clock may be from the median without being off.
pub const TOLERANCE: u64 = 1_000_000_000;

/// A measurement of another host's clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Reading {
    /// The time of the local clock at which the other one most likely read `wall`.
    at: u64,
    /// The other clock's reading.
    wall: u64,
    /// By how much `at` may be wrong.
    error: u64,
}

impl Reading {
    /// Returns the other clock's present reading.
    const fn now(&self, local: u64) -> u64 {
        self.wall.saturating_add(local.saturating_sub(self.at))
    }
}

/// The clocks of all members, as one replica has measured them.
///
/// ```
/// use crane_core::clocks::Clocks;
/// use crane_core::id::NodeId;
/// use crane_core::paxos::NodeSet;
///
/// let [me, two, three] = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
/// let mut clocks = Clocks::new();
/// // Asked at 100, answered at 120: the others' clocks read 5000 and 90 000 in between.
/// clocks.measured(two, 100, 120, 5_000);
/// clocks.measured(three, 100, 120, 90_000);
/// let sight = clocks.look((me, 4_000), NodeSet::first(3), 120, 0);
/// assert_eq!(sight.median, Some(5_010));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Clocks {
    /// By node: its last measurement.
    readings: [Option<Reading>; NODES_MAX],
}

/// All clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockSight {
    /// By node: its clock, if it is known.
    pub walls: [Option<u64>; NODES_MAX],
    /// The median of the known clocks, if these are more than half of all.
    pub median: Option<u64>,
    /// Whether more than half of all clocks are within [`TOLERANCE`] of the median.
    pub is_agreed: bool,
}

impl ClockSight {
    /// Returns by how many nanoseconds a node's clock is ahead of the median, if both are known and
    /// the difference is above [`TOLERANCE`].
    pub fn off(&self, node: NodeId) -> Option<i64> {
        let (wall, median) = (self.walls[node.index()]?, self.median?);
        let ahead = wall.wrapping_sub(median) as i64;
        (ahead.unsigned_abs() > TOLERANCE).then_some(ahead)
    }
}

impl Clocks {
    /// Creates the state of a replica that has measured nothing.
    pub const fn new() -> Self {
        Self { readings: [None; NODES_MAX] }
    }

    /// Takes a measurement of a node's clock: it was asked at the local time `sent`, and the answer
    /// came at `received`. A better measurement of the last seconds stays.
    // specs: T2
    pub fn measured(&mut self, node: NodeId, sent: u64, received: u64, wall: u64) {
        // No question has been sent in the future: the answer is forged.
        let Some(error) = received.checked_sub(sent).map(|time| time / 2) else { return };
        let new = Reading { at: sent.saturating_add(error), wall, error };
        let place = &mut self.readings[node.index()];
        let is_kept = |old: &Reading| {
            old.error < error && received.saturating_sub(old.at) < BETTER_FOR.min(VALID_FOR)
        };
        if !place.as_ref().is_some_and(is_kept) {
            *place = Some(new);
        }
    }

    /// Forgets a node's clock.
    pub fn forget(&mut self, node: NodeId) {
        self.readings[node.index()] = None;
    }

    /// Looks at the clocks of all members, `mine` among them. Of an even number, the one of the two
    /// middle clocks that is nearer to the `agreed` time is the median.
    // specs: T2
    pub fn look(
        &self,
        mine: (NodeId, u64),
        members: NodeSet,
        local: u64,
        agreed: u64,
    ) -> ClockSight {
        let mut walls = [None; NODES_MAX];
        let (mut sorted, mut count) = ([0; NODES_MAX], 0);
        for node in members.iter() {
            let valid = |it: &Reading| local.saturating_sub(it.at) <= VALID_FOR;
            let reading = self.readings[node.index()].filter(valid);
            let wall = match node == mine.0 {
                true => Some(mine.1),
                false => reading.map(|reading| reading.now(local)),
            };
            walls[node.index()] = wall;
            if let Some(wall) = wall {
                sorted[count] = wall;
                count += 1;
            }
        }
        let sorted = &mut sorted[..count];
        sorted.sort_unstable();
        let known = 2 * count > members.len() || broken(Mutant::FewClocksSuffice) && count > 0;
        let median = known.then(|| {
            let (low, high) = (sorted[(count - 1) / 2], sorted[count / 2]);
            if agreed.abs_diff(high) < agreed.abs_diff(low) { high } else { low }
        });
        let near =
            |median: u64| sorted.iter().filter(|wall| wall.abs_diff(median) <= TOLERANCE).count();
        let is_agreed = median.is_some_and(|median| 2 * near(median) > members.len());
        ClockSight { walls, median, is_agreed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Node 1 of a group of `count`, at local time 0, with these clocks.
    fn sight(count: usize, walls: &[u64], agreed: u64) -> ClockSight {
        let mut clocks = Clocks::new();
        for (number, wall) in (2..).zip(&walls[1..]) {
            clocks.measured(node(number), 0, 0, *wall);
        }
        clocks.look((node(1), walls[0]), NodeSet::first(count), 0, agreed)
    }

    #[test]
    fn one_bad_clock_of_three_does_not_move_the_median() {
        let noon = 20_000 * DAY;
        for bad in [noon + DAY, noon - DAY, 0, u64::MAX] {
            let sight = sight(3, &[noon, bad, noon + 3], noon);
            assert!(sight.median.unwrap().abs_diff(noon) <= 3 && sight.is_agreed, "{bad}");
            assert_eq!((sight.off(node(1)), sight.off(node(3))), (None, None));
            assert_eq!(sight.off(node(2)), Some(bad.wrapping_sub(sight.median.unwrap()) as i64));
        }
    }

    #[test]
    fn half_of_all_clocks_or_fewer_have_no_median() {
        assert_eq!(sight(3, &[9], 0).median, None);
        assert_eq!(sight(4, &[9, 9], 0).median, None);
        assert_eq!(sight(3, &[7, 9], 0).median, Some(7));
        assert_eq!(sight(3, &[7, 9], 8_000).median, Some(9), "the nearer to agreed time");
        assert_eq!(sight(1, &[7], 0).median, Some(7));
    }

    #[test]
    fn two_bad_clocks_of_three_are_no_agreement() {
        let noon = 20_000 * DAY;
        let sight = sight(3, &[noon, noon + DAY, noon + 2 * DAY], noon);
        assert_eq!((sight.median, sight.is_agreed), (Some(noon + DAY), false));
    }

    #[test]
    fn a_measurement_counts_for_a_while_and_a_better_one_for_longer() {
        let mut clocks = Clocks::new();
        let wall = |clocks: &Clocks, local| {
            clocks.look((node(1), 0), NodeSet::first(2), local, 0).walls[1]
        };
        clocks.measured(node(2), 0, 10, 1_000);
        assert_eq!(wall(&clocks, 15), Some(1_010));
        clocks.measured(node(2), 20, 1_020, 7_000);
        assert_eq!(wall(&clocks, 1_025), Some(2_020), "a slow answer says less");
        clocks.measured(node(2), BETTER_FOR, BETTER_FOR + 1_000, 7_000);
        assert_eq!(wall(&clocks, BETTER_FOR + 500), Some(7_000));
        assert_eq!(wall(&clocks, BETTER_FOR + 500 + VALID_FOR), Some(7_000 + VALID_FOR));
        assert_eq!(wall(&clocks, BETTER_FOR + 501 + VALID_FOR), None);
        clocks.measured(node(2), 0, u64::MAX, u64::MAX);
        clocks.forget(node(2));
        clocks.measured(node(2), 9, 8, 7_000);
        assert_eq!(wall(&clocks, 0), None);
    }
}
