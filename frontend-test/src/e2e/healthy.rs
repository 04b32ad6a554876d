//! Five servers under load for a long time: a server in good health raises no fault.
//!
//! An alarm that cries over nothing is soon switched off, so this is the other half of
//! [`alarm`](super::alarm).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::group::Group;
use super::http;
use super::load::{Load, ab, redis_benchmark};
use super::machine::Machine;
use super::program::{self, PAGE, Program};
use super::wait::ANSWER;

/// How often `status` is read.
const LOOK: Duration = Duration::from_secs(5);
/// The requests that a client makes before it looks whether the time is over.
const REQUESTS: u32 = 1000;
/// Connections of one client at a time, where its tool has several.
const CONNECTIONS: u32 = 4;
/// The bytes that clamd scans: no virus.
const SCANNED: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Makes many requests of one kind, and checks the answers.
pub(super) type Ask = fn(SocketAddr) -> Result<(), String>;

/// A server and its kind of requests.
struct Kind {
    program: fn(&Path) -> Program,
    ask: Ask,
}

const KINDS: [Kind; 5] = [
    Kind { program: |folder| program::civetweb(folder, 8), ask: ask_civetweb },
    Kind { program: program::redis, ask: ask_redis },
    Kind { program: program::memcached, ask: |at| ask_memcached(at).map_err(name("memcached")) },
    Kind { program: program::clamd, ask: |at| ask_clamd(at).map_err(name("clamd")) },
    Kind { program: program::node, ask: |at| ask_node(at).map_err(name("node")) },
];

/// Returns one of the five servers, in a folder, and its kind of requests.
pub(super) fn kind(name: &str, folder: &Path) -> Option<(Program, Ask)> {
    let place =
        ["civetweb", "redis", "memcached", "clamd", "node"].iter().position(|it| *it == name);
    place.map(|place| ((KINDS[place].program)(folder), KINDS[place].ask))
}

fn name(of: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{of}: {error}")
}

/// Serves all kinds of requests at the same time for `period`, by a client at each of two replicas,
/// and returns the faults that any replica reported and the requests that failed. `said` gets a
/// line for each server at the end.
///
/// # Panics
///
/// Panics if a server does not start, or hashes differ at the end.
pub fn run(period: Duration, mut said: impl FnMut(String)) -> Vec<String> {
    let first = Machine::take("healthy");
    let others: Vec<Machine> = KINDS[1..].iter().map(|_| first.share("healthy")).collect();
    let machines = std::iter::once(&first).chain(&others);
    let groups: Vec<Group> = KINDS
        .iter()
        .zip(machines)
        .map(|(kind, machine)| Group::start(machine, (kind.program)(machine.folder()), 3, &[]))
        .collect();
    let wrong = Mutex::new(Vec::<String>::new());
    let note = |text: String| {
        let mut wrong = wrong.lock().expect("no thread panics");
        if !wrong.contains(&text) {
            println!("{text}");
            wrong.push(text);
        }
    };
    let rounds: Vec<AtomicU64> = KINDS.iter().map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    scope(|threads| {
        for ((kind, group), rounds) in KINDS.iter().zip(&groups).zip(&rounds) {
            for id in [1, 2] {
                let (address, stop, note) = (group.address(id), &stop, &note);
                threads.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        match (kind.ask)(address) {
                            Ok(()) => drop(rounds.fetch_add(1, Ordering::Relaxed)),
                            Err(why) => note(why),
                        }
                    }
                });
            }
        }
        let start = Instant::now();
        while start.elapsed() < period {
            sleep(LOOK.min(period));
            for group in &groups {
                let name = group.program().name;
                match group.status() {
                    Ok(status) => {
                        for fault in status.replicas.iter().flat_map(|replica| &replica.faults) {
                            note(format!("{name}: fault: {fault}"));
                        }
                    }
                    Err(why) => note(format!("{name}: status: {why}")),
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (group, rounds) in groups.iter().zip(rounds) {
        let status = group.await_settled();
        let entries = status.replica(1).entries.unwrap_or(0);
        let name = group.program().name;
        let rounds = rounds.into_inner();
        said(format!("{name}: {rounds} rounds of requests, {entries} entries, hashes equal"));
        if rounds == 0 {
            note(format!("{name}: no round of requests"));
        }
    }
    wrong.into_inner().expect("no thread panics")
}

fn ask_civetweb(address: SocketAddr) -> Result<(), String> {
    let load = Load { requests: REQUESTS, connections: CONNECTIONS, keepalive: true };
    ab(address, PAGE, load).map(drop)
}

fn ask_redis(address: SocketAddr) -> Result<(), String> {
    let load = Load { requests: REQUESTS, connections: CONNECTIONS, keepalive: true };
    redis_benchmark(address, "set,get", load).map(drop)
}

/// Connects with a limit on each read.
///
/// # Errors
///
/// Returns the system's error.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn is(got: &[u8], wanted: &[u8]) -> io::Result<()> {
    let shown = || http::invalid(format!("{:?}", String::from_utf8_lossy(got)));
    if got == wanted { Ok(()) } else { Err(shown()) }
}

fn ask_memcached(address: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(connect(address)?);
    let mut answer = Vec::new();
    for number in 0..REQUESTS {
        let key = number % 100;
        let request = format!("set key{key} 0 0 5\r\nvalue\r\nget key{key}\r\n");
        stream.get_mut().write_all(request.as_bytes())?;
        let found = format!("VALUE key{key} 0 5\r\n");
        for line in ["STORED\r\n", &*found, "value\r\n", "END\r\n"] {
            answer.clear();
            stream.read_until(b'\n', &mut answer)?;
            is(&answer, line.as_bytes())?;
        }
    }
    Ok(())
}

fn ask_clamd(address: SocketAddr) -> io::Result<()> {
    (0..REQUESTS / 20).try_for_each(|_| scan(address))
}

/// Has clamd scan some bytes by `INSTREAM` (clamd(8)): chunks with their lengths, then one of
/// length 0.
pub(super) fn scan(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"zINSTREAM\0")?;
    stream.write_all(&(SCANNED.len() as u32).to_be_bytes())?;
    stream.write_all(&SCANNED)?;
    stream.write_all(&[0; 4])?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    is(&answer, b"stream: OK\0")
}

fn ask_node(address: SocketAddr) -> io::Result<()> {
    let mut connection = http::Connection::open(address, ANSWER)?;
    let mut last = 0;
    for _ in 0..REQUESTS / 5 {
        let body = connection.get("/")?.body;
        let number = String::from_utf8_lossy(&body).trim().parse().unwrap_or(0);
        if number <= last {
            return Err(http::invalid(format!("{number} follows {last}")));
        }
        last = number;
    }
    Ok(())
}
