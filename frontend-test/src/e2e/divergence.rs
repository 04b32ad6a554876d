//! One server of a Redis group goes wrong under full load: a value in its memory is changed (see
//! [`memory`](super::memory)), and read by clients.
//!
//! In each round, the group must find the fault, name the call, build the wrong server again and
//! bring it in step, without help. Clients at every replica check each byte meanwhile: a right
//! replica must send no other byte, and a connection through the wrong replica must end before the
//! server that is built again could continue it.

use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::group::Group;
use super::hosts::Hosts;
use super::kills::median;
use super::machine::Machine;
use super::memory::{Change, change_value};
use super::program;
use super::resp::{Connection, Reply};
use super::status::Status;
use super::wait::{ANSWER, Raise, SOON, START, within};

/// The servers that decide which of them is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Three servers, of which two outvote the wrong one.
    Three,
    /// Two servers and a witness, which need a third opinion.
    Witness,
    /// Three servers, of which one is dead, so that the others need a third opinion.
    OneDead,
}

/// The outcome of one round.
#[derive(Clone, Debug)]
pub struct Found {
    /// The time from the change to the event that servers differ.
    pub reported: Duration,
    /// The event that names the call.
    pub named: String,
    /// The time from that event until all servers are in step, including the rest of the load.
    pub returned: Duration,
    /// The number of wrong answers that a client of the wrong replica has seen.
    pub wrong_answers: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reported after {} ms, in step {} ms later; {} wrong answers before the reset; {}",
            self.reported.as_millis(),
            self.returned.as_millis(),
            self.wrong_answers,
            self.named
        )
    }
}

/// The number of rounds of one group. A server that is built again replays the load of all earlier
/// rounds.
const ROUNDS_OF_A_GROUP: usize = 4;
/// The load before a change, and after its report.
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(700);
/// The load of the control, which changes nothing.
const CONTROL: Duration = Duration::from_secs(3);
/// The pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(2);
/// The lengths of the values: short ones answered by one send, long ones by several.
const SHORT: u32 = 200;
const LONG: u32 = 200 * 1024;

/// Runs `rounds` rounds of one setting, and returns their outcomes or the check that failed.
pub fn run(
    setting: Setting,
    rounds: usize,
    mut said: impl FnMut(String),
) -> Vec<Result<Found, String>> {
    let mut outcomes = Vec::new();
    while outcomes.len() < rounds {
        let machine = Machine::take("injected");
        let hosts = Arc::new(Hosts::make(3));
        let _hub = hosts.visit_hub();
        let mut stage = Stage::start(&machine, &hosts, setting);
        if let Err(why) = stage.control() {
            outcomes.push(Err(format!("control: {why}")));
            continue;
        }
        for _ in 0..ROUNDS_OF_A_GROUP.min(rounds - outcomes.len()) {
            let number = outcomes.len();
            let change = if number % 4 < 2 { Change::Byte } else { Change::Length };
            let of_primary = number % 2 == 1;
            let outcome = stage.round(number, change, of_primary);
            let role = if of_primary { "primary" } else { "backup" };
            match &outcome {
                Ok(found) => {
                    said(format!("{setting:?} {number}, {change:?} of the {role}: {found}"))
                }
                Err(why) => said(format!("{setting:?} {number}, {change:?} of the {role}: {why}")),
            }
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if failed {
                for id in stage.group.ids() {
                    said(format!("--- replica {id}\n{}", stage.group.log(id)));
                }
                break;
            }
        }
    }
    outcomes
}

/// Runs all settings in full, and compares them with their bars: every round must pass.
#[must_use]
pub fn measure(rounds: usize) -> Vec<String> {
    let mut missed = Vec::new();
    let third = rounds.div_ceil(5);
    for (setting, rounds) in
        [(Setting::Three, rounds), (Setting::Witness, third), (Setting::OneDead, third)]
    {
        let outcomes = run(setting, rounds, |line| println!("{line}"));
        println!("{}", summary(setting, &outcomes));
        missed.extend(outcomes.into_iter().filter_map(Result::err));
    }
    missed
}

/// Returns a line with the figures of a setting.
#[must_use]
pub fn summary(setting: Setting, outcomes: &[Result<Found, String>]) -> String {
    let good: Vec<&Found> = outcomes.iter().flatten().collect();
    let reported: Vec<Duration> = good.iter().map(|found| found.reported).collect();
    let returned: Vec<Duration> = good.iter().map(|found| found.returned).collect();
    let worst = |times: &[Duration]| times.iter().max().map_or(0, Duration::as_millis);
    format!(
        "{setting:?}: {} of {} found, named and in step again; reported after a median of {} ms, \
         worst {} ms; in step after {} ms more, worst {} ms",
        good.len(),
        outcomes.len(),
        median(&reported).as_millis(),
        worst(&reported),
        median(&returned).as_millis(),
        worst(&returned)
    )
}

/// A group on three hosts, in one setting.
struct Stage {
    group: Group,
    setting: Setting,
    /// The replicas that run a server.
    servers: Vec<u8>,
}

impl Stage {
    fn start(machine: &Machine, hosts: &Arc<Hosts>, setting: Setting) -> Self {
        let program = program::redis_on_hosts(machine.folder());
        let mut group = Group::prepare_on(machine, hosts, program, 3);
        let mut servers: Vec<u8> = group.ids().collect();
        if setting == Setting::Witness {
            group.options_mut().extend(["--witness".into(), "3".into()]);
            servers.pop();
        }
        group.start_all();
        if setting == Setting::OneDead {
            let primary = group.primary();
            let dead = servers.iter().copied().rfind(|id| *id != primary).expect("a backup");
            group.kill(dead);
            servers.retain(|id| *id != dead);
        }
        Self { group, setting, servers }
    }

    /// Checks that full load without a change raises no fault.
    fn control(&self) -> Result<(), String> {
        let entry = self.servers[0];
        let load = FullLoad::start(&self.group, entry);
        sleep(CONTROL);
        drop(load);
        let floor = self.group.status()?.committed();
        within(START, || self.in_step(floor))?;
        let status = self.group.status()?;
        let counts: Vec<u64> = self.servers.iter().map(|id| divergences(&status, *id)).collect();
        if counts.iter().any(|count| *count > 0) {
            return Err(format!("divergences {counts:?} without a change"));
        }
        Ok(())
    }

    fn round(&mut self, number: usize, change: Change, of_primary: bool) -> Result<Found, String> {
        let primary = within(SOON, || self.group.status()?.primary())?;
        let other = |id: &&u8| **id != primary;
        let wrong = match of_primary {
            true => primary,
            // Each round takes another backup.
            false => *self
                .servers
                .iter()
                .filter(other)
                .nth(number / 4 % 2)
                .or_else(|| self.servers.iter().find(other))
                .ok_or("no backup runs a server")?,
        };
        if !self.servers.contains(&wrong) {
            return Err(format!("replica {wrong}, the primary, runs no server"));
        }
        let right: Vec<u8> = self.servers.iter().copied().filter(|id| *id != wrong).collect();
        let value = Value::new(number, change);
        value.store(self.group.address(right[0]))?;
        let before = self.group.status()?;
        let process = before.replica(wrong).server_pid.ok_or("no server to change")?;
        let load = FullLoad::start(&self.group, right[0]);
        sleep(BEFORE);
        let stop = AtomicBool::new(false);
        let wrong_answers = AtomicUsize::new(0);
        scope(|threads| {
            let _stop = Raise(&stop);
            let through_wrong = self.group.address(wrong);
            let (shared, halt, seen) = (&value, &stop, &wrong_answers);
            let broken = threads.spawn(move || shared.read_until_broken(through_wrong, halt, seen));
            let may_break = self.setting != Setting::Three;
            let checks: Vec<_> = right
                .iter()
                .map(|id| self.group.address(*id))
                .map(|address| {
                    threads.spawn({
                        let (value, stop) = (&value, &stop);
                        move || value.check(address, stop, may_break)
                    })
                })
                .collect();
            // The wait lasts until the clients read.
            sleep(Duration::from_millis(100));
            let (moment, unix) = (Instant::now(), unix_ms());
            change_value(process, value.start(), value.length(), change)
                .map_err(|error| error.to_string())?;
            let reported = within(SOON, || self.reported(unix))?;
            let reported = Duration::from_millis(reported.saturating_sub(unix));
            sleep(AFTER.saturating_sub(moment.elapsed().saturating_sub(reported)));
            drop(load);
            let floor = self.group.status()?.committed();
            within(START, || self.in_step(floor)).map_err(|why| format!("not in step: {why}"))?;
            let returned = moment.elapsed().saturating_sub(reported);
            stop.store(true, Ordering::Relaxed);
            broken.join().map_err(|_| "the client of the wrong replica panicked")??;
            for check in checks {
                check.join().map_err(|_| "a client of a right replica panicked")??;
            }
            let named = within(SOON, || self.named(unix))?;
            let status = self.group.status()?;
            if of_primary && status.primary()? == wrong {
                return Err(format!("replica {wrong} is primary, though its server was wrong"));
            }
            self.counted(&before, &status, wrong)?;
            value.check_once(self.group.address(wrong))?;
            let wrong_answers = wrong_answers.load(Ordering::Relaxed);
            Ok(Found { reported, named, returned, wrong_answers })
        })
    }

    /// Checks that the server of the wrong replica was counted, and with a majority no other
    /// server.
    fn counted(&self, before: &Status, after: &Status, wrong: u8) -> Result<(), String> {
        for id in &self.servers {
            let more = divergences(after, *id).saturating_sub(divergences(before, *id));
            let fits = match (*id == wrong, self.setting) {
                (true, _) => more == 1,
                (false, Setting::Three) => more == 0,
                // Its server was built again to decide which servers are right.
                (false, _) => more <= 1,
            };
            if !fits {
                return Err(format!("replica {id} counts {more} divergences; {wrong} was wrong"));
            }
        }
        Ok(())
    }

    /// Finds the moment of the first event that servers differ, in milliseconds since the epoch.
    fn reported(&self, since: u64) -> Result<u64, String> {
        let texts = self.events(since)?;
        let differ = texts.iter().filter(|(_, text)| {
            text.contains("differs from the majority") || text.contains(" differ in ")
        });
        differ.map(|(at, _)| *at).min().ok_or_else(|| "no event says that servers differ".into())
    }

    /// Finds the event that names the call.
    fn named(&self, since: u64) -> Result<String, String> {
        let texts = self.events(since)?;
        // The call may be the program's, or a library's such as a lock of its allocator.
        let places = [" in redis", " in lib"];
        let names = |text: &str| {
            (text.contains("the first call that differs")
                || text.contains("the first bytes for clients that differ"))
                && places.iter().any(|place| text.contains(place))
        };
        let found = texts.iter().find(|(_, text)| names(text));
        found
            .map(|(_, text)| text.clone())
            .ok_or_else(|| format!("no event names a call: {texts:?}"))
    }

    /// Returns the events of all replicas since a moment, with their times.
    fn events(&self, since: u64) -> Result<Vec<(u64, String)>, String> {
        let status = self.group.status()?;
        let events = status.replicas.iter().flat_map(|replica| &replica.events);
        let timed = events.filter_map(|event| {
            let at = event["at_ms"].as_u64().filter(|at| *at >= since)?;
            Some((at, event["text"].as_str()?.to_owned()))
        });
        Ok(timed.collect())
    }

    /// Checks that all servers have admitted `floor`, with equal hashes and without a fault.
    fn in_step(&self, floor: u64) -> Result<(), String> {
        let status = self.group.status()?;
        status.primary()?;
        let servers = || self.servers.iter().map(|id| status.replica(*id));
        let slot = servers().next().and_then(|replica| replica.hash_slot);
        let together = servers().all(|replica| {
            replica.faults.is_empty()
                && replica.takes_clients
                && replica.hash_slot == slot
                && replica.admitted.is_some_and(|admitted| admitted >= floor)
        });
        match status.diverged() {
            Some(difference) => Err(difference),
            None if together && slot.is_some_and(|slot| slot >= floor) => Ok(()),
            None => Err(format!("not at one slot from {floor} on: {}", status.brief())),
        }
    }
}

/// A value that the clients know.
struct Value {
    key: String,
    content: Vec<u8>,
}

impl Value {
    fn new(number: usize, change: Change) -> Self {
        let length = if change == Change::Byte { SHORT } else { LONG };
        let start = format!("round {number} of {} at {} ", std::process::id(), unix_ms());
        let mut content = start.into_bytes();
        content.extend((content.len()..length as usize).map(|place| b'a' + (place % 26) as u8));
        Self { key: format!("value-{number}"), content }
    }

    /// Returns the bytes by which the value is found in memory.
    fn start(&self) -> &[u8] {
        &self.content[..40]
    }

    fn length(&self) -> u32 {
        self.content.len() as u32
    }

    fn store(&self, address: SocketAddr) -> Result<(), String> {
        let stored = Connection::open(address, ANSWER)
            .and_then(|mut open| open.call(&[b"SET", self.key.as_bytes(), &self.content]));
        stored.map(drop).map_err(|error| format!("SET: {error}"))
    }

    /// Reads the value once. Returns `Ok(false)` if the answer is a different one.
    fn read(&self, open: &mut Connection) -> std::io::Result<bool> {
        let reply = open.call(&[b"GET", self.key.as_bytes()])?;
        Ok(reply == Reply::Bulk(Some(self.content.clone())))
    }

    fn check_once(&self, address: SocketAddr) -> Result<(), String> {
        let read = Connection::open(address, ANSWER).and_then(|mut open| self.read(&mut open));
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{address} answers other bytes")),
            Err(error) => Err(format!("{address}: {error}")),
        }
    }

    /// Reads the value through a right replica until the end.
    fn check(&self, address: SocketAddr, stop: &AtomicBool, may_break: bool) -> Result<(), String> {
        let mut open = None;
        while !stop.load(Ordering::Relaxed) {
            sleep(PAUSE);
            let connection = match &mut open {
                Some(connection) => connection,
                None => match Connection::open(address, ANSWER) {
                    Ok(connection) => open.insert(connection),
                    Err(_) if may_break => continue,
                    Err(error) => return Err(format!("{address}, which is right: {error}")),
                },
            };
            match self.read(connection) {
                Ok(true) => {}
                Ok(false) => return Err(format!("{address}, which is right, has other bytes")),
                Err(_) if may_break => open = None,
                Err(error) => return Err(format!("{address}, which is right: {error}")),
            }
        }
        Ok(())
    }

    /// Reads the value by one connection through the wrong replica until the connection breaks, as
    /// it must.
    fn read_until_broken(
        &self,
        address: SocketAddr,
        stop: &AtomicBool,
        wrong_answers: &AtomicUsize,
    ) -> Result<(), String> {
        let mut open = Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
        while !stop.load(Ordering::Relaxed) {
            match self.read(&mut open) {
                Ok(true) if wrong_answers.load(Ordering::Relaxed) == 0 => {}
                Ok(true) => return Err("a connection was continued by another server".into()),
                Ok(false) => {
                    wrong_answers.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => return Ok(()),
            }
            sleep(PAUSE);
        }
        Err("a connection through the wrong replica was not reset".into())
    }
}

/// A load by `redis-benchmark -P 16` through one replica, which ends when dropped.
struct FullLoad(Child);

impl FullLoad {
    fn start(group: &Group, entry: u8) -> Self {
        let address = group.address(entry);
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        command.args(["-P", "16", "-c", "16", "-n", "1000000000", "-t", "set", "-q"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(group.at_host(entry, || command.spawn().expect("redis-benchmark")))
    }
}

impl Drop for FullLoad {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn divergences(status: &Status, id: u8) -> u64 {
    status.replica(id).counters["divergences"].as_u64().unwrap_or(0)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
