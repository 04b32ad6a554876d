//! The cost of a replay beside that of the recording: a backup stops, starts again without a
//! checkpoint, and executes the whole log. And what a client notices while a backup takes what it
//! has missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::group::Group;
use super::idle::cpu_time_with_children;
use super::load::{Load, redis_benchmark};
use super::machine::Machine;
use super::probe::Probe;
use super::program;
use super::status::Status;
use super::wait::{Raise, START};

/// The smallest ratio of the time of the recording to that of its replay, for a load that waits for
/// each answer.
pub const SPEED_MIN: f64 = 10.0;

/// The largest processor time of the daemon and the server in a replay beside that of the
/// same replica's recording, for a load that keeps the servers busy.
pub const CPU_MAX: f64 = 0.35;

/// The pause between two looks at the progress of a replay.
const PAUSE: Duration = Duration::from_millis(5);

/// A load that is recorded and replayed.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    load: Load,
}

/// The kinds of load: one keeps the servers busy, the other waits for each answer.
const KINDS: [Kind; 2] = [
    Kind {
        name: "redis set, c=16",
        load: Load { requests: 200_000, connections: 16, keepalive: true },
    },
    Kind {
        name: "redis set, c=1",
        load: Load { requests: 50_000, connections: 1, keepalive: true },
    },
];

/// The time that a replica took for a part of the log.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The time that passed.
    pub wall: Duration,
    /// The processor time of the daemon.
    pub daemon: Duration,
    /// The processor time of the server.
    pub server: Duration,
}

impl Taken {
    fn cpu(&self) -> f64 {
        (self.daemon + self.server).as_secs_f64()
    }
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wall, daemon, server } = self;
        write!(f, "{wall:.2?}, daemon {daemon:.2?} + server {server:.2?} of processor time")
    }
}

/// The recording of a load, and its replay.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The recording by the primary, through which all clients came.
    pub primary: Taken,
    /// The recording by a backup.
    pub backup: Taken,
    /// The replay by that backup, from the start of its process on.
    pub replay: Taken,
    /// The number of slots that were replayed.
    pub slots: u64,
}

/// Records and replays one kind of load.
///
/// # Panics
///
/// Panics if a request fails, the backup is not in step in time, or hashes differ.
fn run(kind: Kind) -> Outcome {
    let machine = Machine::take("replay");
    // A recording that need not wait for the disk costs the least.
    let mut group =
        Group::start(&machine, program::redis(machine.folder()), 3, &["--durability", "memory"]);
    let primary = group.primary();
    let backup = if primary == 1 { 2 } else { 1 };
    let sample = |group: &Group| {
        let status = group.await_settled();
        [primary, backup].map(|id| cpu(&status, id))
    };
    let before = sample(&group);
    let start = Instant::now();
    redis_benchmark(group.address(primary), "set", kind.load).expect("no failed request");
    let wall = start.elapsed();
    let after = sample(&group);
    let recorded = [0, 1].map(|at| {
        let ((daemon, server), (daemon_before, server_before)) = (after[at], before[at]);
        Taken { wall, daemon: daemon - daemon_before, server: server - server_before }
    });

    let slots = group.await_settled().committed();
    group.stop_replica(backup);
    let start = Instant::now();
    group.start_replica(backup);
    let status = await_admitted(&group, backup, slots);
    let wall = start.elapsed();
    let (daemon, server) = cpu(&status, backup);
    group.await_settled();
    let replay = Taken { wall, daemon, server };
    Outcome { primary: recorded[0], backup: recorded[1], replay, slots }
}

/// Returns the processor times of a replica's daemon and server.
fn cpu(status: &Status, id: u8) -> (Duration, Duration) {
    let replica = status.replica(id);
    let of = |pid: Option<u32>| cpu_time_with_children(pid.expect("a process")).expect("its times");
    (of(replica.daemon_pid), of(replica.server_pid))
}

/// The load that a backup misses. Its log is longer than what a daemon keeps in memory.
const MISSED: Load = Load { requests: 500_000, connections: 50, keepalive: true };

/// How long a client of the primary is watched before a backup returns.
const WATCHED_BEFORE: Duration = Duration::from_secs(2);

/// The requests of one client of the primary, one after the other, while a backup that was away
/// takes what it has missed from the primary, and executes it.
#[derive(Clone, Debug)]
pub struct CatchUp {
    /// The number of slots that the backup had missed.
    pub slots: u64,
    /// The time from the start of the backup's process until it was in step.
    pub taken: Duration,
    /// The client's times before, the shortest first.
    pub before: Vec<Duration>,
    /// The client's times meanwhile, the shortest first.
    pub meanwhile: Vec<Duration>,
}

/// Lets a backup miss a load, and return.
///
/// # Panics
///
/// Panics if a request fails, the backup is not in step in time, or hashes differ.
fn catch_up() -> CatchUp {
    let machine = Machine::take("catch-up");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let primary = group.primary();
    let backup = if primary == 1 { 2 } else { 1 };
    let first = group.await_settled().committed();
    group.stop_replica(backup);
    redis_benchmark(group.address(primary), "set", MISSED).expect("no failed request");
    let mut probe = Probe::open(group.address(primary)).expect("a connection");
    let stop = AtomicBool::new(false);
    let (start, taken, slots) = scope(|threads| {
        let client = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                probe.write().expect("an answer");
            }
        });
        let _raised = Raise(&stop);
        sleep(WATCHED_BEFORE);
        let slots = group.status().expect("a status").committed();
        let start = Instant::now();
        group.start_replica(backup);
        await_admitted(&group, backup, slots);
        let taken = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        client.join().expect("no failed request");
        (start, taken, slots - first)
    });
    let (mut before, mut meanwhile): (Vec<_>, Vec<_>) =
        probe.times().iter().partition(|(at, _)| *at < start);
    drop(probe);
    group.await_settled();
    let sorted = |times: &mut Vec<(Instant, Duration)>| {
        let mut times: Vec<_> = times.drain(..).map(|(_, time)| time).collect();
        times.sort_unstable();
        times
    };
    let (before, meanwhile) = (sorted(&mut before), sorted(&mut meanwhile));
    CatchUp { slots, taken, before, meanwhile }
}

/// Waits until a replica's server has been given this slot, with short pauses of equal length.
fn await_admitted(group: &Group, id: u8, slot: u64) -> Status {
    let start = Instant::now();
    loop {
        let status = group.status().expect("a status");
        let admitted = status.replica(id).admitted;
        if admitted.is_some_and(|admitted| admitted >= slot) {
            return status;
        }
        assert!(start.elapsed() < START, "admitted {admitted:?} of {slot}");
        sleep(PAUSE);
    }
}

fn print_catch_up() {
    let CatchUp { slots, taken, before, meanwhile } = catch_up();
    println!("a backup took {slots} slots that it had missed, and was in step after {taken:.2?}");
    for (name, times) in [("before", before), ("meanwhile", meanwhile)] {
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "  a client of the primary, {name}: {} requests, median {:.2?}, 99 % {:.2?}, longest \
             {:.2?}",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
    }
}

/// Records and replays each kind of load, and compares them with the bars. Returns the failures.
#[must_use]
pub fn measure(times: usize) -> Vec<String> {
    let mut missed = Vec::new();
    for kind in KINDS {
        for _ in 0..times {
            let Outcome { primary, backup, replay, slots } = run(kind);
            let speed = primary.wall.as_secs_f64() / replay.wall.as_secs_f64();
            let (by_primary, by_backup) =
                (replay.cpu() / primary.cpu(), replay.cpu() / backup.cpu());
            println!("{}: {} requests, {slots} slots", kind.name, kind.load.requests);
            println!("  recorded by the primary: {primary}");
            println!("  recorded by the backup:  {backup}");
            println!("  replayed by the backup:  {replay}");
            println!(
                "  {speed:.1} times as fast; processor time {by_primary:.2} of the primary's, \
                 {by_backup:.2} of the backup's"
            );
            if kind.load.connections > 1 && by_backup > CPU_MAX {
                missed.push(format!("{}: processor time {by_backup:.2}", kind.name));
            }
            if kind.load.connections == 1 && speed < SPEED_MIN {
                missed.push(format!("{}: {speed:.1} times as fast", kind.name));
            }
        }
    }
    (0..times).for_each(|_| print_catch_up());
    missed
}
