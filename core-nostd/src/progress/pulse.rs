//! The signs of progress: syncs that return, a server that moves, and a trial that is stood.

use crate::mutants::{Mutant, broken};
use crate::time::{Duration, Instant};

use super::vitals::{Ailment, ScriptPosition};
use super::{MEASURE_EVERY, QUICK_SYNC, STANDSTILL_MAX, SYNC_COUNTS, TRIAL, TRIAL_SYNC};

/// The syncs of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct DiskPulse {
    /// The number of the last sync that has become due.
    due: u64,
    /// The number of the last sync that has returned.
    done: u64,
    /// Since when the oldest sync that has not returned is due, or when the one before it returned,
    /// whichever is later.
    since: Instant,
    /// When a sync last took longer than [`QUICK_SYNC`].
    slow_at: Option<Instant>,
    /// The longest of the last syncs, if it took longer than [`TRIAL_SYNC`], and when it returned.
    longest: Option<(Duration, Instant)>,
}

impl DiskPulse {
    /// Creates the state of a disk that has nothing to do.
    pub(super) const fn new(now: Instant) -> Self {
        Self { due: 0, done: 0, since: now, slow_at: None, longest: None }
    }

    /// Records that a sync is due, and returns its number.
    // specs: H1
    pub(super) fn sync_due(&mut self, now: Instant) -> u64 {
        if self.due == self.done || broken(Mutant::DueRestartsStandstill) {
            self.since = now;
        }
        self.due += 1;
        self.due
    }

    /// Records that all syncs up to this number have returned. Returns how long the last one took,
    /// or `None` if nothing is new.
    // specs: H1
    pub(super) fn synced(&mut self, now: Instant, number: u64) -> Option<Duration> {
        if number <= self.done || number > self.due {
            return None;
        }
        let took = now.since(self.since);
        (self.done, self.since) = (number, now);
        if took > QUICK_SYNC {
            self.slow_at = Some(now);
        }
        let before = self.longest.filter(|(_, at)| now.since(*at) < SYNC_COUNTS);
        let is_longer = took > TRIAL_SYNC && before.is_none_or(|(before, _)| took >= before);
        self.longest = if is_longer { Some((took, now)) } else { before };
        Some(took)
    }

    /// Returns how long a sync takes, if that is longer than [`TRIAL_SYNC`]; else zero.
    // specs: H10
    pub(super) fn sync_time(&self, now: Instant) -> Duration {
        let standing = self.stands_since().map_or(Duration::ZERO, |since| now.since(since));
        let known = self.longest.filter(|(_, at)| now.since(*at) < SYNC_COUNTS);
        let longest = known.map_or(Duration::ZERO, |(took, _)| took).max(standing);
        let is_slow = longest > TRIAL_SYNC && !broken(Mutant::SlowSyncsHurried);
        if is_slow { longest.min(STANDSTILL_MAX) } else { Duration::ZERO }
    }

    /// Forgets the time for which a sync has been due, because this replica itself stood still.
    // specs: H1
    pub(super) const fn excuse(&mut self, now: Instant) {
        self.since = now;
    }

    /// Returns since when the disk stands still, if a sync is due.
    pub(super) const fn stands_since(&self) -> Option<Instant> {
        if self.due > self.done { Some(self.since) } else { None }
    }

    /// Returns whether a sync has taken, or takes, longer than [`QUICK_SYNC`].
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.slow_at.is_some_and(|at| now.since(at) < TRIAL)
            || self.stands_since().is_some_and(|since| now.since(since) > QUICK_SYNC)
    }

    /// Returns when the disk is no longer slow, if it is and nothing is due.
    pub(super) fn quick_again(&self, now: Instant) -> Option<Instant> {
        self.slow_at.map(|at| at + TRIAL).filter(|at| *at > now)
    }
}

/// The progress of a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ServerPulse {
    /// The position, while the server runs and may be expected to move.
    position: Option<ScriptPosition>,
    /// Whether the server has work.
    has_work: bool,
    /// Whether the servers of others have passed this one.
    is_passed: bool,
    /// When the server last moved, used processor time, or was not yet passed by others.
    moved: Instant,
    /// The processor time at the first measurement since then, in microseconds.
    processor: Option<u64>,
    /// Whether a later measurement found that no processor time was used.
    is_idle: bool,
    /// When the next measurement may follow at the earliest, less [`MEASURE_EVERY`].
    measured: Instant,
}

impl ServerPulse {
    /// Creates the state of a server that does not run.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            position: None,
            has_work: false,
            is_passed: false,
            moved: now,
            processor: None,
            is_idle: false,
            measured: now,
        }
    }

    /// Returns the position, while the server runs and may be expected to move.
    pub(super) const fn position(&self) -> Option<ScriptPosition> {
        self.position
    }

    /// Returns whether the server has work.
    pub(super) const fn has_work(&self) -> bool {
        self.has_work
    }

    /// Takes the position of the server, and whether it has work.
    // specs: H1
    pub(super) fn see(&mut self, now: Instant, position: Option<ScriptPosition>, has_work: bool) {
        self.has_work = has_work;
        if self.position != position || position.is_none() {
            self.position = position;
            self.progress(now);
        }
    }

    /// Takes whether others have passed the server, which need not move otherwise.
    // specs: H2
    pub(super) const fn compare(&mut self, now: Instant, is_passed: bool) {
        self.is_passed = is_passed;
        if !is_passed {
            self.progress(now);
        }
    }

    /// Takes the processor time that the server has used in all, in microseconds.
    // specs: H1
    pub(super) fn used_processor(&mut self, now: Instant, total: u64) {
        match self.processor {
            None => self.processor = Some(total),
            Some(before) if total <= before || broken(Mutant::ProcessorUncounted) => {
                self.is_idle = true;
            }
            Some(_) => {
                self.progress(now);
                self.processor = Some(total);
            }
        }
    }

    /// Records that the server has moved, or need not.
    pub(super) const fn progress(&mut self, now: Instant) {
        (self.moved, self.measured) = (now, now);
        (self.processor, self.is_idle) = (None, false);
    }

    /// Returns since when the server stands still, if others have passed it.
    pub(super) fn stands_since(&self) -> Option<Instant> {
        self.is_passed.then_some(self.moved)
    }

    /// Returns whether the server was found to use no processor time since then.
    pub(super) const fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Returns the ailment of a server that stands still.
    pub(super) const fn ailment(&self) -> Ailment {
        if self.has_work { Ailment::Server } else { Ailment::Reception }
    }

    /// Returns when the server's processor time is to be measured, if it stands still: twice before
    /// it counts as one that does, and for as long as it does.
    pub(super) fn next_measurement(&self) -> Option<Instant> {
        self.is_passed.then(|| self.measured + MEASURE_EVERY)
    }

    /// Records that a measurement is on its way.
    pub(super) const fn measure(&mut self, now: Instant) {
        self.measured = now;
    }
}

/// A trial: how long everything has been well again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct HealthTrial {
    /// When the first of the quick syncs returned.
    since: Instant,
    /// The number of quick syncs in a row.
    syncs: u32,
}

impl HealthTrial {
    /// Begins a trial.
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, syncs: 0 }
    }

    /// Takes how long a sync has taken.
    // specs: H5
    pub(super) fn synced(&mut self, now: Instant, took: Duration) {
        if took > TRIAL_SYNC {
            *self = Self::new(now);
            return;
        }
        if self.syncs == 0 {
            self.since = now;
        }
        self.syncs = self.syncs.saturating_add(1);
    }

    /// Returns whether the trial is over.
    // specs: H5
    pub(super) fn is_stood(&self, now: Instant) -> bool {
        self.syncs > 0 && now.since(self.since) >= TRIAL
    }
}
