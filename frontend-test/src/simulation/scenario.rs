//! A run: a group, a time of faults, a time of healing, and the state to which it must lead.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use crane_core::id::NodeId;
use crane_core::paxos::{Members, Node, NodeSet, Role};
use crane_core::time::Duration;

use super::disk::{DiskFaults, DiskSpeed};
use super::faults::{Happened, Stop};
use super::group::{Group, Micros};
use super::network::Network;
use super::processes::Lives;
use super::random::Random;
use super::runs::Runs;
use crate::specification::event::{Recorder, Trace};

const MILLISECOND: Micros = 1000;
const SECOND: Micros = 1000 * MILLISECOND;

/// The time in which a healed group must reach the right state. Most of the time is for catching up
/// through a window of four slots with a slow disk.
const HEALING_MAX: Micros = 60 * SECOND;

/// An upper bound of the number of payloads that are proposed at a time.
const SEVERAL_MAX: u64 = 12;

/// The entries with a restart of the server, of a thousand, in runs with restarts.
const RESTARTS: u64 = 10;

/// The faults with which a host ends a process of its server, of a thousand, in runs with these.
const ENDED_PROCESSES: u64 = 300;

/// The result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// A hash of all events, which is equal for equal runs.
    pub hash: u64,
    /// The number of nodes' steps.
    pub steps: u64,
    /// The number of proposed payloads.
    pub proposed: usize,
    /// The number of committed payloads.
    pub committed: usize,
    /// The number of calls that one server made.
    pub calls: u64,
    /// The events among the processes of all servers.
    pub lives: Lives,
    /// The number of clients' bytes that it received.
    pub bytes: u64,
    /// The largest number of effects of a step.
    pub effects: usize,
    /// The faults that happened to the group.
    pub happened: Happened,
    /// The counts of entries that were written together.
    pub runs: Runs,
    /// The simulated time that healing took, in microseconds.
    pub healing: Micros,
}

/// A failed check, with its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The broken invariant.
    pub message: String,
    /// The number of nodes' steps before the failure.
    pub steps: u64,
}

/// Runs the scenario of a seed. The caller should set a panic hook, or the broken invariant is also
/// printed.
///
/// # Errors
///
/// Returns a [`Failure`] of an invariant in the core or of a check of the simulation.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    run_recorded(seed, Recorder::default())
}

/// Runs the scenario of a seed, and also returns the members that the group had at first, and each
/// event with its node.
///
/// # Errors
///
/// Returns a [`Failure`] as [`run`] does.
pub fn trace(seed: u64) -> Result<(Members, Trace), Failure> {
    let recorder = Recorder::new();
    run_recorded(seed, recorder.clone())?;
    Ok((Members::first(size(&mut Random::new(seed))), recorder.take()))
}

fn run_recorded(seed: u64, recorder: Recorder) -> Result<Outcome, Failure> {
    let steps = Cell::new(Rc::default());
    let run = AssertUnwindSafe(|| {
        // A small window is full all the time; a large one never.
        if seed.is_multiple_of(3) {
            run_with::<4>(seed, &steps, recorder)
        } else {
            run_with::<64>(seed, &steps, recorder)
        }
    });
    panic::catch_unwind(run).map_err(|cause| {
        let text = cause.downcast_ref::<&str>().map(|text| text.to_string());
        let message = cause.downcast_ref::<String>().cloned().or(text);
        let message = message.unwrap_or_else(|| "a panic without words".into());
        Failure { message, steps: steps.take().get() }
    })
}

/// Returns how many members a run begins with.
fn size(random: &mut Random) -> usize {
    *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7])
}

fn run_with<const WINDOW: usize>(
    seed: u64,
    told: &Cell<Rc<Cell<u64>>>,
    recorder: Recorder,
) -> Outcome {
    let mut random = Random::new(seed);
    let count = size(&mut random);
    let fast = random.range(20, 500);
    let mut network = Network::sound(fast, fast * random.range(1, 40));
    network.lost = *random.pick(&[0, 0, 10, 100, 300]);
    network.repeated = *random.pick(&[0, 10, 200]);
    network.late = *random.pick(&[0, 0, 10, 100]);
    network.ordered = random.permille(600);
    let slow = *random.pick(&[200, 2 * MILLISECOND, 20 * MILLISECOND]);
    let disk_speed = DiskSpeed { min: slow / 4, max: slow };
    let mut faults = Faults::draw(&mut random);
    faults.end_process = if seed % 5 == 4 { ENDED_PROCESSES } else { 0 };
    let spare = if faults.reconfigure > 0 { random.range(0, 8 - count as u64) as usize } else { 0 };
    let mut group = Group::<WINDOW>::new(count, spare, random, network, disk_speed, recorder);

    group.restarts = if seed % 4 == 1 { RESTARTS } else { 0 };
    group.disk_faults = faults.disk;
    group.bytes_undecided_max = *group.random.pick(&[u64::MAX, u64::MAX, 1000, 300]);
    let copies = seed % 5 == 2;
    // A node that recalls what another has said is never out of reach for ever.
    let checks = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(1000)];
    group.storage_check =
        if copies { Duration::from_millis(3_600_000) } else { *group.random.pick(&checks) };
    told.set(group.steps());
    let end = group.random.range(SECOND, 3 * SECOND);
    let mut fault_at = group.random.range(0, faults.every * 2);
    let mut propose_at = 0;
    while group.now < end {
        let next = fault_at.min(propose_at).min(end);
        group.run_until(next);
        if next == propose_at {
            let several = group.random.permille(faults.several);
            let count = if several { group.random.range(2, SEVERAL_MAX) } else { 1 };
            for _ in 0..count {
                group.client_acts();
            }
            group.propose(count);
            propose_at = next + count * group.random.range(1, faults.propose_every);
        } else if next == fault_at {
            faults.happen(&mut group, copies);
            fault_at = next + group.random.range(1, faults.every * 2);
        }
    }
    let healing = heal(&mut group);
    let (proposed, committed) = group.checks.counts();
    let (calls, bytes) = group.work();
    let lives = group.lives();
    let (hash, steps) = (group.checks.hash(), group.steps().get());
    let (effects, happened, runs) = (group.checks.effects(), group.happened, group.written_runs);
    Outcome {
        hash,
        steps,
        proposed,
        committed,
        calls,
        lives,
        bytes,
        effects,
        happened,
        runs,
        healing,
    }
}

/// The faults of a run, and how often they happen.
struct Faults {
    every: Micros,
    propose_every: Micros,
    /// The number of proposals with several payloads, of a thousand.
    several: u64,
    crash: u64,
    power: u64,
    disk: DiskFaults,
    disk_loss: u64,
    damage: u64,
    jump: u64,
    suspend: u64,
    cut: u64,
    one_way: u64,
    link: u64,
    lazy: u64,
    reconfigure: u64,
    cut_log: u64,
    copy: u64,
    end_process: u64,
}

impl Faults {
    fn draw(random: &mut Random) -> Self {
        Self {
            every: *random.pick(&[20, 100, 300, 1000]) * MILLISECOND,
            propose_every: *random.pick(&[1, 5, 30]) * MILLISECOND,
            several: *random.pick(&[0, 200, 1000]),
            crash: random.range(0, 300),
            power: *random.pick(&[0, 500, 1000]),
            disk: DiskFaults {
                syncs: *random.pick(&[0, 0, 500, 5000]),
                writes: *random.pick(&[0, 0, 500, 5000]),
            },
            disk_loss: *random.pick(&[0, 200, 800]),
            damage: *random.pick(&[0, 200, 800]),
            jump: *random.pick(&[0, 30, 100]),
            suspend: *random.pick(&[0, 30, 100]),
            cut: random.range(0, 300),
            one_way: random.range(0, 200),
            link: random.range(0, 200),
            lazy: random.range(0, 100),
            reconfigure: *random.pick(&[0, 0, 300]),
            cut_log: *random.pick(&[0, 0, 100]),
            copy: *random.pick(&[200, 500]),
            end_process: 0,
        }
    }

    fn happen<const WINDOW: usize>(&self, group: &mut Group<WINDOW>, copies: bool) {
        let ids = group.ids();
        let [id, other] = [0; 2].map(|_| *group.random.pick(&ids));
        if copies && group.random.permille(self.copy) {
            group.copy_storage(other);
        }
        if self.end_process > 0 && group.random.permille(self.end_process) {
            group.end_process(other);
        }
        if group.random.permille(self.reconfigure) {
            group.reconfigure();
        }
        if group.random.permille(self.cut_log) {
            group.cut_log(id);
        }
        let mut chance = group.random.range(0, 1000);
        let mut falls = |share: u64| {
            let hit = chance < share;
            chance = chance.saturating_sub(share);
            hit && share > 0
        };
        if falls(self.crash) {
            let power = group.random.permille(self.power);
            group.stop(id, if power { Stop::Power } else { Stop::Killed });
            if copies && group.random.permille(700) {
                group.put_copy_back(id);
            } else if group.random.permille(self.disk_loss) {
                group.lose_disk(id);
            } else if group.random.permille(self.damage) {
                group.damage_log(id);
            }
        } else if falls(self.jump) {
            group.jump(id);
        } else if falls(self.suspend) {
            group.suspend(id);
        } else if falls(self.cut) {
            let one: NodeSet = ids.iter().copied().filter(|_| group.random.permille(500)).collect();
            let all: NodeSet = ids.iter().copied().collect();
            group.network.part(one, all.difference(one));
        } else if falls(self.one_way) {
            group.network.cut(id, other);
        } else if falls(self.link) {
            group.close_link(id, other);
        } else if falls(self.lazy) {
            let in_step = group.random.permille(500);
            group.set_in_step(id, in_step);
        } else {
            group.network.mend();
            start_all(group, 700);
        }
    }
}

fn start_all<const WINDOW: usize>(group: &mut Group<WINDOW>, chance: u64) {
    for id in group.ids() {
        if !group.runs(id) && group.random.permille(chance) {
            group.start(id);
        }
    }
}

/// Removes all faults, and waits until every node has the whole log.
fn heal<const WINDOW: usize>(group: &mut Group<WINDOW>) -> Micros {
    group.network.heal();
    group.disk_faults = DiskFaults::default();
    group.resume();
    start_all(group, 1000);
    for id in group.ids() {
        group.set_in_step(id, true);
    }
    let start = group.now;
    let before = group.checks.counts().1;
    let mut rounds = 0;
    while !(is_healed(group) && group.checks.counts().1 > before && group.service_is_done()) {
        assert!(group.now - start < HEALING_MAX, "no liveness: {}", describe(group));
        // When no node has more to propose, the last proposal is decided everywhere.
        if rounds % 16 == 0 || !group.clients_are_done() {
            group.propose(1);
        }
        rounds += 1;
        group.run_until(group.now + 20 * MILLISECOND);
    }
    group.check_service();
    group.now - start
}

fn is_healed<const WINDOW: usize>(group: &Group<WINDOW>) -> bool {
    let chosen = group.checks.chosen();
    let members = group.checks.members();
    let primaries =
        group.ids().into_iter().filter_map(|id| group.node(id)).filter(|node| is_primary(*node));
    // A removed node has nothing to catch up with, but knows of its removal, unless it has lost its
    // storage, or nobody that it knows is still a member.
    let unaware = |id: NodeId| {
        let Some(node) = group.node(id).filter(|node| node.voting().is_voter()) else {
            return false;
        };
        let known = node.snapshot().members.all();
        known.contains(id) && !known.intersection(members.all()).is_empty()
    };
    primaries.count() == 1
        && !group.ids().into_iter().any(|id| !members.all().contains(id) && unaware(id))
        && members.all().iter().all(|id| {
            group.node(id).is_some_and(|node| {
                node.votes()
                    && node.committed() == chosen
                    && node.durable() == chosen
                    && node.members() == members
            })
        })
}

fn is_primary<const WINDOW: usize>(node: &Node<WINDOW>) -> bool {
    node.role() == Role::Primary
}

fn describe<const WINDOW: usize>(group: &Group<WINDOW>) -> String {
    let one = |id: NodeId| match group.node(id) {
        None => format!("{id}: down"),
        Some(node) => format!(
            "{id}: {:?} {:?} ballot {} last {} durable {} committed {}",
            node.role(),
            node.voting(),
            node.ballot(),
            node.last(),
            node.durable(),
            node.committed()
        ),
    };
    let nodes = group.ids().into_iter().map(one).collect::<Vec<_>>().join("; ");
    format!("{:?}: {nodes}", group.checks.members())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_runs_and_lives_of_each_kind_happen() {
        let (mut happened, mut runs, mut lives) =
            (Happened::default(), Runs::default(), Lives::default());
        for seed in 0..200 {
            let outcome = run(seed).expect("the run itself holds");
            happened += outcome.happened;
            runs += outcome.runs;
            lives += outcome.lives;
            if happened.is_each() && runs.is_each() && lives.is_each() {
                return;
            }
        }
        panic!("something never happens: {happened:?}, {runs:?}, {lives:?}");
    }
}
