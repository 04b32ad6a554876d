//! Failovers on three hosts with clients at each: the primary is killed, frozen and cut off, and
//! members are replaced.
//!
//! The measured time is that from the fault to the first good answer to a write on a *new*
//! connection at a survivor. Existing connections must all survive the fault. An old primary that
//! returns finds a waiting question whose answer has changed meanwhile.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use super::counting::Writers;
use super::frozen::freeze;
use super::group::Group;
use super::hosts::Hosts;
use super::kills::{StopAtEnd, median};
use super::machine::Machine;
use super::probe::Probe;
use super::program;
use super::resp::{Connection, Reply, command};
use super::wait::{ANSWER, Raise, SOON, START, eventually};

/// A fault, which strikes the primary unless its name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the daemon and the server.
    Kill,
    /// `kill -STOP` of the daemon and the server.
    Freeze,
    /// The primary's host is cut off.
    Cut,
    /// A backup, not the primary, is killed, and returns with an empty disk.
    Replace,
    /// The operator replaces a member by another host, alternately a backup and the primary.
    Exchange,
}

/// The result of the rounds of one fault.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The times from each fault to the first good answer on a new connection through a survivor.
    pub failovers: Vec<Duration>,
    /// The number of connections through survivors, and how many of them survived.
    pub connections: (usize, usize),
    /// The times from the end of each fault (from its start, if a backup is replaced) to good
    /// health.
    pub returns: Vec<Duration>,
    /// The slowest request to a survivor in that time.
    pub slowest: Duration,
    /// The number of acknowledged writes, each of which was found once, and of those whose answer
    /// never came.
    pub writes: (usize, usize),
}

impl Outcome {
    /// Returns the longest time without service.
    #[must_use]
    pub fn worst(&self) -> Duration {
        self.failovers.iter().copied().max().unwrap_or_default()
    }

    /// Returns the median time.
    #[must_use]
    pub fn median(&self) -> Duration {
        median(&self.failovers)
    }

    /// Returns all figures in a line.
    #[must_use]
    pub fn summary(&self, fault: Fault) -> String {
        format!(
            "{fault:?} × {}: fail-over median {} ms, worst {} ms; {} of {} connections through \
             survivors lived; return median {} ms, slowest request meanwhile {} ms; {} writes \
             acknowledged, none lost or doubled; {} without an answer",
            self.failovers.len(),
            self.median().as_millis(),
            self.worst().as_millis(),
            self.connections.1,
            self.connections.0,
            median(&self.returns).as_millis(),
            self.slowest.as_millis(),
            self.writes.0,
            self.writes.1
        )
    }
}

/// The number of clients at each host that write all the time, and their pause between two writes.
const WRITERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(10);
/// The time for which a primary that is cut off could give an answer that it must not give.
const TEMPTED: Duration = Duration::from_millis(300);
/// The key whose value changes behind the old primary's back.
const MARK: &[u8] = b"mark";

/// Makes `fault` strike a Redis group `rounds` times. Each time, the replica returns before the
/// next fault.
///
/// # Panics
///
/// Panics if a write is lost or doubled, an old primary gives an outdated answer, a replica does
/// not return, or hashes differ at the end.
pub fn run(
    group: &mut Group,
    hosts: &Hosts,
    fault: Fault,
    rounds: usize,
    mut said: impl FnMut(String),
) -> Outcome {
    let mut outcome = Outcome::default();
    let writers = Writers::default();
    let memories: Vec<_> = scope(|threads| {
        let _stop = StopAtEnd(&writers);
        let all: Vec<SocketAddr> = hosts.ids().map(|id| group.address(id)).collect();
        let mut handles = Vec::new();
        for id in group.ids() {
            for writer in 0..WRITERS {
                // A writer tries the replica at its own host first.
                let mut addresses = all.clone();
                addresses.rotate_left(usize::from(id) - 1);
                let name = usize::from(id) * 10 + writer;
                let addresses = rotated_for(name, addresses);
                handles.push(group.at_host(id, || writers.spawn(threads, name, addresses, PAUSE)));
            }
        }
        for round in 1..=rounds {
            one_round(group, hosts, fault, round, &writers, &mut outcome);
            said(format!(
                "{fault:?} {round}: answered after {} ms, returned after {} ms, {} acknowledged",
                outcome.failovers[round - 1].as_millis(),
                outcome.returns[round - 1].as_millis(),
                writers.acknowledged()
            ));
        }
        writers.stop();
        handles.into_iter().map(|handle| handle.join().expect("a writer")).collect()
    });
    group.await_settled();
    // A replica that was sick refuses clients until its trial is over.
    eventually("all replicas take clients", START, || {
        let status = group.status()?;
        let all = status.servers().all(|replica| replica.takes_clients);
        if all { Ok(()) } else { Err(status.brief()) }
    });
    for memory in &memories {
        for id in group.ids() {
            let verdict = memory.verify(group.address(id));
            verdict.unwrap_or_else(|error| panic!("replica {id}: {error}"));
        }
        let (acknowledged, unknown) = memory.counts();
        outcome.writes = (outcome.writes.0 + acknowledged, outcome.writes.1 + unknown);
    }
    group.await_settled();
    outcome
}

/// A writer begins at the place after its name, so the list is rotated to make this the first
/// address.
fn rotated_for(name: usize, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let count = addresses.len();
    addresses.rotate_right((name + 1) % count);
    addresses
}

fn one_round(
    group: &mut Group,
    hosts: &Hosts,
    fault: Fault,
    round: usize,
    writers: &Writers,
    outcome: &mut Outcome,
) {
    let before = writers.acknowledged();
    eventually("writes before the fault", SOON, || {
        if writers.acknowledged() >= before + 50 { Ok(()) } else { Err("too few") }
    });
    let mut hit = group.primary();
    if fault == Fault::Replace {
        hit = group.ids().find(|id| *id != hit).expect("a backup");
    }
    if fault == Fault::Exchange && !round.is_multiple_of(2) {
        hit = group.ids().find(|id| *id != hit).expect("a backup");
    }
    let survivors: Vec<u8> = group.ids().filter(|id| *id != hit).collect();
    let stop = AtomicBool::new(false);
    scope(|threads| {
        let _stop = Raise(&stop);
        let mut probes = Vec::new();
        for id in &survivors {
            let address = group.address(*id);
            // One that has just returned is in step a moment before it takes clients.
            let open = || group.at_host(*id, || Probe::open(address));
            let probe = eventually("a survivor", SOON, open);
            probes.push(threads.spawn(|| probe.write_until(&stop)));
        }
        let mut question = Question::open(group, hit);
        let mut back = hit;
        let returned = match fault {
            Fault::Kill => {
                let moment = group.kill(hit);
                outcome.failovers.push(first_answer(group, &survivors, moment));
                let returned = Instant::now();
                group.start_replica(hit);
                returned
            }
            Fault::Replace => {
                let moment = group.kill(hit);
                outcome.failovers.push(first_answer(group, &survivors, moment));
                fs::remove_dir_all(group.data(hit)).expect("an empty disk");
                group.start_replica(hit);
                moment
            }
            Fault::Exchange => {
                back = hosts
                    .ids()
                    .find(|id| group.ids().all(|member| member != *id))
                    .expect("a spare");
                group.start_newcomer(back);
                let moment = Instant::now();
                let address = group.peer_address(back).to_string();
                let words = ["replace", &hit.to_string(), &address];
                group.member(&words).unwrap_or_else(|why| panic!("{words:?}: {why}"));
                outcome.failovers.push(moment.elapsed());
                let status = group.await_exit(hit);
                assert!(status.success(), "a removed replica ends with {status}");
                let mut members: Vec<u8> = group.ids().filter(|id| *id != hit).collect();
                members.push(back);
                members.sort_unstable();
                group.now_has(&members);
                moment
            }
            Fault::Freeze => {
                let moment = Instant::now();
                let frozen = freeze(group, hit);
                outcome.failovers.push(first_answer(group, &survivors, moment));
                question.ask(group, survivors[0], round);
                drop(frozen);
                Instant::now()
            }
            Fault::Cut => {
                let moment = Instant::now();
                hosts.cut(hit);
                outcome.failovers.push(first_answer(group, &survivors, moment));
                question.ask(group, survivors[0], round);
                question.stays_open(TEMPTED);
                hosts.join(hit);
                Instant::now()
            }
        };
        if fault != Fault::Exchange {
            question.settle(round);
        }
        await_in_step(group, back);
        outcome.returns.push(returned.elapsed());
        stop.store(true, Ordering::Relaxed);
        for probe in probes {
            outcome.connections.0 += 1;
            if let Ok(probe) = probe.join().expect("a probe") {
                outcome.connections.1 += 1;
                outcome.slowest = outcome.slowest.max(probe.slowest_since(returned));
            }
        }
    });
}

/// Tries the survivors in turn, each from its own host, on new connections, until one answers.
fn first_answer(group: &Group, survivors: &[u8], since: Instant) -> Duration {
    let mut next = 0;
    eventually("an answer after the fault", START, || {
        next += 1;
        let id = survivors[next % survivors.len()];
        let address = group.address(id);
        group.at_host(id, || Probe::open(address)).map(drop)
    });
    since.elapsed()
}

/// The replica must be in step again, which means less than a second of writes behind.
fn await_in_step(group: &Group, id: u8) {
    let count = group.ids().count();
    eventually("the return of the replica", START, || {
        let status = group.status()?;
        status.healthy(count)?;
        let admitted = status.replica(id).admitted.unwrap_or(0);
        if admitted + 100 >= status.committed() { Ok(()) } else { Err(status.brief()) }
    });
}

/// A client at the old primary's host that reads what others have changed meanwhile.
struct Question {
    connection: Connection,
    address: SocketAddr,
}

impl Question {
    fn open(group: &Group, primary: u8) -> Self {
        let address = group.address(primary);
        let open = || Connection::open(address, ANSWER);
        let mut connection = group.at_host(primary, open).expect("the primary");
        connection.call(&[b"GET", MARK]).expect("an answer before the fault");
        Self { connection, address }
    }

    /// Changes the value through a survivor, then asks the old primary for it.
    fn ask(&mut self, group: &Group, survivor: u8, round: usize) {
        let value = round.to_string();
        let mut other = Connection::open(group.address(survivor), ANSWER).expect("a survivor");
        let reply = other.call(&[b"SET", MARK, value.as_bytes()]).expect("a write");
        assert_eq!(reply, Reply::Simple("OK".to_owned()));
        self.connection.send(&command(&[b"GET", MARK])).expect("room to send");
    }

    /// Checks that no answer comes for a while.
    fn stays_open(&mut self, period: Duration) {
        let stream = self.connection.stream();
        stream.set_read_timeout(Some(period)).expect("a bound");
        let answer = stream.peek(&mut [0]);
        let kind = answer.as_ref().map_err(io::Error::kind);
        let none = matches!(kind, Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
        assert!(none, "{} is cut off, and does not wait: {answer:?}", self.address);
        stream.set_read_timeout(Some(ANSWER)).expect("a bound");
    }

    /// Checks, once the old primary is back, that the answer is the new value or the connection is
    /// gone.
    fn settle(mut self, round: usize) {
        let Ok(reply) = self.connection.reply() else { return };
        let new = Reply::Bulk(Some(round.to_string().into_bytes()));
        assert_eq!(reply, new, "{} gave an outdated answer", self.address);
    }
}

/// Compares failovers on three hosts with their bars: `rounds` kills, two fifths as many freezes
/// and cuts, and a fifth as many of the others. Returns the bars that were missed.
///
/// # Panics
///
/// Panics as [`run`] does.
#[must_use]
pub fn measure(rounds: usize) -> Vec<String> {
    let mut missed = Vec::new();
    for fault in [Fault::Kill, Fault::Freeze, Fault::Cut, Fault::Replace, Fault::Exchange] {
        let rounds = match fault {
            Fault::Kill => rounds,
            Fault::Freeze | Fault::Cut => rounds * 2 / 5,
            Fault::Replace | Fault::Exchange => rounds.div_ceil(5),
        };
        let outcome = fresh(fault, rounds, |line| println!("{line}"));
        println!("{}", outcome.summary(fault));
        let (median, worst) = fault.bars();
        let mut bar = |what, time: Duration, bar: Duration| {
            if time > bar {
                missed.push(format!("{fault:?}: {what} fail-over {time:.0?} is above {bar:?}"));
            }
        };
        bar("median", outcome.median(), median);
        bar("worst", outcome.worst(), worst);
        if outcome.slowest > Duration::from_secs(1) {
            missed.push(format!("{fault:?}: a request took {:.0?} in a return", outcome.slowest));
        }
        let (all, lived) = outcome.connections;
        if lived != all {
            missed.push(format!("{fault:?}: {lived} of {all} connections lived"));
        }
    }
    missed
}

/// Does the same as [`run`], with a new group on new hosts.
///
/// # Panics
///
/// Panics as [`run`] does, or if hosts cannot be made.
pub fn fresh(fault: Fault, rounds: usize, said: impl FnMut(String)) -> Outcome {
    let machine = Machine::take("failover");
    let hosts = Arc::new(Hosts::make(if fault == Fault::Exchange { 4 } else { 3 }));
    let _hub = hosts.visit_hub();
    let program = program::redis_on_hosts(machine.folder());
    let mut group = Group::start_on_some(&machine, &hosts, program, 3);
    run(&mut group, &hosts, fault, rounds, said)
}

impl Fault {
    /// Returns the bars: the longest median and the longest time without service.
    #[must_use]
    pub fn bars(self) -> (Duration, Duration) {
        let second = Duration::from_secs(1);
        match self {
            Self::Kill => (second / 10, second / 2),
            Self::Freeze | Self::Cut | Self::Replace => (second, second),
            // This is the duration of the replacement, and not a time without service.
            Self::Exchange => (5 * second, 10 * second),
        }
    }
}
