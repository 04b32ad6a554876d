//! Rounds of checkpoints under load: hold, dump, kill, restore, catch up. Each round dumps what the
//! round before has restored.
//!
//! The bar: half of the times for which a server is held are at most 50 ms, and 1 ms more for each
//! MB that must be written meanwhile.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::binary::run_bounded;
use super::group::Group;
use super::healthy::{self, Ask, connect};
use super::http::invalid;
use super::kills::median;
use super::machine::{Machine, skip};
use super::pause::Pauses;
use super::program::{self, Program};
use super::status::Status;
use super::wait::{Raise, START, eventually};
use super::wiped::fill;

/// The servers that are dumped.
pub const NAMES: [&str; 5] = ["civetweb", "redis", "memcached", "clamd", "objects"];
/// The mebibytes in a large redis, and in its append-only file as well.
pub const LARGE_MIB: usize = 100;
/// The constant part of the bar.
const HELD_FOR: Duration = Duration::from_millis(50);

/// The outcome of the rounds with one server.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// For how long the server was held, by round.
    pub held: Vec<Duration>,
    /// The bytes of its image, and of files that had to be copied, that were written meanwhile.
    pub held_bytes: Vec<u64>,
    /// The longest request of a client of another replica while a checkpoint was taken, by round.
    pub pauses: Vec<Duration>,
    /// That of a client of the replica whose server was held.
    pub own_pauses: Vec<Duration>,
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
            "{} rounds; held: {}, for {:.1} MB of image and changed files (bar: {} ms); longest \
             request meanwhile through the others: {}, through the held one: {}; back in step: {}; \
             {} rounds of requests through the others, {} failed",
            self.held.len(),
            times(&self.held),
            self.megabytes(),
            self.bar().as_millis(),
            times(&self.pauses),
            times(&self.own_pauses),
            times(&self.returned),
            self.requests,
            self.failures.len()
        )
    }

    /// Returns the bytes that were written while the server was held, in half of the rounds.
    fn megabytes(&self) -> f64 {
        let mut bytes = self.held_bytes.clone();
        bytes.sort_unstable();
        bytes.get(bytes.len() / 2).map_or(0.0, |bytes| *bytes as f64 / 1e6)
    }

    fn bar(&self) -> Duration {
        HELD_FOR + Duration::from_secs_f64(self.megabytes() / 1e3)
    }

    /// Returns the bars that were missed.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = self.failures.clone();
        if self.requests == 0 {
            missed.push("no requests through the other replicas".to_string());
        }
        let held = median(&self.held);
        if held > self.bar() {
            missed.push(format!("held for {held:.0?} (median), and the bar is {:.0?}", self.bar()));
        }
        missed
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

/// Kills a replica, and lets it return from its checkpoint behind a slot.
///
/// # Panics
///
/// Panics if its server starts from another one, or that takes too long.
pub fn return_from(group: &mut Group, id: u8, slot: u64) {
    group.kill(id);
    group.start_replica(id);
    await_start_from(group, id, |from| from == slot);
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

/// Makes the rounds with one of [`NAMES`], or with redis and [`LARGE_MIB`] in it.
///
/// # Panics
///
/// Panics if a checkpoint is not taken, a server does not start from it, or hashes differ.
#[must_use]
pub fn rounds(name: &str, rounds: usize, large: bool) -> Outcome {
    let machine = Machine::take(name);
    let (program, ask) = server(name, machine.folder());
    let mut group = Group::start(&machine, program, 3, &[]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let others: Vec<SocketAddr> =
        group.ids().filter(|id| *id != backup).map(|id| group.address(id)).collect();
    if large {
        fill(group.address(primary), LARGE_MIB);
    }
    let held_at = group.address(backup);
    let mut outcome = Outcome::default();
    let (pauses, own_pauses) = (Pauses::default(), Pauses::default());
    let (stop, requests, failures) =
        (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    scope(|threads| {
        let _stop = Raise(&stop);
        threads.spawn(|| pauses.watch(name, others[0], &stop));
        threads.spawn(|| own_pauses.watch(name, held_at, &stop));
        for address in others.iter().copied() {
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
            for pauses in [&pauses, &own_pauses] {
                let before = pauses.answers();
                eventually("answers of both replicas", START, || match pauses.answers() {
                    now if now > before => Ok(()),
                    now => Err(format!("{now} answers")),
                });
                pauses.begin();
            }
            let (_, slot) = checkpoint(&group, backup)
                .unwrap_or_else(|why| panic!("{name}, round {round}: {why}"));
            outcome.pauses.push(pauses.longest());
            outcome.own_pauses.push(own_pauses.longest());
            let status = group.status().expect("a status");
            let number = |name: &str| {
                status.replica(backup).checkpoint[name].as_u64().expect("a number of status")
            };
            outcome.held.push(Duration::from_millis(number("held_ms")));
            outcome.held_bytes.push(number("held_bytes"));
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
