//! The watch over progress, and its decisions.

use crate::id::{Generation, NodeId};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::paxos::NodeSet;
use crate::time::{Duration, Instant};

use super::pulse::{DiskPulse, HealthTrial, ServerPulse};
use super::vitals::{Ailment, Findings, GroupSight, ScriptPosition, Vitals};
use super::{
    LOSS_COUNTS, LOSSES_MAX, PROBE_EVERY, QUICK_SYNC, REPORT_AGAIN, REPORT_COUNTS, REPORT_EVERY,
    SLEPT, STANDSTILL, STANDSTILL_MAX, TRANSFER_AGAIN, TRIAL_SYNC,
};

/// A replica's watch over its own progress.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Vigil {
    /// This replica.
    me: NodeId,
    /// Its disk.
    disk: DiskPulse,
    /// Its server.
    server: ServerPulse,
    /// The time of the last look.
    looked: Instant,
    /// When this replica last knew a primary, or no other one that reports did.
    led: Instant,
    /// The last report of each other member to which there is a link, and when it came.
    others: [Option<(Vitals, Instant)>; NODES_MAX],
    /// The losses of each member that were counted here.
    counted: [u32; NODES_MAX],
    /// The times of the last losses of the role in the group.
    lost: [Option<Instant>; LOSSES_MAX],
    /// The trial of this replica, if it was sick.
    trial: Option<HealthTrial>,
    /// The losses of this replica.
    losses: u32,
    /// The last generation whose clients this replica has handed on.
    handed_on: Generation,
    /// The member to which the role was last transferred, and when another attempt is due.
    tried: Option<(NodeId, Instant)>,
    /// Whether this replica transfers its role, so that the end of the role is a loss.
    resigns: bool,
    /// When the last probe was due.
    probed: Instant,
    /// The last report, and when it was given.
    reported: Option<(Vitals, Instant)>,
}

impl Vigil {
    /// Creates the watch of a replica that has just started.
    pub const fn new(me: NodeId, now: Instant) -> Self {
        Self {
            me,
            disk: DiskPulse::new(now),
            server: ServerPulse::new(now),
            looked: now,
            led: now,
            others: [None; NODES_MAX],
            counted: [0; NODES_MAX],
            lost: [None; LOSSES_MAX],
            trial: None,
            losses: 0,
            handed_on: Generation(0),
            tried: None,
            resigns: false,
            probed: now,
            reported: None,
        }
    }

    /// Records that a sync is due, and returns its number.
    pub fn sync_due(&mut self, now: Instant) -> u64 {
        self.disk.sync_due(now)
    }

    /// Records that all syncs up to this number have returned.
    pub fn synced(&mut self, now: Instant, number: u64) {
        if let Some(took) = self.disk.synced(now, number)
            && let Some(trial) = &mut self.trial
        {
            trial.synced(now, took);
        }
    }

    /// Takes the position of the server, and whether it has work; `None` if no server runs, or is
    /// meant to stand still, or has not come so far that clients are let to it.
    pub fn saw_server(&mut self, now: Instant, position: Option<ScriptPosition>, has_work: bool) {
        self.server.see(now, position, has_work);
    }

    /// Takes the processor time that the server has used in all, in microseconds.
    pub fn used_processor(&mut self, now: Instant, total: u64) {
        self.server.used_processor(now, total);
    }

    /// Takes the report of another member.
    // specs: H4
    pub fn heard(&mut self, now: Instant, node: NodeId, vitals: Vitals) {
        let counted = &mut self.counted[node.index()];
        // A replica that has started again counts from 0.
        if vitals.losses > *counted {
            self.count_loss(now);
        }
        self.counted[node.index()] = vitals.losses;
        self.others[node.index()] = Some((vitals, now));
    }

    /// Forgets the report of a member to which there is no link any more.
    pub const fn forget(&mut self, node: NodeId) {
        self.others[node.index()] = None;
        self.counted[node.index()] = 0;
    }

    /// Records that the clients of this generation of this replica were handed on.
    // specs: H9
    pub const fn hand_on(&mut self, generation: Generation) {
        self.handed_on = generation;
    }

    /// Returns the last generation whose clients a member has handed on.
    pub fn handed_on_by(&self, node: NodeId) -> Generation {
        self.others[node.index()].map_or(Generation(0), |(vitals, _)| vitals.handed_on)
    }

    /// Reports everything again, because a link is new.
    pub const fn report_again(&mut self) {
        self.reported = None;
    }

    /// Records that this replica is not primary any more.
    // specs: H4, H5
    pub fn role_ended(&mut self, now: Instant) {
        self.tried = None;
        if core::mem::take(&mut self.resigns) {
            self.losses += 1;
            self.count_loss(now);
            self.trial = Some(HealthTrial::new(now));
        }
    }

    /// Counts a loss of the role in the group.
    fn count_loss(&mut self, now: Instant) {
        self.lost.rotate_right(1);
        self.lost[0] = Some(now);
    }

    /// Returns how long a disk or a server of the primary may stand still before it transfers its
    /// role.
    // specs: H4
    pub fn limit(&self, now: Instant) -> Duration {
        let lost = self.lost.iter().flatten();
        let counts = |at: &&Instant| now.since(**at) < LOSS_COUNTS;
        let recent = lost.filter(|at| counts(at) && !broken(Mutant::LossesUncounted)).count();
        Duration::from_micros(STANDSTILL.as_micros() << recent).min(STANDSTILL_MAX)
    }

    /// Returns whether a member may take over the role, as far as it has reported.
    pub fn is_well(&self, node: NodeId) -> bool {
        self.others[node.index()].is_none_or(|(vitals, _)| vitals.is_well)
    }

    /// Returns whether a member has reported that nothing makes it sick.
    pub fn is_free_of_ailment(&self, now: Instant, node: NodeId) -> bool {
        self.report_of(now, node).is_some_and(|vitals| vitals.ailment.is_none())
    }

    /// Returns how often this replica has lost the role because it was sick.
    pub const fn losses(&self) -> u32 {
        self.losses
    }

    /// Returns the report of a member, if it is not too old to count.
    fn report_of(&self, now: Instant, node: NodeId) -> Option<Vitals> {
        let (vitals, at) = self.others[node.index()]?;
        (now.since(at) < REPORT_COUNTS).then_some(vitals)
    }

    /// Returns whether this member's server has passed this replica's. A server that waits for ops
    /// has nothing to catch up with but ops: if its clock differs at the same op, it has diverged.
    // specs: H2
    fn has_passed(&self, now: Instant, node: NodeId) -> bool {
        let Some(mine) = self.server.position() else { return false };
        let Some(other) = self.report_of(now, node) else { return false };
        let ops = other.position.admitted > mine.admitted;
        ops || self.server.has_work() && other.position > mine
    }

    /// Returns whether at least half of the servers that report, this one included, have passed
    /// this one.
    // specs: H2
    fn is_passed(&self, now: Instant, sight: &GroupSight) -> bool {
        let others = sight.servers.intersection(sight.linked).without(self.me);
        // One that is held, or is being built, has no position.
        let has_position = |vitals: Vitals| vitals.position != ScriptPosition::default();
        let reports = |node: &NodeId| self.report_of(now, *node).is_some_and(has_position);
        let others: NodeSet = others.iter().filter(reports).collect();
        let passed = others.iter().filter(|node| self.has_passed(now, *node)).count();
        passed > 0 && passed * 2 > others.len() && !broken(Mutant::NeverPassed)
    }

    /// Returns whether a voter that reports knows a primary.
    fn is_led_elsewhere(&self, now: Instant, sight: &GroupSight) -> bool {
        let knows = |node| self.report_of(now, node).is_some_and(|vitals| vitals.knows_primary);
        sight.linked.intersection(sight.voters).without(self.me).iter().any(knows)
    }

    /// Decides what follows from the progress until now. To be called after each input, and when
    /// [`Vigil::deadline`] has come.
    // specs: H2, H5, H6, H7, H8
    pub fn look(&mut self, now: Instant, sight: &GroupSight) -> Findings {
        if now.since(self.looked) >= SLEPT {
            self.disk.excuse(now);
            self.server.progress(now);
            self.led = now;
        }
        self.looked = now;
        self.server.compare(now, self.is_passed(now, sight));
        let disk = self.disk.stands_since();
        let stands = |since: Option<Instant>, limit| since.filter(|at| now.since(*at) >= limit);
        let disk_sick = stands(disk, STANDSTILL).map(|since| (Ailment::Disk, since));
        let still = self.server.stands_since();
        let server_sick = stands(still, STANDSTILL)
            .filter(|_| self.server.is_idle())
            .map(|since| (self.server.ailment(), since));
        if sight.knows_primary || !self.is_led_elsewhere(now, sight) {
            self.led = now;
        }
        let cut_off = stands(Some(self.led), STANDSTILL).map(|since| (Ailment::Reception, since));
        let stuck = server_sick.or(cut_off);
        let ailment = disk_sick.or(stuck);
        self.resigns &= ailment.is_some() || self.tried.is_some_and(|(_, again)| now < again);
        self.look_at_trial(now, ailment.is_some(), disk);
        let blocked = disk_sick.is_some() && stands(still, TRIAL_SYNC).is_some();
        let mut found = Findings {
            ailment,
            hands_clients_on: stuck.is_some() || blocked,
            on_trial: self.trial.is_some(),
            disk_stands: disk_sick.is_some() && !broken(Mutant::HungDiskElected),
            sync_time: self.disk.sync_time(now),
            ..Findings::default()
        };
        let limit = self.limit(now);
        let lasts = |since: Instant| sight.is_primary && now.since(since) >= limit;
        if let Some((ailment, _)) = ailment.filter(|(_, since)| lasts(*since)) {
            self.consider_transfer(now, ailment, sight, &mut found);
        }
        if self.trial.is_some() && disk.is_none() && now >= self.probed + PROBE_EVERY {
            self.probed = now;
            found.probe = true;
        }
        if self.server.next_measurement().is_some_and(|at| now >= at) {
            self.server.measure(now);
            found.measure = true;
        }
        let vitals = self.vitals(now, sight, ailment.map(|(ailment, _)| ailment));
        found.report = self.is_news(now, &vitals);
        if found.report {
            self.reported = Some((vitals, now));
        }
        found
    }

    /// Begins a trial, or ends one that was stood.
    // specs: H5
    fn look_at_trial(&mut self, now: Instant, is_sick: bool, disk: Option<Instant>) {
        let slow = disk.is_some_and(|since| now.since(since) > TRIAL_SYNC);
        if is_sick || slow && self.trial.is_some() {
            self.trial = Some(HealthTrial::new(now));
        }
        self.trial = self.trial.filter(|trial| !trial.is_stood(now));
        if broken(Mutant::NeverOnTrial) {
            self.trial = None;
        }
    }

    /// Chooses the member that takes over from this primary, which is sick.
    // specs: H3, H6
    fn consider_transfer(
        &mut self,
        now: Instant,
        ailment: Ailment,
        sight: &GroupSight,
        found: &mut Findings,
    ) {
        let by_disk = ailment == Ailment::Disk;
        let syncs = |node: &NodeId| {
            let other = self.report_of(now, *node);
            let claims = other.is_some_and(|vitals| vitals.ailment != Some(Ailment::Disk));
            claims && (!by_disk || sight.ahead.contains(*node))
        };
        let is_better = |node: &NodeId| {
            let well = self.report_of(now, *node).is_some_and(|vitals| vitals.is_well);
            broken(Mutant::TransferredToAnybody)
                || well && syncs(node) && (by_disk || self.has_passed(now, *node))
        };
        let others = sight.linked.without(self.me);
        let better: NodeSet = others.intersection(sight.servers).iter().filter(is_better).collect();
        let votes = others.intersection(sight.voters).iter().filter(syncs).count();
        let votes = votes + usize::from(!by_disk);
        let few = votes < sight.quorum && !broken(Mutant::TransferredToAnybody);
        found.nobody_is_better = better.is_empty() || few;
        if broken(Mutant::NeverTransferred) {
            return;
        }
        if found.nobody_is_better || self.tried.is_some_and(|(_, again)| now < again) {
            return;
        }
        // A member that did not take over is asked again after all others.
        let last = self.tried.map(|(node, _)| node);
        let mut turns = better.iter().filter(|node| Some(*node) > last);
        let to = turns.next().or_else(|| better.iter().next());
        if let Some(to) = to {
            self.tried = Some((to, now + TRANSFER_AGAIN));
            self.resigns = true;
            found.transfer_to = Some(to);
        }
    }

    /// Returns the report that is due now.
    fn vitals(&self, now: Instant, sight: &GroupSight, ailment: Option<Ailment>) -> Vitals {
        let is_well = ailment.is_none() && self.trial.is_none() && !self.disk.is_slow(now);
        let position = self.server.position().unwrap_or_default();
        let knows_primary = sight.knows_primary;
        let Self { losses, handed_on, .. } = *self;
        Vitals { position, ailment, knows_primary, is_well, losses, handed_on }
    }

    /// Returns the report of this replica.
    pub fn last_report(&self) -> Vitals {
        self.reported.map_or_else(Vitals::default, |(vitals, _)| vitals)
    }

    /// Returns whether a report is due: at once if more than the position has changed.
    fn is_news(&self, now: Instant, vitals: &Vitals) -> bool {
        let Some((before, at)) = self.reported else { return true };
        let moved = before.position != vitals.position;
        let same = Vitals { position: before.position, ..*vitals } == before;
        !same || now >= at + if moved { REPORT_EVERY } else { REPORT_AGAIN }
    }

    /// Returns the time at which to look again, if nothing happens before.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let after = |at: Instant| if at > now { at } else { now + REPORT_EVERY };
        let mut times: heapless::Vec<Instant, 8> = heapless::Vec::new();
        let mut add = |at: Instant| {
            let _ = times.push(after(at));
        };
        if let Some(since) = self.disk.stands_since() {
            let quick = since + QUICK_SYNC;
            add(if now < quick { quick } else { since + STANDSTILL });
        }
        if self.led < now {
            add(self.led + STANDSTILL);
        }
        if let Some(at) = self.server.next_measurement() {
            add(at);
        }
        if let Some(since) = self.server.stands_since() {
            add(since + STANDSTILL);
        }
        if self.trial.is_some() {
            add(self.probed + PROBE_EVERY);
        }
        if let Some(at) = self.disk.quick_again(now) {
            add(at);
        }
        if let Some((vitals, at)) = self.reported {
            let moved = self.server.position().is_some_and(|position| position != vitals.position);
            add(at + if moved { REPORT_EVERY } else { REPORT_AGAIN });
        }
        times.into_iter().min()
    }

    /// Lets the next end of the role count as a loss, for tests.
    #[cfg(test)]
    pub(super) const fn resigns_for_a_test(&mut self) {
        self.resigns = true;
    }
}
