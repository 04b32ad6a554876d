//! Millions of small writes with a checkpoint after each 256 MiB of log: the disk and the daemons'
//! memory stay bounded, and a replica that lost its data directory is in step soon.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::checkpoints::{size_of, started_from};
use super::group::Group;
use super::healthy::connect;
use super::http::invalid;
use super::machine::Machine;
use super::program;
use super::resources::resident_kib;
use super::resp::{Connection, Reply};
use super::wait::{ANSWER, within};

/// A new checkpoint is due after this much log.
const EVERY: &str = "256MiB-log";
/// The log's size for which that is.
const LOG_BYTES: u64 = 256 << 20;
/// The writes that a client has outstanding.
const PIPELINED: u64 = 4;
const CLIENTS: u64 = 32;
/// The keys of each client.
const KEYS: u64 = 1000;
/// The time between two looks at disk and memory.
const LOOK: Duration = Duration::from_millis(500);
/// The bar for a replica without a data directory.
const IN_STEP_WITHIN: Duration = Duration::from_secs(60);
/// The bars for disk: a log is cut behind the proof of a checkpoint, and the next one is taken
/// meanwhile.
const LOG_MAX: u64 = 2 * LOG_BYTES;
const DATA_MAX: u64 = 3 * LOG_BYTES;
/// The bar for memory: a daemon's peak in the second half of the writes beside that in the first.
const GROWTH_MAX: f64 = 1.2;

/// The peaks over all replicas, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Peaks {
    log: u64,
    data: u64,
    daemon: u64,
}

impl Peaks {
    fn or(self, other: Self) -> Self {
        Self {
            log: self.log.max(other.log),
            data: self.data.max(other.data),
            daemon: self.daemon.max(other.daemon),
        }
    }

    fn text(self) -> String {
        let Self { log, data, daemon } = self;
        let [log, data, daemon] = [log, data, daemon].map(|bytes| bytes >> 20);
        format!("log {log} MiB, data directory {data} MiB, daemon {daemon} MiB")
    }
}

/// Makes so many writes, and returns the bars that were missed.
///
/// # Panics
///
/// Panics if a write fails, an acknowledged one is lost, or hashes differ.
pub fn measure(writes: u64) -> Vec<String> {
    let machine = Machine::take("endless");
    let mut program = program::redis(machine.folder());
    program.command.extend(["--appendonly", "no"].map(String::from));
    let mut group = Group::start(&machine, program, 3, &["--checkpoint-every", EVERY]);
    let primary = group.primary();
    let addresses: Vec<SocketAddr> = group.all_addresses();
    let each = writes / CLIENTS / PIPELINED * PIPELINED;
    let (done, begun) = (AtomicU64::new(0), Instant::now());
    let mut halves = [Peaks::default(); 2];
    scope(|threads| {
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let address = addresses[number as usize % addresses.len()];
            let done = &done;
            clients.push(threads.spawn(move || {
                let written = write(address, number, each, done);
                written.unwrap_or_else(|why| panic!("client {number}: {why}"));
            }));
        }
        let mut shown = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            sleep(LOOK);
            let written = done.load(Ordering::Relaxed);
            let half = &mut halves[usize::from(written * 2 > writes)];
            *half = half.or(look(&group));
            if written / (writes / 10).max(1) > shown {
                shown = written / (writes / 10).max(1);
                let now = halves[0].or(halves[1]).text();
                println!("{:>5.0?}: {written} writes; at most: {now}", begun.elapsed());
            }
        }
    });
    let lost = group.ids().find(|id| *id != primary).expect("a backup");
    let front = group.status().expect("a status").replica(primary).log["behind"].as_u64();
    group.kill(lost);
    fs::remove_dir_all(group.data(lost)).expect("the data directory");
    let since = Instant::now();
    group.start_replica(lost);
    let returned = within(IN_STEP_WITHIN, || {
        let status = group.status()?;
        status.healthy(3)?;
        let replica = status.replica(lost);
        let is_in_step = replica.admitted.is_some_and(|slot| slot >= status.committed());
        let from = started_from(&status, lost);
        is_in_step.then_some(from).flatten().ok_or_else(|| status.brief())
    });
    let returned = returned.map(|from| (from, since.elapsed()));
    check(group.address(lost), each);
    group.await_settled();
    let peaks = halves[0].or(halves[1]);
    println!("{} writes in {:.0?}; at most: {}", done.into_inner(), begun.elapsed(), peaks.text());
    println!("  in the first half: {}; in the second: {}", halves[0].text(), halves[1].text());
    println!("  the primary's log begins behind slot {front:?}; the wiped replica: {returned:?}");
    let mut missed = Vec::new();
    let mut bar = |holds: bool, text: String| {
        if !holds {
            missed.push(text);
        }
    };
    bar(front.is_some_and(|slot| slot > 0), "the log was never cut".into());
    bar(peaks.log <= LOG_MAX, format!("a log of {} MiB", peaks.log >> 20));
    bar(peaks.data <= DATA_MAX, format!("a data directory of {} MiB", peaks.data >> 20));
    let growth = halves[1].daemon as f64 / halves[0].daemon.max(1) as f64;
    bar(growth <= GROWTH_MAX, format!("a daemon's memory grew to {growth:.2} of the first half's"));
    bar(returned.is_ok(), format!("the wiped replica: {returned:?}"));
    missed
}

fn look(group: &Group) -> Peaks {
    let Ok(status) = group.status() else { return Peaks::default() };
    let of = |id: u8| Peaks {
        log: status.replica(id).log["bytes"].as_u64().unwrap_or(0),
        data: size_of(&group.data(id)),
        daemon: group.daemon(id).and_then(|it| resident_kib(it).ok()).unwrap_or(0) << 10,
    };
    group.ids().map(of).fold(Peaks::default(), Peaks::or)
}

fn key(client: u64, number: u64) -> String {
    format!("key {client} {}", number % KEYS)
}

/// Sets each of a client's keys in turn to the number of the write.
fn write(address: SocketAddr, client: u64, writes: u64, done: &AtomicU64) -> io::Result<()> {
    let mut stream = BufReader::new(connect(address)?);
    let expected = b"+OK\r\n".repeat(PIPELINED as usize);
    let (mut batch, mut answers) = (Vec::new(), vec![0; expected.len()]);
    for first in (0..writes).step_by(PIPELINED as usize) {
        batch.clear();
        for number in first..first + PIPELINED {
            let (key, value) = (key(client, number), number.to_string());
            let (keys, values) = (key.len(), value.len());
            write!(batch, "*3\r\n$3\r\nSET\r\n${keys}\r\n{key}\r\n${values}\r\n{value}\r\n")?;
        }
        stream.get_mut().write_all(&batch)?;
        stream.read_exact(&mut answers)?;
        if answers != expected {
            return Err(invalid(format!("{:?}", String::from_utf8_lossy(&answers))));
        }
        done.fetch_add(PIPELINED, Ordering::Relaxed);
    }
    Ok(())
}

/// Checks at a replica that each key has the last value that was acknowledged.
fn check(address: SocketAddr, writes: u64) {
    let mut connection = Connection::open(address, ANSWER).expect("redis");
    for client in 0..CLIENTS {
        for number in writes.saturating_sub(KEYS)..writes {
            let found = connection.call(&[b"GET", key(client, number).as_bytes()]);
            let value = number.to_string().into_bytes();
            assert_eq!(found.expect("an answer"), Reply::Bulk(Some(value)), "client {client}");
        }
    }
}
