//! Deliberately broken variants of the core: tests of the tests. Each leaves out one thing that
//! looks as if it could be left out; simulation or model checking must notice (`ci/mutants`).
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

        /// All of them, with what they leave out.
        #[cfg(crane_mutants)]
        pub const ALL: &[(Mutant, &str)] = &[$((Mutant::$name, concat!($($what),+)),)+];
    };
}

mutants! {
    /// a promise is not written down
    PromiseUnwritten,
    /// a promise is given before it is durable
    PromiseEarly,
    /// an entry is acknowledged before it is durable
    AcknowledgedEarly,
    /// what was accepted under an old ballot counts as a vote under the new one
    OldBallotCounts,
    /// one vote less than a majority chooses
    ChosenByOneLess,
    /// one promise less than a majority elects
    ElectedByOneLess,
    /// a primary is followed below the promise
    PromiseIgnored,
    /// an entry stays where the primary has another one
    ConflictKept,
    /// a run is accepted without looking at the entry before it
    RunUnchecked,
    /// whoever has the first entry of a run is taken to have all of it
    RunSkipped,
    /// a log is accepted as the primary's with what goes beyond it
    TailKept,
    /// a new primary keeps its own log, whatever the majority reports
    OwnLogTaken,
    /// a new primary takes over the longest log instead of the one of the highest ballot
    LongestLogTaken,
    /// a backup commits what the primary has committed, in its own log
    CommittedUnmatched,
    /// who lost its storage votes at once
    LossUnnoticed,
    /// who lost its storage votes when its return is in its log, committed or not
    ReturnedEarly,
    /// a change of members is proposed while another is undecided
    TwoChanges,
    /// what was sent and lost is not sent again
    NeverRepeated,
    /// ops that a primary lost are not handed over again
    HandedOnce,
    /// bytes of a connection are admitted whatever their offset is
    OffsetUnchecked,
    /// connections are admitted whatever their number is
    NumberUnchecked,
    /// a primary timestamps entries by its own clock, whatever timestamps it has seen
    StampsUnseen,
    /// one replica drops a grant
    GrantDropped,
    /// one replica admits an op when it arrives
    AdmittedOnArrival,
    /// an op is freed from a full memory by those behind it
    MemoryUncounted,
    /// a node goes on after a failed sync as if it had succeeded
    SyncFailureIgnored,
    /// a damaged log is cut at the damage, and its node votes on
    DamageCutOff,
}

#[cfg(crane_mutants)]
static CHOSEN: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(u8::MAX);

/// Breaks the whole program in one way, or mends it.
#[cfg(crane_mutants)]
pub fn choose(mutant: Option<Mutant>) {
    let number = mutant.map_or(u8::MAX, |mutant| mutant as u8);
    CHOSEN.store(number, core::sync::atomic::Ordering::SeqCst);
}

/// Whether the program is broken in this way.
#[cfg(crane_mutants)]
#[inline]
pub fn broken(mutant: Mutant) -> bool {
    CHOSEN.load(core::sync::atomic::Ordering::Relaxed) == mutant as u8
}

/// Whether the program is broken in this way: it is not.
#[cfg(not(crane_mutants))]
#[inline(always)]
pub const fn broken(_: Mutant) -> bool {
    false
}
