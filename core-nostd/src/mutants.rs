//! Deliberately broken variants of the core, which test the tests. Each variant leaves out one
//! thing that looks superfluous; simulation must detect it (`ci/mutants`). Before its name is the
//! rule of `specs` that it breaks.
//!
//! Only a build with `--cfg crane_mutants` can be broken, and such a build must have debug
//! assertions, which no release build has.

#[cfg(all(crane_mutants, not(debug_assertions)))]
compile_error!("the broken variants are for tests: they want debug assertions");

macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $rule:ident $name:ident,)+) => {
        /// The broken rule, in words.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(not(crane_mutants), allow(dead_code))]
        pub enum Mutant {
            $($(#[doc = $what])+ $name,)+
        }

        /// All mutants, with what each of them leaves out, and the rule that it breaks.
        #[cfg(crane_mutants)]
        pub const ALL: &[(Mutant, &str, &str)] =
            &[$((Mutant::$name, concat!($($what),+), stringify!($rule)),)+];
    };
}

mutants! {
    /// a promise is not written to storage
    P2 PromiseUnwritten,
    /// a candidate asks for promises before its own one is durable
    P1 AskedEarly,
    /// a promise is given before it is durable
    P3 PromiseEarly,
    /// an entry is acknowledged before it is durable
    P3 AcknowledgedEarly,
    /// an acceptance under an old ballot counts as a vote under the new one
    P8 OldBallotCounts,
    /// one vote less than a quorum chooses an entry
    P9 ChosenByOneLess,
    /// one promise less than a quorum elects a primary
    P6 ElectedByOneLess,
    /// a primary is followed below the promise
    P2 PromiseIgnored,
    /// an entry is kept although the primary has another one in its slot
    P4 ConflictKept,
    /// a slot range is accepted without a check of the entry before it
    P4 RunUnchecked,
    /// a node that has the first entry of a slot range is assumed to have all of it
    P4 RunSkipped,
    /// a log is accepted as the primary's although it is longer
    P8 TailKept,
    /// a new primary keeps its own log, whatever the quorum reports
    P7 OwnLogTaken,
    /// a new primary takes over the longest log instead of the log with the highest ballot
    P7 LongestLogTaken,
    /// a backup commits up to the primary's commit index without comparing the logs
    P10 CommittedUnmatched,
    /// a commit index falls
    P11 CommitTakenBack,
    /// a node that hears a primary grants pre-votes
    P12 CandidatesWelcome,
    /// a primary that hears no quorum stays primary
    P13 NeverStepsDown,
    /// a primary proposes twice in a slot
    P5 ProposedTwice,
    /// a node that lost its storage votes at once
    R3 LossUnnoticed,
    /// a node that lost its storage votes once its return is in its log, committed or not
    R5 ReturnedEarly,
    /// a blank node becomes ready as soon as one member has answered
    R1 ReadyUnmet,
    /// a ready node votes, whatever the others have answered
    R2 ReadyVotes,
    /// a primary names an epoch again that its log names
    R7 RejoinRepeated,
    /// a primary names an epoch although the node does not know which one the log names
    R7 RejoinUninformed,
    /// a node continues to vote with an epoch that its log has ended
    R8 EndedEpochKept,
    /// a node ignores that others recall more of its storage than it finds there
    R11 OldCopyUnnoticed,
    /// a node votes before the others have said what they recall of its storage
    R10 StorageTrusted,
    /// a change of members is proposed while another is undecided
    M3 TwoChanges,
    /// a change adds or removes more than one voter
    M1 TwoVotersChanged,
    /// the members are those of the last change that is committed
    M2 OldMembersCount,
    /// a primary that was removed stays primary
    M5 RemovedLeads,
    /// a node that its own log removes waits in silence for the decision
    M6 RemovedUnaware,
    /// entries that were sent and lost are not sent again
    P5 NeverRepeated,
    /// ops that a primary lost are not forwarded again
    E6 HandedOnce,
    /// a committed op frees another one
    E5 OthersFreed,
    /// a daemon starts with the generation of its last run
    E8 GenerationKept,
    /// a primary takes ops again that it has taken
    E12 RepeatsTaken,
    /// a primary takes ops behind others that were lost on their way
    E12 GapTaken,
    /// bytes of a connection are admitted whatever their offset is
    E3 OffsetUnchecked,
    /// connections are admitted whatever their number is
    E1 NumberUnchecked,
    /// connections of an incarnation are admitted in the next one
    I2 OlderConnectionsAdmitted,
    /// a server restarts for each restart, whatever its number is
    I1 RestartUnchecked,
    /// a primary timestamps entries by its own clock, whatever timestamps it has seen
    S9 StampsUnseen,
    /// agreed time follows the clocks of fewer than half of the members
    T2 FewClocksSuffice,
    /// agreed time steps to the median whenever it is behind
    T4 TimeSteps,
    /// one replica drops a grant
    S4 GrantDropped,
    /// one replica admits an op when it arrives
    S2 AdmittedOnArrival,
    /// a server is given entries that are not committed
    S1 FedUndecided,
    /// one replica takes a step that was not granted, instead of waiting
    S3 StepChosen,
    /// one replica adds something to agreed time
    S5 OwnTimeAdded,
    /// a thread of one replica loses its turn when an entry arrives
    S6 YieldedOnArrival,
    /// a timer of one replica expires when an entry arrives
    S11 TimerOnArrival,
    /// a child of one replica queues up for its first turn when an entry arrives
    S15 BornOnArrival,
    /// the numbers of children of one replica count the other processes of its host
    S15 HostNumbers,
    /// the end of a process of one replica is heard of when an entry arrives
    S16 EndedOnArrival,
    /// a parent of one replica waits for its ended children in the order of their numbers
    S16 LowestReaped,
    /// a server continues without a process that its host has ended
    S16 KillUnnoticed,
    /// a signal of one replica is handled when an entry arrives
    S17 HandledOnArrival,
    /// a parent of one replica that waits for a child gets no signal of its end
    S17 EndUnsignalled,
    /// the bytes of kept ops are not counted
    E4 MemoryUncounted,
    /// a node continues after a failed sync as if it had succeeded
    P3 SyncFailureIgnored,
    /// a damaged log is cut at the damage, and its node continues to vote
    R9 DamageCutOff,
    /// a promise or an acknowledgement counts whatever the epoch of its storage is
    R4 EpochsUncounted,
    /// an answer counts although another run of the program asked for it
    R6 OldAnswersCount,
    /// a primary changes the members before a quorum has adopted its log
    M3 ChangedEarly,
    /// a learner that lacks the log becomes a voter
    M4 VoterUnready,
    /// a new member inherits the votes of an old one of its number
    M4 VotesInherited,
    /// a candidate that another primary has overtaken becomes primary
    P14 NeverOvertaken,
    /// a connection of a retired generation is admitted
    E7 RetiredAdmitted,
    /// the connections of a retired generation stay
    E7 RetireIgnored,
    /// the server does not learn what its clients have read
    E2 DrainedIgnored,
    /// marks of servers that were found wrong count towards no majority
    D1 LateUncounted,
    /// the marks of a majority decide nothing
    D2 MajorityUncounted,
    /// a server that is wrong continues to serve
    D4 WrongServes,
    /// no checkpoint is taken for a replica that needs one
    C8 LackingUnheard,
    /// a primary keeps its role without a server
    H11 ServerlessLeads,
    /// the calls of servers that differ are not kept
    D8 CallsLost,
    /// each sync that becomes due restarts the time for which a disk stands still
    H1 DueRestartsStandstill,
    /// a server that uses the processor without a call stands still
    H1 ProcessorUncounted,
    /// a server is never found to be passed by others
    H2 NeverPassed,
    /// a sick primary never transfers its role
    H3 NeverTransferred,
    /// a primary may be sick for as long as before, however often the role was lost
    H4 LossesUncounted,
    /// a replica that was sick is well as soon as it makes progress
    H5 NeverOnTrial,
    /// a sick primary transfers its role to any member
    H6 TransferredToAnybody,
    /// a node whose disk stands still starts elections
    H7 HungDiskElected,
    /// a sick replica takes clients
    H8 SickTakesClients,
    /// the connections that a sick replica has reset stay open at the servers
    H9 HandedOnUnretired,
    /// elections are as quick on slow disks as on others
    H10 SlowSyncsHurried,
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
