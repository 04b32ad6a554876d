//! Bubbles: clock steps that the primary asks for when no op brings them.
//!
//! Every entry carries a grant of its own (a *fused* bubble). A bubble, an entry without ops, is
//! needed only when a replica is stalled: a thread is runnable, and the script is used up. After an
//! op the primary waits for a moment, because another op would bring a grant along; when stalls
//! repeat without an op between them there is nothing to wait for, and the bubbles grow: a start-up
//! makes 10⁵ calls.
//!
//! The idea, and the names of the two numbers, are CRANE's (Cui et al., "Paxos Made Transparent",
//! SOSP 2015, §3.3), which asks for a bubble whenever no input came, stalled or not.

use crate::time::{Duration, Instant};

/// A bubble is at most this many times as large as the first one.
pub const GROWTH_MAX: u32 = 16;

/// Decides when a bubble is asked for, and how large it is. At most one is asked for at a time: the
/// caller says when one is outstanding.
///
/// ```
/// use crane_core::bubble::{Ask, Bubbles, Sight};
/// use crane_core::time::{Duration, Instant};
///
/// let mut bubbles = Bubbles::new(Duration::from_micros(100), 1000);
/// let stalled = Sight { stalled: true, outstanding: false, alone: false };
/// assert_eq!(bubbles.op(), 1000, "each entry brings a grant");
/// let due = Instant::from_micros(150);
/// assert_eq!(bubbles.look(Instant::from_micros(50), stalled), Ask::At(due));
/// assert_eq!(bubbles.look(due, stalled), Ask::Now { grant: 1000 });
/// // The stall lasts, and no op comes: the next bubble is larger.
/// assert_eq!(bubbles.look(due, stalled), Ask::Now { grant: 2000 });
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bubbles {
    /// How long to wait for another op before a bubble is asked for.
    wtimeout: Duration,
    /// Clock steps of an op's grant and of the first bubble; not 0.
    nclock: u32,
    /// The next bubble has this many times `nclock` steps: 1 after an op, then doubled with each
    /// bubble up to [`GROWTH_MAX`].
    growth: u32,
    /// Whether an entry with ops was proposed since the last bubble: then another may follow.
    op_since_bubble: bool,
    /// When the present stall was first seen; none while the replica is not stalled.
    stalled_since: Option<Instant>,
}

/// The primary's own replica, as the primary sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sight {
    /// The server has consumed the whole script, and a thread of it is runnable.
    pub stalled: bool,
    /// An entry is on its way to the script: proposed and not committed, or committed and not
    /// consumed.
    pub outstanding: bool,
    /// No client is connected, so that no op can come.
    pub alone: bool,
}

/// The next action of the primary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    /// Do nothing until something changes.
    Nothing,
    /// Look again at this time.
    At(Instant),
    /// Propose an entry without ops, with this grant.
    Now {
        /// In clock steps.
        grant: u32,
    },
}

impl Bubbles {
    /// Creates bubbles of `nclock` clock steps (not 0), asked for after `wtimeout` without an op.
    pub const fn new(wtimeout: Duration, nclock: u32) -> Self {
        assert!(nclock > 0);
        Self { wtimeout, nclock, growth: 1, op_since_bubble: false, stalled_since: None }
    }

    /// Counts an entry with ops that is proposed, and returns its grant in clock steps.
    pub fn op(&mut self) -> u32 {
        self.op_since_bubble = true;
        self.growth = 1;
        self.stalled_since = None;
        self.nclock
    }

    /// Returns what to do about the replica as it is. After [`Ask::Now`] the caller proposes, and
    /// says `outstanding` until the bubble has been consumed.
    // specs: S8
    pub fn look(&mut self, now: Instant, sight: Sight) -> Ask {
        if !sight.stalled || sight.outstanding {
            self.stalled_since = None;
            return Ask::Nothing;
        }
        let since = *self.stalled_since.get_or_insert(now);
        let due = since + self.wtimeout;
        if self.op_since_bubble && !sight.alone && now < due {
            return Ask::At(due);
        }
        let grant = self.nclock.saturating_mul(self.growth);
        self.growth = (self.growth * 2).min(GROWTH_MAX);
        self.op_since_bubble = false;
        self.stalled_since = None;
        Ask::Now { grant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Sight = Sight { stalled: true, outstanding: false, alone: false };

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    fn bubbles() -> Bubbles {
        Bubbles::new(Duration::from_micros(100), 1000)
    }

    #[test]
    fn after_an_op_it_waits_for_another() {
        let mut bubbles = bubbles();
        assert_eq!(bubbles.op(), 1000);
        assert_eq!(bubbles.look(at(10), STALLED), Ask::At(at(110)));
        assert_eq!(bubbles.look(at(60), STALLED), Ask::At(at(110)));
        assert_eq!(bubbles.look(at(110), STALLED), Ask::Now { grant: 1000 });
    }

    #[test]
    fn a_server_that_runs_again_restarts_the_wait() {
        let mut bubbles = bubbles();
        bubbles.op();
        assert_eq!(bubbles.look(at(10), STALLED), Ask::At(at(110)));
        let running = Sight { stalled: false, ..STALLED };
        assert_eq!(bubbles.look(at(100), running), Ask::Nothing);
        assert_eq!(bubbles.look(at(120), STALLED), Ask::At(at(220)));
    }

    #[test]
    fn with_nobody_connected_there_is_nothing_to_wait_for() {
        let mut bubbles = bubbles();
        bubbles.op();
        let alone = Sight { alone: true, ..STALLED };
        assert_eq!(bubbles.look(at(0), alone), Ask::Now { grant: 1000 });
    }

    #[test]
    fn repeated_stalls_grow_it_to_a_bound_and_an_op_shrinks_it() {
        let mut bubbles = bubbles();
        let mut grants = [0; 7];
        for grant in &mut grants {
            let Ask::Now { grant: asked } = bubbles.look(at(0), STALLED) else { panic!("no ask") };
            *grant = asked;
        }
        assert_eq!(grants, [1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]);
        bubbles.op();
        assert_eq!(bubbles.look(at(0), STALLED), Ask::At(at(100)));
        assert_eq!(bubbles.look(at(100), STALLED), Ask::Now { grant: 1000 });
    }

    #[test]
    fn a_quiescent_server_or_an_entry_on_its_way_asks_for_nothing() {
        let mut bubbles = bubbles();
        for sight in [Sight { stalled: false, ..STALLED }, Sight { outstanding: true, ..STALLED }] {
            for micros in 0..1000 {
                assert_eq!(bubbles.look(at(micros), sight), Ask::Nothing);
            }
        }
    }
}
