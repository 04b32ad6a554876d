//! Rounds of checkpoints under load: hold, dump, kill, restore, catch up. Each round dumps what the
//! round before has restored.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::group::{Group, run_bounded};
use super::healthy::{self, Ask, connect};
use super::http::invalid;
use super::kills::median;
use super::machine::{Machine, skip};
use super::program::{self, Program};
use super::status::Status;
use super::wait::{Raise, START, eventually};

/// The servers that are dumped.
pub const NAMES: [&str; 5] = ["civetweb", "redis", "memcached", "clamd", "objects"];

/// The outcome of the rounds with one server.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// For how long the server was held, by round.
    pub held: Vec<Duration>,
    /// The times from the start of the daemon to a server in step, by round.
    pub returned: Vec<Duration>,
    /// The requests through the other replicas, in rounds of them.
    pub requests: u64,
    /// Those that failed.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Returns a line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let times = |all: &[Duration]| {
            let worst = all.iter().max().copied().unwrap_or_default();
            format!("median {} ms, worst {} ms", median(all).as_millis(), worst.as_millis())
        };
        format!(
            "{} rounds; held: {}; back in step: {}; {} rounds of requests through the others, {} \
             failed",
            self.held.len(),
            times(&self.held),
            times(&self.returned),
            self.requests,
            self.failures.len()
        )
    }
}

/// Takes a checkpoint of a replica's server, and returns its directory and slot.
///
/// # Errors
///
/// Returns the command's text.
pub fn checkpoint(group: &Group, id: u8) -> Result<(PathBuf, u64), String> {
    let data = group.data(id).display().to_string();
    let output = run_bounded(&["checkpoint".into(), "now".into(), data], &group.program().base);
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let place = out.split(" is in ").nth(1).and_then(|rest| rest.split(';').next());
    let slot = place.and_then(|place| place.rsplit("slot-").next()?.parse().ok());
    match (output.status.success(), place, slot) {
        (true, Some(place), Some(slot)) => Ok((PathBuf::from(place), slot)),
        _ => Err(format!("{out}{error}")),
    }
}

/// Returns the slot of the checkpoint from which the server of a replica has started.
#[must_use]
pub fn started_from(status: &Status, id: u8) -> Option<u64> {
    status.replica(id).checkpoint["started_from"].as_u64()
}

/// Waits until all replicas are healthy, and the server of one has started from a checkpoint of a
/// slot that fits.
///
/// # Panics
///
/// Panics if that takes too long.
pub fn await_start_from(group: &Group, id: u8, fits: impl Fn(u64) -> bool) -> Status {
    eventually("a server that was made from a checkpoint", START, || {
        let status = group.status()?;
        status.healthy(3)?;
        match started_from(&status, id) {
            Some(from) if fits(from) => Ok(status),
            other => Err(format!("started from {other:?}, {}", status.brief())),
        }
    })
}

/// Returns whether CRIU works here. `ci/test` sets `CRANE_NO_CRIU` where it could build none.
///
/// # Panics
///
/// Panics as [`skip`] does if a CRIU that is there does not work.
#[must_use]
pub fn are_possible(folder: &Path) -> bool {
    if std::env::var_os("CRANE_NO_CRIU").is_some() {
        println!("skipped: there is no CRIU");
        return false;
    }
    let output = run_bounded(&["checkpoint".into(), "probe".into()], folder);
    if !output.status.success() {
        skip(&String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// Makes the rounds with one of [`NAMES`].
///
/// # Panics
///
/// Panics if a checkpoint is not taken, a server does not start from it, or hashes differ.
#[must_use]
pub fn rounds(name: &str, rounds: usize) -> Outcome {
    let machine = Machine::take(name);
    let (program, ask) = server(name, machine.folder());
    let mut group = Group::start(&machine, program, 3, &[]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let others: Vec<SocketAddr> =
        group.ids().filter(|id| *id != backup).map(|id| group.address(id)).collect();
    let mut outcome = Outcome::default();
    let (stop, requests, failures) =
        (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    scope(|threads| {
        let _stop = Raise(&stop);
        for address in others {
            let (stop, requests, failures) = (&stop, &requests, &failures);
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match ask(address) {
                        Ok(()) => drop(requests.fetch_add(1, Ordering::Relaxed)),
                        Err(why) => failures.lock().expect("no thread panics").push(why),
                    }
                }
            });
        }
        for round in 1..=rounds {
            // The slots at which the server is held differ by it.
            sleep(Duration::from_millis(37 * round as u64 % 200));
            let (_, slot) = checkpoint(&group, backup)
                .unwrap_or_else(|why| panic!("{name}, round {round}: {why}"));
            let held = group.status().expect("a status").replica(backup).checkpoint["held_ms"]
                .as_u64()
                .expect("a time");
            outcome.held.push(Duration::from_millis(held));
            group.kill(backup);
            let since = Instant::now();
            group.start_replica(backup);
            eventually("the replica is in step", START, || {
                let status = group.status()?;
                status.healthy(3)?;
                match started_from(&status, backup) {
                    Some(from) if from == slot && in_step(&status, backup, slot) => Ok(()),
                    other => Err(format!("started from {other:?}, {}", status.brief())),
                }
            });
            outcome.returned.push(since.elapsed());
        }
    });
    group.await_settled();
    outcome.requests = requests.into_inner();
    outcome.failures = failures.into_inner().expect("no thread panics");
    outcome
}

/// Whether the server of a replica has executed almost everything, and something behind the slot.
fn in_step(status: &Status, id: u8, slot: u64) -> bool {
    let admitted = status.replica(id).admitted.unwrap_or(0);
    admitted > slot && admitted + 2000 > status.committed()
}

fn server(name: &str, folder: &Path) -> (Program, Ask) {
    match healthy::kind(name, folder) {
        Some(known) => known,
        None => (program::compiled(folder, "objects", &[]), |at| {
            ask_objects(at).map_err(|error| format!("objects: {error}"))
        }),
    }
}

/// Checks what the answers tell of the server's objects.
fn ask_objects(address: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(connect(address)?);
    let mut line = String::new();
    for _ in 0..20 {
        stream.get_mut().write_all(b"next\n")?;
        line.clear();
        stream.read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let count: u64 = words.first().and_then(|word| word.parse().ok()).unwrap_or(0);
        let letter = char::from(b'a' + ((count + 7) % 8) as u8);
        let digit = (count + 9) % 10;
        let (event, double, triple) = (count + 4, 2 * count, 3 * count);
        let expected = format!(
            "{count} 1 {} {} {letter} {digit} 1 77 {event} {count} {double} {triple} here 1 lock 0 \
             timer 1\n",
            words.get(2).unwrap_or(&"?"),
            words.get(2).unwrap_or(&"?"),
        );
        if line != expected {
            return Err(invalid(format!("{line:?} instead of {expected:?}")));
        }
    }
    Ok(())
}

/// Returns the bytes of all files in a directory.
#[must_use]
pub fn size_of(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    if !about.is_dir() {
        return about.len();
    }
    let items = fs::read_dir(path).into_iter().flatten().flatten();
    items.map(|item| size_of(&item.path())).sum()
}
