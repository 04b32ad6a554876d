//! Bubbles: clock steps for which the primary asks when no op brings any.
//!
//! Every entry carries its own grant (a *fused* bubble). A bubble, which is an entry without ops,
//! is needed only when a replica is stalled: a thread is runnable, and the script is used up. After
//! an op the primary waits for a moment, because another op would bring a grant. When stalls repeat
//! without an op between them, waiting is useless, and the bubbles grow: a server that starts makes
//! 10⁵ calls.
//!
//! The idea and the names of the two numbers come from CRANE (Cui et al., "Paxos Made Transparent",
//! SOSP 2015, §3.3), which asks for a bubble whenever no input arrives, stalled or not.

use crate::time::{Duration, Instant};

/// The size of the largest bubble, as a multiple of the size of the first one.
pub const GROWTH_MAX: u32 = 16;

/// Decides when to ask for a bubble, and how large the bubble is. At most one bubble is outstanding
/// at a time: the caller reports whether one is.
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
    /// How long to wait for another op before asking for a bubble.
    wtimeout: Duration,
    /// The number of clock steps in an op's grant and in the first bubble; not 0.
    nclock: u32,
    /// The size of the next bubble as a multiple of `nclock`: 1 after an op, then doubled with each
    /// bubble up to [`GROWTH_MAX`].
    growth: u32,
    /// Whether an entry with ops was proposed since the last bubble. If so, another op may follow.
    op_since_bubble: bool,
    /// When the present stall was first seen; `None` while the replica is not stalled.
    stalled_since: Option<Instant>,
}

/// The state of the primary's own replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sight {
    /// The server has consumed the whole script, and one of its threads is runnable.
    pub stalled: bool,
    /// An entry is on its way to the script: proposed and not committed, or committed and not
    /// consumed.
    pub outstanding: bool,
    /// No client is connected, so no op can arrive.
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
        /// The grant in clock steps.
        grant: u32,
    },
}

impl Bubbles {
    /// Creates bubbles of `nclock` clock steps (not 0), asked for after `wtimeout` without an op.
    pub const fn new(wtimeout: Duration, nclock: u32) -> Self {
        assert!(nclock > 0);
        Self { wtimeout, nclock, growth: 1, op_since_bubble: false, stalled_since: None }
    }

    /// Counts a proposed entry with ops, and returns its grant in clock steps.
    pub fn op(&mut self) -> u32 {
        self.op_since_bubble = true;
        self.growth = 1;
        self.stalled_since = None;
        self.nclock
    }

    /// Returns the next action for a replica in this state. After [`Ask::Now`] the caller proposes
    /// the bubble, and sets `outstanding` until the bubble has been consumed.
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
    fn a_stall_after_an_op_waits_before_it_asks() {
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
    fn a_stall_without_connections_asks_at_once() {
        let mut bubbles = bubbles();
        bubbles.op();
        let alone = Sight { alone: true, ..STALLED };
        assert_eq!(bubbles.look(at(0), alone), Ask::Now { grant: 1000 });
    }

    #[test]
    fn repeated_stalls_grow_the_grant_to_a_bound_and_an_op_resets_it() {
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
    fn a_quiescent_server_or_an_outstanding_entry_asks_for_nothing() {
        let mut bubbles = bubbles();
        for sight in [Sight { stalled: false, ..STALLED }, Sight { outstanding: true, ..STALLED }] {
            for micros in 0..1000 {
                assert_eq!(bubbles.look(at(micros), sight), Ask::Nothing);
            }
        }
    }
}
