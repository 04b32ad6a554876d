//! Primaries that are sick but not dead, on three hosts: a disk that hangs, a server that hangs.
//!
//! Each client asks the replica at its own host first, and goes to the next one when its connection
//! is refused or breaks. A gap is the time between two good answers to one client.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::group::Group;
use super::hosts::Hosts;
use super::http::invalid;
use super::load::{Load, redis_benchmark};
use super::program;
use super::resp::{Connection, Reply};
use super::sick_disk::{LoopDisk, obey_orders, order};
use super::status::Status;
use super::wait::{ANSWER, Raise, SOON, START, eventually};

/// A fault that strikes the primary, and does not end its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sickness {
    /// The file system of its data directory is frozen.
    FrozenDisk,
    /// The same, and the log is written to the system's memory only.
    FrozenMemory,
    /// The fdatasync of its daemon does not return.
    HungSync,
    /// Its server's process is stopped.
    StoppedServer,
    /// Packets from it do not arrive at one backup, whose packets arrive at it.
    Muted,
}

impl Sickness {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FrozenDisk, Self::FrozenMemory, Self::HungSync, Self::StoppedServer, Self::Muted];
}

/// The longest gap that a client may have: the time until a replica counts as sick, and 500 ms.
pub const GAP_MAX: Duration = Duration::from_millis(1000);
/// The number of clients at each host, and their pause between two requests.
const CLIENTS: usize = 2;
const PAUSE: Duration = Duration::from_millis(5);
/// How long a fault lasts.
const SICK_FOR: Duration = Duration::from_secs(4);
/// How long a client waits for a connection: a host of the same network answers sooner.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);
/// How long a client waits for an answer: longer than any fault, so that only the group can help
/// it.
const IMPATIENT: Duration = Duration::from_secs(30);

/// The result of a round.
#[derive(Clone, Debug)]
pub struct Round {
    /// The longest gap of a client that was connected to the sick replica.
    pub at_the_sick: Duration,
    /// The longest gap of another client.
    pub elsewhere: Duration,
    /// The number of changes of the primary.
    pub changes: u64,
    /// The faults that the sick replica showed.
    pub faults: Vec<String>,
}

/// One client: the times of its good answers.
struct Client {
    name: usize,
    addresses: Vec<SocketAddr>,
    answers: Vec<Instant>,
    /// The last count that was acknowledged, and the number of requests since without an answer.
    acknowledged: (i64, i64),
}

impl Client {
    fn run(mut self, stop: &AtomicBool) -> io::Result<Self> {
        let (mut at, mut connection) = (0, None);
        while !stop.load(Ordering::Relaxed) {
            let open = match &mut connection {
                Some(open) => open,
                None => {
                    let address = self.addresses[at % self.addresses.len()];
                    let opened = TcpStream::connect_timeout(&address, CONNECT_WITHIN)
                        .and_then(|_| Connection::open(address, IMPATIENT));
                    match opened {
                        Ok(open) => connection.insert(open),
                        Err(_) => {
                            at += 1;
                            sleep(PAUSE);
                            continue;
                        }
                    }
                }
            };
            let key = format!("client-{}", self.name);
            match open.call(&[b"INCR", key.as_bytes()]) {
                Ok(Reply::Number(count)) => self.take(count)?,
                Ok(other) => return Err(invalid(format!("INCR answered {other:?}"))),
                Err(_) => {
                    self.acknowledged.1 += 1;
                    connection = None;
                    at += 1;
                }
            }
            sleep(PAUSE);
        }
        Ok(self)
    }

    /// Takes a count, which has each acknowledged increment in it once.
    fn take(&mut self, count: i64) -> io::Result<()> {
        let (before, unknown) = self.acknowledged;
        if !(before + 1..=before + 1 + unknown).contains(&count) {
            return Err(invalid(format!("{count} after {before} and {unknown} unknown")));
        }
        self.acknowledged = (count, 0);
        self.answers.push(Instant::now());
        Ok(())
    }

    /// Returns the longest gap that ends after a moment.
    fn gap_since(&self, moment: Instant, until: Instant) -> Duration {
        let mut last = moment;
        let mut longest = Duration::ZERO;
        for answer in self.answers.iter().filter(|at| **at >= moment) {
            longest = longest.max(*answer - last);
            last = *answer;
        }
        longest.max(until.saturating_duration_since(last))
    }
}

/// Makes a fresh group on three hosts, lets the fault strike its primary, and takes it back.
///
/// # Panics
///
/// Panics if a write is lost or doubled, if the replica does not return to good health, or if
/// hashes differ. Returns `None` if the fault cannot be made here.
#[must_use]
pub fn round(fault: Sickness) -> Option<Round> {
    let (machine, hosts, _hub) = Hosts::take("sick", 3)?;
    let program = program::redis_on_hosts(machine.folder());
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    obey_orders(&mut group);
    // Any of them may become primary.
    let mut disks = Vec::new();
    if fault == Sickness::FrozenMemory {
        group.options_mut().extend(["--durability", "memory"].map(String::from));
    }
    if matches!(fault, Sickness::FrozenDisk | Sickness::FrozenMemory) {
        for id in group.ids() {
            disks.push(LoopDisk::mount(&group.data(id), 160)?);
        }
    }
    group.start_all();
    let sick = group.primary();
    let before = changes(&group.status().expect("a status"));
    let stop = AtomicBool::new(false);
    let round = scope(|threads| {
        let _stop = Raise(&stop);
        let mut clients = Vec::new();
        for id in group.ids() {
            for number in 0..CLIENTS {
                let mut addresses = group.all_addresses();
                addresses.rotate_left(usize::from(id) - 1);
                let name = usize::from(id) * 10 + number;
                let client = Client { name, addresses, answers: Vec::new(), acknowledged: (0, 0) };
                let stop = &stop;
                let handle = group.at_host(id, || threads.spawn(move || client.run(stop)));
                clients.push((id, handle));
            }
        }
        sleep(Duration::from_secs(1));
        let moment = Instant::now();
        let until = strike(&group, &hosts, &disks, fault, sick, moment);
        sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let (mut at_the_sick, mut elsewhere) = (Duration::ZERO, Duration::ZERO);
        for (id, client) in clients {
            let client = client.join().expect("a client").expect("nothing lost or doubled");
            assert!(!client.answers.is_empty(), "a client at host {id} got no answer at all");
            let gap = client.gap_since(moment, until.0);
            let longest = if id == until.1 { &mut at_the_sick } else { &mut elsewhere };
            *longest = (*longest).max(gap);
        }
        Round { at_the_sick, elsewhere, changes: 0, faults: until.2 }
    });
    // A replica that was sick is on trial for five seconds, and takes clients then.
    eventually("the return of the sick replica", START, || {
        let status = group.status()?;
        status.healthy(3)?;
        for replica in &status.replicas {
            if !replica.faults.is_empty() {
                return Err(format!("replica {}: {:?}", replica.id, replica.faults));
            }
            let address = group.address(replica.id);
            Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
        }
        Ok(())
    });
    let status = group.await_settled();
    let changes = changes(&status) - before;
    drop(group);
    drop(disks);
    Some(Round { changes, ..round })
}

/// Lets the fault last for a while. Returns when that was over, the replica that was sick, and the
/// faults that it showed.
fn strike(
    group: &Group,
    hosts: &Hosts,
    disks: &[LoopDisk],
    fault: Sickness,
    sick: u8,
    moment: Instant,
) -> (Instant, u8, Vec<String>) {
    let mut deaf = sick;
    let watch = |id: u8| {
        let mut faults = Vec::new();
        while moment.elapsed() < SICK_FOR {
            sleep(Duration::from_millis(200));
            if let Ok(status) = group.status() {
                for fault in &status.replica(id).faults {
                    if !faults.contains(fault) {
                        faults.push(fault.clone());
                    }
                }
            }
        }
        faults
    };
    let faults = match fault {
        Sickness::FrozenDisk | Sickness::FrozenMemory => {
            let _frozen = disks[usize::from(sick) - 1].freeze();
            watch(sick)
        }
        Sickness::HungSync => {
            order(group, sick, "hang");
            let faults = watch(sick);
            order(group, sick, "0");
            faults
        }
        Sickness::StoppedServer => {
            let status = group.status().expect("a status");
            let server = Stopped::new(status.replica(sick).server_pid.expect("a server"));
            let faults = watch(sick);
            drop(server);
            faults
        }
        Sickness::Muted => {
            deaf = group.ids().find(|id| *id != sick).expect("a backup");
            hosts.mute(sick, deaf);
            let faults = watch(deaf);
            hosts.unmute(sick, deaf);
            faults
        }
    };
    (moment + SICK_FOR, deaf, faults)
}

/// A process that is stopped by a signal, and continues when this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: u32) -> Self {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, Signal::STOP).expect("a stopped server");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Returns how often replicas of the group were elected.
fn changes(status: &Status) -> u64 {
    let won = |counters: &serde_json::Value| counters["elections_won"].as_u64().unwrap_or(0);
    status.replicas.iter().map(|replica| won(&replica.counters)).sum()
}

/// A load under which no replica is better than the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strain {
    /// Each sync takes two seconds, on all replicas.
    SlowDisks,
    /// All replicas are on one disk, on which a sync takes 300 ms.
    SharedDisk,
    /// A query computes on all servers.
    LongQuery,
}

impl Strain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SlowDisks, Self::SharedDisk, Self::LongQuery];
}

/// Puts a group under a strain for a while, with writes, and returns how often the primary changed
/// and how many writes were answered. Returns `None` if hosts cannot be made here.
///
/// # Panics
///
/// Panics if the group cannot be made or does not return to good health.
#[must_use]
pub fn strained(strain: Strain, period: Duration) -> Option<(u64, usize)> {
    let (machine, hosts, _hub) = Hosts::take("strain", 3)?;
    let program = program::redis_on_hosts(machine.folder());
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    obey_orders(&mut group);
    group.start_all();
    let before = changes(&group.status().expect("a status"));
    for id in group.ids() {
        match strain {
            Strain::SlowDisks => order(&group, id, "2000"),
            Strain::SharedDisk => order(&group, id, "shared 300"),
            Strain::LongQuery => {}
        }
    }
    let (begun, mut answers) = (Instant::now(), 0);
    let mut address = group.address(group.primary());
    while begun.elapsed() < period {
        let opened = Connection::open(address, 2 * SOON);
        let asked = opened.and_then(|mut connection| match strain {
            Strain::LongQuery => connection.call(&[b"EVAL", QUERY, b"0"]),
            _ => connection.call(&[b"INCR", b"strained"]),
        });
        match asked {
            Ok(_) => answers += 1,
            // The replica may be on trial.
            Err(_) => address = group.address(group.primary()),
        }
    }
    for id in group.ids() {
        order(&group, id, "0");
    }
    let status = eventually("good health", 2 * START, || {
        let status = group.status()?;
        status.healthy(3).map(|()| status)
    });
    group.await_settled();
    Some((changes(&status) - before, answers))
}

/// A query that computes for about ten seconds.
const QUERY: &[u8] = b"local n = 0 for i = 1, 400000000 do n = n + i end return n";

/// Returns the rates of a group in which a replica's syncs take 300 ms longer, the primary's or a
/// backup's, and of the same group before, at a replica whose disk is well.
///
/// # Panics
///
/// Panics if the load fails.
#[must_use]
pub fn beside_a_slow_disk(slow_primary: bool, requests: u32) -> Option<(f64, f64)> {
    let (machine, hosts, _hub) = Hosts::take("slow", 3)?;
    let program = program::redis_on_hosts(machine.folder());
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    obey_orders(&mut group);
    group.start_all();
    let primary = group.primary();
    let mut backups = group.ids().filter(|id| *id != primary);
    let (one, other) = (backups.next().expect("a backup"), backups.next().expect("another"));
    let (slow, asked) = if slow_primary { (primary, one) } else { (one, other) };
    let rate = || {
        let load = Load { requests, connections: 50, keepalive: true };
        let figures = redis_benchmark(group.address(asked), "set", load).expect("no failure");
        figures[0].rate
    };
    rate();
    let healthy = rate();
    order(&group, slow, "300");
    sleep(Duration::from_secs(1));
    let beside = rate();
    order(&group, slow, "0");
    group.await_settled();
    Some((healthy, beside))
}

/// Makes all rounds, and compares them with their bars. Returns the bars that were missed.
#[must_use]
pub fn measure(rounds: usize) -> Vec<String> {
    let mut missed = Vec::new();
    // A part of the names of those that are wanted.
    let only = std::env::var("ONLY").unwrap_or_default();
    for fault in Sickness::ALL.into_iter().filter(|it| format!("{it:?}").contains(&only)) {
        let (mut sick, mut elsewhere, mut worst) = (Duration::ZERO, Duration::ZERO, 0);
        let mut silent = 0;
        for number in 1..=rounds {
            let Some(round) = round(fault) else { continue };
            println!("{fault:?} {number}: {round:?}");
            sick = sick.max(round.at_the_sick);
            elsewhere = elsewhere.max(round.elsewhere);
            worst = worst.max(round.changes);
            silent += usize::from(round.faults.is_empty());
        }
        println!(
            "{fault:?} × {rounds}: longest gap {sick:.0?} of clients at the sick replica, \
             {elsewhere:.0?} of others; {worst} changes of primary at most"
        );
        if sick.max(elsewhere) > GAP_MAX {
            missed.push(format!("{fault:?}: a gap of {:.0?}", sick.max(elsewhere)));
        }
        if worst > 1 {
            missed.push(format!("{fault:?}: {worst} changes of primary"));
        }
        // Clients may notice nothing, where a quorum of the others has what it needs.
        if silent > 0 {
            missed.push(format!("{fault:?}: not named in {silent} rounds"));
        }
    }
    for strain in Strain::ALL.into_iter().filter(|it| format!("{it:?}").contains(&only)) {
        let Some((changes, answers)) = strained(strain, Duration::from_secs(60)) else { continue };
        println!("{strain:?}: {changes} changes of primary in 60 s, {answers} answers");
        if changes > 1 || answers == 0 {
            missed.push(format!("{strain:?}: {changes} changes, {answers} answers"));
        }
    }
    for slow_primary in [true, false].into_iter().filter(|_| "OneSlowDisk".contains(&only)) {
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.extend(beside_a_slow_disk(slow_primary, 100_000));
        }
        let parts: Vec<f64> = rates.iter().map(|(healthy, beside)| beside / healthy).collect();
        println!("slow disk of the primary {slow_primary}: rates {rates:.0?}, parts {parts:.2?}");
        let best = parts.iter().copied().fold(0.0, f64::max);
        if !parts.is_empty() && best < 0.9 {
            missed.push(format!("a slow disk (of the primary: {slow_primary}): {best:.2}"));
        }
    }
    missed
}
