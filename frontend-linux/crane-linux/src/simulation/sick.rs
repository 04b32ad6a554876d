//! Runs in which one part of one replica stands still, or all disks are slow, while everything else
//! is well: the rules of progress say what follows (`specs/progress.md`).

use std::cell::Cell;
use std::rc::Rc;

use crane_core::paxos::Role;

use crate::driver::Activity;

use super::clients::Manners;
use super::ending::DaemonsOutcome;
use super::faults::FaultKind;
use super::group::{MILLISECOND, SECOND, SimEvent, SimGroup};
use super::queue::Nanos;

/// How long the first sick primary keeps the role at most: it stands still for 500 ms, and an
/// election follows.
const ROLE_LOST_WITHIN: Nanos = 1500 * MILLISECOND;
/// How long a primary without a server keeps the role at most.
const ROLE_LEFT_WITHIN: Nanos = 10 * SECOND;
/// How long a replica waits at most for a checkpoint that is taken for it: it is proved before.
const GIVEN_WITHIN: Nanos = 60 * SECOND;
/// How often the group is looked at.
const LOOK_EVERY: Nanos = 50 * MILLISECOND;

/// The bytes in the log around what a client sends at a time, or for another thing that it does.
const OP_BYTES: u64 = 100;
/// The bytes that a log has for each second beside: bubbles, commit indices, retirements.
const BYTES_PER_SECOND: u64 = 4000;

/// The growth of logs, and its cause.
#[derive(Clone, Copy)]
pub(super) struct LogState {
    at: Nanos,
    written: [u64; 3],
    sent: (u64, u64),
}

/// A function that runs one of the cases, on a group in which everything is well.
type SickCase = fn(&mut SimGroup);

const CASES: &[SickCase] = &[
    a_disk_hangs,
    a_server_hangs,
    a_primary_is_deaf,
    a_server_computes,
    disks_hang_in_turn,
    all_disks_are_slow,
    a_primary_dies_and_disks_are_slow,
    a_primary_dies_and_a_disk_hangs,
    a_disk_hangs_and_the_others_are_slow,
    a_server_is_wrong,
    a_server_cannot_be_built,
];

/// Runs a case.
pub(super) fn run(number: u64, steps: Rc<Cell<u64>>) -> DaemonsOutcome {
    let mut group = SimGroup::begun(number, 4..8, Manners::Patient, steps);
    CASES[number as usize % CASES.len()](&mut group);
    group.finish()
}

/// Rules H1, H2, H3, H5, H8, H9.
fn a_disk_hangs(group: &mut SimGroup) {
    let sick = group.needs_primary();
    let before = group.log_state();
    group.strike_at(FaultKind::DiskHangs, sick, 1000 * SECOND);
    group.must_lose_role(sick);
    // Its window is full soon, and its server stands still then.
    group.run_for(4 * SECOND);
    group.must_be_refused(sick);
    group.must_serve_all();
    group.must_have_no_clients_of(sick);
    group.must_have_short_logs(before);
    group.heal(sick, FaultKind::DiskHangs);
    group.must_be_on_trial(sick);
}

/// Rules H1, H2, H3, H5, H8.
fn a_server_hangs(group: &mut SimGroup) {
    let sick = group.needs_primary();
    group.strike_at(FaultKind::ServerHangs, sick, 1000 * SECOND);
    if let Some(server) = group.replicas[sick].server() {
        server.activity = Some(Activity::InCall("futex".into()));
    }
    group.must_lose_role(sick);
    group.run_for(SECOND);
    group.must_be_refused(sick);
    group.must_serve_all();
    group.must_have_no_clients_of(sick);
    group.must_report(sick, "thread 0 (server) is in futex");
    group.heal(sick, FaultKind::ServerHangs);
}

fn a_primary_is_deaf(group: &mut SimGroup) {
    let sick = group.needs_primary();
    for other in (0..3).filter(|other| *other != sick) {
        group.cut(other, sick);
    }
    group.happened.count(FaultKind::CutOneWay);
    group.must_lose_role(sick);
    group.mend_network();
    group.run_for(SECOND);
    group.must_serve_all();
}

/// Rules H1.
fn a_server_computes(group: &mut SimGroup) {
    group.manners = Manners::Slow;
    let busy = group.needs_primary();
    group.strike_at(FaultKind::ServerHangs, busy, 1000 * SECOND);
    if let Some(server) = group.replicas[busy].server() {
        server.activity = Some(Activity::Computes);
    }
    let before = group.primaries.len();
    group.run_for(6 * SECOND);
    assert_eq!(group.primaries.len(), before, "a primary whose server computes loses the role");
    group.heal(busy, FaultKind::ServerHangs);
}

/// Rules H4.
fn disks_hang_in_turn(group: &mut SimGroup) {
    group.manners = Manners::Slow;
    let before = group.primaries.len();
    for _ in 0..4 {
        let sick = group.needs_primary();
        group.strike_at(FaultKind::DiskHangs, sick, 1000 * SECOND);
        group.run_for(950 * MILLISECOND);
        group.heal(sick, FaultKind::DiskHangs);
        group.run_for(7 * SECOND);
    }
    let changes = group.primaries.len() - before;
    assert!(changes <= 2, "the role moves {changes} times for disks that hang in turn");
}

/// Rules H6.
fn all_disks_are_slow(group: &mut SimGroup) {
    group.manners = Manners::Slow;
    group.slow_all_disks(2 * SECOND);
    let before = group.primaries.len();
    group.run_for(15 * SECOND);
    let changes = group.primaries.len() - before;
    assert!(changes <= 1, "the role moves {changes} times, and all disks are slow");
}

/// Rules H10.
fn a_primary_dies_and_disks_are_slow(group: &mut SimGroup) {
    group.slow_all_disks(1500 * MILLISECOND);
    group.run_for(5 * SECOND);
    let primary = group.needs_primary();
    group.end(primary, FaultKind::Killed);
    let start = group.now;
    while group.primary().is_none() {
        assert!(group.now - start < 30 * SECOND, "no primary on slow disks: {}", group.describe());
        group.run_for(LOOK_EVERY);
    }
}

/// Rules H7.
fn a_primary_dies_and_a_disk_hangs(group: &mut SimGroup) {
    let sick = group.needs_primary();
    group.strike_at(FaultKind::DiskHangs, sick, 1000 * SECOND);
    group.must_lose_role(sick);
    group.run_for(SECOND);
    let other = group.needs_primary();
    // Otherwise it might promise another one's ballot, again and again.
    let third = 3 - sick - other;
    group.strike_at(FaultKind::DiskHangs, third, 1000 * SECOND);
    group.run_for(SECOND);
    group.end(other, FaultKind::Killed);
    for _ in 0..60 {
        group.run_for(LOOK_EVERY);
        let wants = |at: usize| group.replicas[at].role() == Some(Role::Candidate);
        assert!(!wants(sick) && !wants(third), "a replica whose disk hangs wants to be primary");
    }
    group.heal(third, FaultKind::DiskHangs);
    group.schedule(group.now, SimEvent::Start { at: other });
    group.run_for(6 * SECOND);
    assert!(group.primary().is_some_and(|primary| primary != sick), "{}", group.describe());
    group.heal(sick, FaultKind::DiskHangs);
}

/// Rules H6.
fn a_disk_hangs_and_the_others_are_slow(group: &mut SimGroup) {
    let sick = group.needs_primary();
    for other in (0..3).filter(|other| *other != sick) {
        group.replicas[other].ails.disk_slow = Some(400 * MILLISECOND);
    }
    group.happened.count(FaultKind::DiskSlow);
    group.run_for(3 * SECOND);
    let before = group.primaries.len();
    group.strike_at(FaultKind::DiskHangs, sick, 1000 * SECOND);
    group.run_for(5 * SECOND);
    assert_eq!(group.primaries.len(), before, "the role moves to a replica that is not well");
    group.heal(sick, FaultKind::DiskHangs);
}

/// Rules D2, D4, D8.
fn a_server_is_wrong(group: &mut SimGroup) {
    let wrong = group.needs_primary();
    let run = group.replicas[wrong].run;
    group.strike_at(FaultKind::ServerDiverges, wrong, 1000 * SECOND);
    group.must_lose_role(wrong);
    group.run_for(3 * SECOND);
    // Its log may have been cut, so that it begins again, from a checkpoint of another.
    let counts = group.replicas[wrong].run == run;
    let looked_at = group.replicas.iter().enumerate().filter(|(at, _)| counts || *at != wrong);
    for (at, replica) in looked_at {
        let built = replica.daemon.as_ref().map(|daemon| daemon.divergences());
        let due = u64::from(at == wrong);
        assert_eq!(built, Some(due), "who builds the server of replica {}", wrong + 1);
    }
    if !counts {
        return;
    }
    let parted_at = group.replicas[wrong].host().and_then(|host| host.parted_at);
    let parted_at = parted_at.expect("it wrote other bytes");
    group.must_report(wrong, &format!("of the call at clock {parted_at}:"));
}

/// Rules C8, H11.
fn a_server_cannot_be_built(group: &mut SimGroup) {
    let at = (group.needs_primary() + group.random.range(0, 3) as usize) % 3;
    let run = group.replicas[at].run;
    let daemon = group.replicas[at].daemon.as_mut().expect("it runs");
    daemon.lose_server();
    let start = group.now;
    while group.replicas[at].is_primary() {
        let lasts = group.now - start;
        assert!(lasts < ROLE_LEFT_WITHIN, "a primary has no server: {}", group.describe());
        group.run_for(LOOK_EVERY);
    }
    // It begins again when a checkpoint has arrived.
    while group.replicas[at].run == run {
        let lasts = group.now - start;
        assert!(lasts < GIVEN_WITHIN, "no checkpoint for a replica: {}", group.describe());
        group.run_for(SECOND);
    }
    assert!(group.happened.arrivals > 0, "it begins again for another reason");
}

impl SimGroup {
    pub(super) fn run_for(&mut self, time: Nanos) {
        self.run_until(self.now + time);
    }

    /// Requires that a replica has reported a fault.
    fn must_report(&self, at: usize, part: &str) {
        let daemon = self.replicas[at].daemon.as_ref().expect("it runs");
        let told = daemon.faults_told();
        let is_told = told.iter().any(|text| text.contains(part));
        assert!(is_told, "replica {} does not report \"{part}\": {told:?}", at + 1);
    }

    /// Returns the primary, if exactly one replica is.
    pub(super) fn primary(&self) -> Option<usize> {
        let mut primaries = (0..3).filter(|place| self.replicas[*place].is_primary());
        primaries.next().filter(|_| primaries.next().is_none())
    }

    pub(super) fn needs_primary(&mut self) -> usize {
        let start = self.now;
        loop {
            if let Some(primary) = self.primary() {
                return primary;
            }
            assert!(self.now - start < 5 * SECOND, "no primary: {}", self.describe());
            self.run_for(LOOK_EVERY);
        }
    }

    fn slow_all_disks(&mut self, takes: Nanos) {
        for replica in &mut self.replicas {
            replica.ails.disk_slow = Some(takes);
        }
        self.happened.count(FaultKind::DiskSlow);
    }

    /// Checks that another replica becomes primary soon.
    pub(super) fn must_lose_role(&mut self, sick: usize) {
        let start = self.now;
        while self.primary().is_none_or(|primary| primary == sick) {
            let lasts = self.now - start;
            assert!(lasts < ROLE_LOST_WITHIN, "a sick primary keeps its role: {}", self.describe());
            self.run_for(LOOK_EVERY);
        }
    }

    /// Checks that clients cannot connect to a replica.
    fn must_be_refused(&mut self, sick: usize) {
        assert!(!self.replicas[sick].is_open(), "a sick replica takes clients");
    }

    /// Checks that all clients get answers.
    fn must_serve_all(&mut self) {
        let before: Vec<u64> = self.clients.iter().map(|client| client.answered).collect();
        self.run_for(2 * SECOND);
        let served = self.clients.iter().zip(before).filter(|(client, it)| client.answered > *it);
        let served = served.count();
        assert_eq!(served, self.clients.len(), "clients wait: {}", self.describe());
    }

    /// Checks that the servers of other replicas have no connections that entered by this one.
    fn must_have_no_clients_of(&mut self, sick: usize) {
        let entry = self.replicas[sick].id;
        for other in (0..3).filter(|other| *other != sick) {
            let server = self.replicas[other].host().and_then(|host| host.server.as_ref());
            let open = server.map_or(0, |server| server.connections_by(entry));
            assert_eq!(open, 0, "connections that were reset stay open at other servers");
        }
    }

    /// Returns the time, the bytes that each log has had, and what clients have sent and done.
    pub(super) fn log_state(&self) -> LogState {
        let written = [0, 1, 2].map(|place: usize| self.replicas[place].files.written_bytes);
        LogState { at: self.now, written, sent: self.sent }
    }

    /// Checks that no log has grown by more than what clients have sent since then.
    pub(super) fn must_have_short_logs(&self, before: LogState) {
        let LogState { at, written, sent } = self.log_state();
        let ops = sent.0 - before.sent.0 + (sent.1 - before.sent.1) * OP_BYTES;
        let bound = ops * 11 / 10 + (at - before.at) / SECOND * BYTES_PER_SECOND;
        for (now, then) in written.into_iter().zip(before.written) {
            let grown = now - then;
            assert!(grown <= bound, "a log has grown by {grown} bytes, and may by {bound}");
        }
    }

    /// Checks that a replica that was sick neither takes clients nor becomes primary for a while.
    fn must_be_on_trial(&mut self, sick: usize) {
        for _ in 0..60 {
            self.run_for(LOOK_EVERY);
            let trusted = self.replicas[sick].is_open() || self.replicas[sick].is_primary();
            assert!(!trusted, "a replica that was sick is trusted at once");
        }
    }
}
