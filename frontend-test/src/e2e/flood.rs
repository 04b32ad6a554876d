//! Bounds: many bytes of clients through a group, one replica of which has a disk that hangs.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::group::Group;
use super::machine::Machine;
use super::program;
use super::resources::resident_kib;
use super::resp::{Connection, command};
use super::sick_disk::LoopDisk;
use super::wait::{ANSWER, Raise, START};

/// The clients of each replica.
const CLIENTS: usize = 3;
const VALUE_BYTES: usize = 64 << 10;
/// The largest growth of a log, in parts of what clients have sent.
const GROWTH_MAX: f64 = 1.1;
/// The largest memory of a daemon, in MiB: its window, the queue of a link and of its disk, the
/// cache of its log, and the ops that wait.
const MEMORY_MAX: u64 = 512;
/// How long the disk hangs at least: long enough for many repetitions.
const HANGS_FOR: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_millis(250);
/// The pause of a client after each write, once all has been sent that is to be: a fast machine
/// would fill the disks of the others while the disk still hangs.
const PAUSE_AT_THE_END: Duration = Duration::from_millis(100);

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Flooded {
    /// The bytes that clients have sent.
    pub sent: u64,
    /// By how many bytes the log of each replica whose disk is well has grown.
    pub logs: Vec<u64>,
    /// The largest memory of each daemon, in MiB.
    pub memory: Vec<u64>,
    /// The counters of the replicas whose disks are well, at the end.
    pub counters: Vec<Value>,
    /// How long it took.
    pub took: Duration,
}

/// Sends this many MiB through all replicas while the disk of a backup hangs. Returns `None` if
/// such a disk is not possible here.
///
/// # Panics
///
/// Panics if the group does not recover, or hashes differ.
pub fn run(mebibytes: u32) -> Option<Flooded> {
    let machine = Machine::take("flood");
    let mut program = program::redis(machine.folder());
    program.command.extend(["--appendonly", "no"].map(String::from));
    let mut group = Group::prepare(&machine, program, 3, &[]);
    let disks: Option<Vec<LoopDisk>> =
        group.ids().map(|id| LoopDisk::mount(&group.data(id), 2 * mebibytes + 512)).collect();
    let disks = disks?;
    group.start_all();
    let sick = group.ids().find(|id| *id != group.primary()).expect("a backup");
    let well: Vec<u8> = group.ids().filter(|id| *id != sick).collect();
    let logs = |group: &Group| -> Vec<u64> {
        let status = group.status().expect("a status");
        well.iter().map(|id| status.replica(*id).log["bytes"].as_u64().unwrap_or(0)).collect()
    };
    let before = logs(&group);
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (goal, begun) = (u64::from(mebibytes) << 20, Instant::now());
    let mut flooded = Flooded { memory: vec![0; 3], ..Flooded::default() };
    scope(|threads| {
        let _stop = Raise(&stop);
        for number in 0..CLIENTS * 3 {
            let mut addresses = group.all_addresses();
            addresses.rotate_left(number % 3);
            let (sent, stop) = (&sent, &stop);
            threads.spawn(move || flood(&addresses, number, sent, goal, stop));
        }
        let frozen = disks[usize::from(sick) - 1].freeze();
        while sent.load(Ordering::Relaxed) < goal || begun.elapsed() < HANGS_FOR {
            assert!(begun.elapsed() < Duration::from_secs(900), "{sent:?} bytes only");
            for (place, id) in (0..).zip(group.ids()) {
                let resident = group.daemon(id).and_then(|pid| resident_kib(pid).ok());
                let most: &mut u64 = &mut flooded.memory[place];
                *most = (*most).max(resident.unwrap_or(0) >> 10);
            }
            sleep(LOOK);
        }
        flooded.logs = logs(&group).iter().zip(&before).map(|(now, then)| now - then).collect();
        let status = group.status().expect("a status");
        flooded.counters = well.iter().map(|id| status.replica(*id).counters.clone()).collect();
        flooded.sent = sent.load(Ordering::Relaxed);
        drop(frozen);
    });
    flooded.took = begun.elapsed();
    group.await_serving();
    // The sick replica has missed nearly all of it.
    group.await_settled_within(START + Duration::from_secs(mebibytes.into()));
    group.stop();
    drop(disks);
    Some(flooded)
}

/// Writes values until told to stop, through one replica after the other.
fn flood(addresses: &[SocketAddr], number: usize, sent: &AtomicU64, goal: u64, stop: &AtomicBool) {
    let key = format!("key-{number}");
    let value = vec![b'v'; VALUE_BYTES];
    let words = command(&[b"SET", key.as_bytes(), &value]);
    let write = |connection: &mut Connection| -> io::Result<()> {
        connection.send(&words)?;
        let before = sent.fetch_add(words.len() as u64, Ordering::Relaxed);
        connection.reply()?;
        if before > goal {
            sleep(PAUSE_AT_THE_END);
        }
        Ok(())
    };
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let address = addresses[next % addresses.len()];
        next += 1;
        let Ok(mut connection) = Connection::open(address, ANSWER) else {
            sleep(Duration::from_millis(20));
            continue;
        };
        while !stop.load(Ordering::Relaxed) && write(&mut connection).is_ok() {}
    }
}

/// Returns the bars that a run misses.
pub fn bars(flooded: &Flooded) -> Vec<String> {
    let mut missed = Vec::new();
    for bytes in &flooded.logs {
        let growth = *bytes as f64 / flooded.sent.max(1) as f64;
        if growth > GROWTH_MAX {
            missed.push(format!("a log has grown to {growth:.2} of what was sent"));
        }
    }
    for memory in flooded.memory.iter().filter(|memory| **memory > MEMORY_MAX) {
        missed.push(format!("a daemon takes {memory} MiB"));
    }
    missed
}

/// Runs in full, and returns the bars that were missed.
pub fn measure(mebibytes: u32) -> Vec<String> {
    let Some(flooded) = run(mebibytes) else { return vec!["no disk can hang here".into()] };
    let Flooded { sent, logs, memory, took, counters } = &flooded;
    let logs: Vec<u64> = logs.iter().map(|bytes| bytes >> 20).collect();
    println!(
        "{} MiB sent in {took:.0?}; the logs of the others grew by {logs:?} MiB; daemons took \
         {memory:?} MiB at most",
        sent >> 20
    );
    let names = ["ops_dropped", "ops_refused", "frames_dropped", "handed_over_again"];
    for counters in counters {
        let shown: Vec<String> =
            names.iter().map(|name| format!("{name} {}", counters[*name])).collect();
        println!("  {}", shown.join(", "));
    }
    bars(&flooded)
}
