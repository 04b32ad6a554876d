//! Deliberately broken variants of the core, which test the tests. Each variant leaves out one
//! thing that looks superfluous; simulation or model checking must detect it (`ci/mutants`).
//!
//! Only a build with `--cfg crane_mutants` can be broken, and such a build must have debug
//! assertions, which no release build has.

#[cfg(all(crane_mutants, not(debug_assertions)))]
compile_error!("the broken variants are for tests: they want debug assertions");

macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// The broken rule, in words.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(not(crane_mutants), allow(dead_code))]
        pub enum Mutant {
            $($(#[doc = $what])+ $name,)+
        }

        /// All mutants, with what each of them leaves out.
        #[cfg(crane_mutants)]
        pub const ALL: &[(Mutant, &str)] = &[$((Mutant::$name, concat!($($what),+)),)+];
    };
}

mutants! {
    /// a promise is not written to storage
    PromiseUnwritten,
    /// a promise is given before it is durable
    PromiseEarly,
    /// an entry is acknowledged before it is durable
    AcknowledgedEarly,
    /// an acceptance under an old ballot counts as a vote under the new one
    OldBallotCounts,
    /// one vote less than a quorum chooses an entry
    ChosenByOneLess,
    /// one promise less than a quorum elects a primary
    ElectedByOneLess,
    /// a primary is followed below the promise
    PromiseIgnored,
    /// an entry is kept although the primary has another one in its slot
    ConflictKept,
    /// a slot range is accepted without a check of the entry before it
    RunUnchecked,
    /// a node that has the first entry of a slot range is assumed to have all of it
    RunSkipped,
    /// a log is accepted as the primary's although it is longer
    TailKept,
    /// a new primary keeps its own log, whatever the quorum reports
    OwnLogTaken,
    /// a new primary takes over the longest log instead of the log with the highest ballot
    LongestLogTaken,
    /// a backup commits up to the primary's commit index without comparing the logs
    CommittedUnmatched,
    /// a node that lost its storage votes at once
    LossUnnoticed,
    /// a node that lost its storage votes once its return is in its log, committed or not
    ReturnedEarly,
    /// a node ignores that others recall more of its storage than it finds there
    OldCopyUnnoticed,
    /// a node votes before the others have said what they recall of its storage
    StorageTrusted,
    /// a change of members is proposed while another is undecided
    TwoChanges,
    /// a node that its own log removes waits in silence for the decision
    RemovedUnaware,
    /// entries that were sent and lost are not sent again
    NeverRepeated,
    /// ops that a primary lost are not forwarded again
    HandedOnce,
    /// a primary takes ops again that it has taken
    RepeatsTaken,
    /// a primary takes ops behind others that were lost on their way
    GapTaken,
    /// bytes of a connection are admitted whatever their offset is
    OffsetUnchecked,
    /// connections are admitted whatever their number is
    NumberUnchecked,
    /// connections of an incarnation are admitted in the next one
    OlderConnectionsAdmitted,
    /// a server restarts for each restart, whatever its number is
    RestartUnchecked,
    /// a primary timestamps entries by its own clock, whatever timestamps it has seen
    StampsUnseen,
    /// agreed time follows the clocks of fewer than half of the members
    FewClocksSuffice,
    /// agreed time steps to the median whenever it is behind
    TimeSteps,
    /// one replica drops a grant
    GrantDropped,
    /// one replica admits an op when it arrives
    AdmittedOnArrival,
    /// a timer of one replica expires when an entry arrives
    TimerOnArrival,
    /// the bytes of kept ops are not counted
    MemoryUncounted,
    /// a node continues after a failed sync as if it had succeeded
    SyncFailureIgnored,
    /// a damaged log is cut at the damage, and its node continues to vote
    DamageCutOff,
}

#[cfg(crane_mutants)]
static CHOSEN: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(u8::MAX);

/// Breaks the whole program in one way, or repairs it.
#[cfg(crane_mutants)]
pub fn choose(mutant: Option<Mutant>) {
    let number = mutant.map_or(u8::MAX, |mutant| mutant as u8);
    CHOSEN.store(number, core::sync::atomic::Ordering::SeqCst);
}

/// Returns whether the program is broken in this way.
#[cfg(crane_mutants)]
#[inline]
pub fn broken(mutant: Mutant) -> bool {
    CHOSEN.load(core::sync::atomic::Ordering::Relaxed) == mutant as u8
}

/// Returns `false`: this build cannot be broken.
#[cfg(not(crane_mutants))]
#[inline(always)]
pub const fn broken(_: Mutant) -> bool {
    false
}
