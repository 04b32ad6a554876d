//! Services as people run them, on three hosts, each through its whole life: requests by eight
//! clients at once, a checkpoint that is proved, a killed primary that returns, and a server that
//! is made from the checkpoint.
//!
//! Each request counts, so a lost or doubled one shows in the numbers, and equal hashes show that
//! all replicas answered alike.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::scope;
use std::time::{Duration, Instant};

use super::checkpoints::{are_possible, checkpoint, return_from};
use super::dialogues::{self, Dialogue, Open};
use super::group::Group;
use super::hosts::{Hosts, Visit};
use super::machine::Machine;
use super::program::{self, Program};
use super::runtimes::{self, Runtime};
use super::trees::{self, Script};
use super::wait::{SOON, START, eventually};

/// The number of clients at the same time, spread over the hosts.
const CLIENTS: u64 = 8;
/// The requests between two looks at a proof, and behind each return.
const FEW: u64 = 160;

/// A service: how its server is made in a folder, and how clients talk to it.
pub struct Service {
    /// The name, as people would say it.
    pub name: &'static str,
    program: fn(&Path) -> Result<Program, String>,
    open: Open,
    /// The signal that an operator orders between two requests, if the server knows one.
    signal: Option<&'static str>,
}

/// Makes a service.
const fn service(
    name: &'static str,
    program: fn(&Path) -> Result<Program, String>,
    open: Open,
) -> Service {
    Service { name, program, open, signal: None }
}

impl Service {
    /// Has an operator order a signal.
    const fn with_signal(self, signal: &'static str) -> Self {
        Self { signal: Some(signal), ..self }
    }
}

/// All services.
pub const SERVICES: [Service; 29] = [
    service("mariadb, a thread per connection", |it| Ok(program::mariadb(it)), dialogues::mariadb),
    service(
        "mariadb, a pool of threads",
        |it| Ok(with(program::mariadb(it), &["--thread-handling=pool-of-threads"])),
        dialogues::mariadb,
    ),
    service("redis", |it| Ok(program::redis_on_hosts(it)), dialogues::redis),
    service("redis that saves", |it| Ok(program::redis_on_hosts(it)), dialogues::saving_redis),
    service("memcached", |it| Ok(program::memcached(it)), dialogues::memcached),
    service("node", |it| runtimes::program(Runtime::Node, it), dialogues::http),
    service("rust", |it| runtimes::program(Runtime::Rust, it), dialogues::http),
    service("go, static", |it| runtimes::program(Runtime::Go, it), dialogues::http),
    service("java, serial", |it| java(it, "Serial"), dialogues::http),
    service("java, parallel", |it| java(it, "Parallel"), dialogues::http),
    service("java, g1", |it| java(it, "G1"), dialogues::http),
    service("java, z", |it| java(it, "Z"), dialogues::http),
    service("java, shenandoah", |it| java(it, "Shenandoah"), dialogues::http),
    service("java, epsilon", |it| java(it, "Epsilon"), dialogues::http),
    service(
        "a family of processes",
        |it| Ok(program::compiled(it, "family", &[])),
        dialogues::http,
    ),
    service(
        "a family in the background",
        |it| {
            let mut program = program::compiled(it, "family", &[]);
            let background = format!("{} &", program.command.join(" "));
            program.command = vec!["/bin/sh".to_owned(), "-c".to_owned(), background];
            Ok(program)
        },
        dialogues::http,
    ),
    service("apache, prefork, cgi", |it| Ok(trees::apache(it, "prefork")), dialogues::http)
        .with_signal("USR1"),
    service("apache, worker, cgi", |it| Ok(trees::apache(it, "worker")), dialogues::http)
        .with_signal("USR1"),
    service("apache, event, cgi", |it| Ok(trees::apache(it, "event")), dialogues::http)
        .with_signal("USR1"),
    service("nginx, four workers", trees::nginx, dialogues::http).with_signal("HUP"),
    service("nginx and php-fpm", trees::nginx_and_php, dialogues::http).with_signal("HUP"),
    service("civetweb, cgi in sh", |it| trees::civetweb(it, Script::Sh), dialogues::pages),
    service("civetweb, cgi in perl", |it| trees::civetweb(it, Script::Perl), dialogues::pages),
    service("civetweb, cgi in php", |it| trees::civetweb(it, Script::Php), dialogues::pages),
    service("lighttpd, cgi in sh", |it| trees::lighttpd(it, Script::Sh), dialogues::pages)
        .with_signal("HUP"),
    service("lighttpd, cgi in perl", |it| trees::lighttpd(it, Script::Perl), dialogues::pages)
        .with_signal("HUP"),
    service("lighttpd, cgi in php", |it| trees::lighttpd(it, Script::Php), dialogues::pages)
        .with_signal("HUP"),
    service("vsftpd", trees::vsftpd, dialogues::ftp),
    service("postgresql", trees::postgresql, dialogues::postgresql).with_signal("HUP"),
];

/// The figures of one service.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The number of requests of all clients.
    pub requests: u64,
    /// The time that they took.
    pub took: Duration,
    /// For how long a server was held for its image, in milliseconds.
    pub held_ms: u64,
    /// The time from the image to its proof.
    pub proved: Duration,
    /// The time from the primary's end to the next answer, at another host.
    pub failover: Duration,
    /// The time from the start of a daemon to its server in step, made from the image.
    pub restored: Duration,
}

/// Lets a service live through all of it with this number of requests.
///
/// # Errors
///
/// Returns an error if this machine lacks the service's program.
///
/// # Panics
///
/// Panics if an answer is wrong, a replica does not return, or hashes differ.
pub fn run(service: &Service, requests: u64) -> Result<Outcome, String> {
    let machine = Machine::take("services");
    let program = (service.program)(machine.folder())?;
    let hosts = Arc::new(Hosts::make(3));
    let _hub: Visit = hosts.visit_hub();
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    group.start_all();
    let mut served = Served { open: service.open, count: 0 };
    let start = Instant::now();
    served.ask(&group, requests);
    let took = start.elapsed();
    if let Some(signal) = service.signal {
        group.signal(signal).expect("the order is carried out");
        served.ask(&group, FEW);
    }
    let primary = group.primary();
    let mut backups = group.ids().filter(|id| *id != primary);
    let (backup, survivor) = (backups.next().expect("a backup"), backups.next().expect("another"));

    let mut image = None;
    if are_possible(machine.folder()) {
        let (_, slot) = checkpoint(&group, backup).unwrap_or_else(|why| panic!("{why}"));
        let since = Instant::now();
        let status = eventually("the proof", START, || {
            served.ask(&group, FEW);
            let status = group.status()?;
            match &status.replica(backup).checkpoint["proved"] {
                proved if *proved == slot => Ok(status),
                other => Err(format!("proved: {other}; {:?}", status.replica(backup).faults)),
            }
        });
        let held = status.replica(backup).checkpoint["held_ms"].as_u64().expect("a time");
        image = Some((slot, held, since.elapsed()));
    }

    let killed = group.kill(primary);
    let address = group.address(survivor);
    let next = eventually("an answer of a survivor", SOON, || (service.open)(address)?.next());
    let failover = killed.elapsed();
    // A request whose answer did not come may have been counted.
    let unknown = next.checked_sub(served.count + 1).expect("no request is lost");
    assert!(unknown <= CLIENTS, "{next} follows {}", served.count);
    served.count = next;
    group.start_replica(primary);
    group.await_serving_behind(start.elapsed());
    served.ask(&group, FEW);

    let since = Instant::now();
    let (mut held_ms, mut proved, mut restored) = (0, Duration::ZERO, Duration::ZERO);
    if let Some((slot, held, took)) = image {
        return_from(&mut group, backup, slot);
        group.await_serving();
        (held_ms, proved, restored) = (held, took, since.elapsed());
        served.ask(&group, FEW);
    }
    group.await_settled();
    Ok(Outcome { requests, took, held_ms, proved, failover, restored })
}

/// The requests that a service has counted.
struct Served {
    open: Open,
    count: u64,
}

impl Served {
    /// Makes requests by all clients at once, and checks that each of them counted once.
    fn ask(&mut self, group: &Group, requests: u64) {
        let addresses = group.all_addresses();
        let mut numbers: Vec<u64> = scope(|threads| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let address = addresses[client as usize % addresses.len()];
                    let open = self.open;
                    threads.spawn(move || conversation(open, address, requests / CLIENTS))
                })
                .collect();
            let numbers = clients.into_iter().map(|client| client.join().expect("a client"));
            numbers.flat_map(|numbers| numbers.expect("answers")).collect()
        });
        numbers.sort_unstable();
        let expected = self.count + 1..=self.count + requests / CLIENTS * CLIENTS;
        assert!(
            numbers.iter().copied().eq(expected),
            "{} to {} behind {}",
            numbers[0],
            numbers[numbers.len() - 1],
            self.count
        );
        self.count += requests / CLIENTS * CLIENTS;
    }
}

/// Makes requests on one connection, and returns the numbers that they got.
fn conversation(open: Open, address: SocketAddr, requests: u64) -> Result<Vec<u64>, String> {
    let mut dialogue: Box<dyn Dialogue> = open(address)?;
    (0..requests).map(|_| dialogue.next()).collect()
}

fn with(mut program: Program, options: &[&str]) -> Program {
    program.command.extend(options.iter().map(ToString::to_string));
    program
}

/// Returns the server of Java with a garbage collector, which has little memory, so that it
/// collects.
fn java(folder: &Path, collector: &str) -> Result<Program, String> {
    let memory = if collector == "Epsilon" { "-Xmx2g" } else { "-Xmx64m" };
    let collector = format!("-XX:+Use{collector}GC");
    let options = ["-XX:+UnlockExperimentalVMOptions", &collector, "-Xms16m", memory];
    runtimes::of_java(folder, &options)
}
