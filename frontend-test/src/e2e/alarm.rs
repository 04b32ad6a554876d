//! Programs that stick, and launchers: crane must replicate them or name the fault.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group::Group;
use super::hosts::Hosts;
use super::machine::{Machine, free_port};
use super::program::{self, Program};
use super::programs::{self, Expect, Launcher, STUCK_THREAD, Stuck};
use super::resp::{Connection, Reply};
use super::wait::{ANSWER, SOON, within};

/// The time within which a server that sticks is reported.
pub const REPORTED_WITHIN: Duration = Duration::from_secs(2);
/// The time for which a control is watched.
const CONTROL_WATCHED: Duration = Duration::from_secs(5);
/// The time that a busy machine may add, because `status` is a separate process.
const SLACK: Duration = Duration::from_secs(3);

/// The words of a report of a call that no hook sees.
pub const BYPASSES: &str = "a call bypasses crane";

/// The option by which calls that bypass the hooks are told only.
pub const NO_FLOOR: &str = "--floor=never";

/// Calls that crane refuses, so that the program answers instead of sticking (specs/CLOSED.md).
const REFUSED: [&str; 2] = ["io_uring_enter", "futex_waitv"];

/// The outcome for a stuck program.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The program's name.
    pub name: String,
    /// The time from the request to the report, if there was one.
    pub after: Option<Duration>,
    /// The faults, or the notes of a program that computes.
    pub texts: Vec<String>,
}

/// Returns a group of one replica, which has not started, for a stuck program.
fn prepare(machine: &Machine, stuck: &Stuck, options: &[&str]) -> Result<Group, String> {
    let base = machine.folder().join("base");
    std::fs::create_dir_all(&base).map_err(|error| error.to_string())?;
    let port = free_port();
    // A cell shows its server no /tmp, where the compiled programs may lie.
    std::fs::copy(programs::compiled("stuck", &stuck.name), base.join("stuck"))
        .map_err(|error| error.to_string())?;
    let command = vec!["./stuck".to_string(), port.to_string()];
    let program = Program { name: "stuck", command, port, base };
    Ok(Group::prepare(machine, program, 1, options))
}

/// Lets the program stick, in a thread of one connection.
fn send_stick(group: &Group, name: &str) -> Result<(), String> {
    let stream = within(SOON, || TcpStream::connect_timeout(&group.address(1), ANSWER))
        .map_err(|error| format!("{name}: no connection: {error}"))?;
    stream.set_read_timeout(Some(ANSWER)).map_err(|error| error.to_string())?;
    if !programs::echoes(&stream, "hello\n") {
        return Err(format!("{name}: no echo"));
    }
    (&stream).write_all(b"stick\n").map_err(|error| error.to_string())
}

/// Returns the words that a report of the program has.
fn words_of(stuck: &Stuck) -> Vec<&str> {
    match (stuck.expect, stuck.call.as_deref()) {
        (_, Some(call)) if REFUSED.contains(&call) => Vec::new(),
        (Expect::InKernel, Some(call)) => vec![STUCK_THREAD, "is in", call],
        (Expect::Computes, _) => vec![STUCK_THREAD, "computes"],
        (Expect::Bypass, Some(call)) => vec![BYPASSES, call, "in stuck"],
        _ => Vec::new(),
    }
}

/// Lets one program stick, as a single replica, and returns the report.
///
/// # Errors
///
/// Returns the report that is missing or wrong.
pub fn stick(stuck: &Stuck) -> Result<Reported, String> {
    let machine = Machine::take("stuck");
    let mut group = prepare(&machine, stuck, &[NO_FLOOR])?;
    group.start_all();
    let name = stuck.name.clone();
    send_stick(&group, &name)?;
    let start = Instant::now();
    let bound = match stuck.expect {
        Expect::InKernel | Expect::Computes | Expect::Bypass => REPORTED_WITHIN + SLACK,
        Expect::None => CONTROL_WATCHED,
    };
    let words = words_of(stuck);
    let mut texts = Vec::new();
    let mut faults = Vec::new();
    let mut uncovered = 0;
    let reported = within(bound, || {
        let status = group.status()?;
        let replica = status.replica(1);
        faults.clone_from(&replica.faults);
        texts = [replica.faults.clone(), replica.notes.clone()].concat();
        uncovered = replica.uncovered_calls.as_u64().unwrap_or(0);
        // A control has nothing to name: its watch ends early with a fault alone.
        let named = match words.is_empty() {
            true => !faults.is_empty(),
            false => texts.iter().any(|text| words.iter().all(|word| text.contains(word))),
        };
        if named { Ok(()) } else { Err("nothing".to_string()) }
    });
    let after = reported.is_ok().then(|| start.elapsed());
    // A call that waits in the turn holds up no other thread.
    let serves = || {
        let other = TcpStream::connect_timeout(&group.address(1), ANSWER).ok()?;
        other.set_read_timeout(Some(ANSWER)).ok()?;
        programs::echoes(&other, "another\n").then_some(())
    };
    if after.is_none() && stuck.expect == Expect::InKernel && serves().is_some() {
        return Ok(Reported { name, after: None, texts });
    }
    if after.is_none() && !words.is_empty() {
        return Err(format!("{name}: no report names {words:?}: {texts:?}"));
    }
    if stuck.expect == Expect::Bypass && uncovered == 0 {
        return Err(format!("{name}: it is not counted: {texts:?}"));
    }
    let unseen = texts.iter().find(|text| text.contains(BYPASSES));
    if stuck.expect == Expect::None && (!faults.is_empty() || unseen.is_some()) {
        return Err(format!("{name}: a control raises {texts:?}"));
    }
    Ok(Reported { name, after, texts })
}

/// Lets one program that bypasses crane stick with `--strict`, and returns the reason for which its
/// replica ends.
///
/// # Errors
///
/// Returns the end or the reason that is wrong.
pub fn stick_strictly(stuck: &Stuck) -> Result<String, String> {
    let machine = Machine::take("strict");
    let mut group = prepare(&machine, stuck, &["--strict", NO_FLOOR])?;
    group.start_all();
    let name = &stuck.name;
    send_stick(&group, name)?;
    let status = group.await_exit(1);
    let log = group.log(1);
    if status.success() {
        return Err(format!("{name}: the replica ends with status 0:\n{log}"));
    }
    let call = stuck.call.as_deref().unwrap_or_default();
    let words = ["crane-linux: error:", "--strict refuses", call, "in stuck", "--strict out"];
    let reason = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
    reason.map(str::to_owned).ok_or_else(|| format!("{name}: no line has {words:?}:\n{log}"))
}

/// The outcome of a program that sticks on the floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFloor {
    /// Another client is served while the program sticks, or the program answers as natively, and
    /// no fault is reported.
    Works,
    /// A fault or a note names the call.
    Named(String),
}

/// Lets one program stick, as a single replica, on the floor.
///
/// # Errors
///
/// Returns what neither works nor is named.
pub fn stick_on_floor(stuck: &Stuck) -> Result<OnFloor, String> {
    let machine = Machine::take("floor");
    let mut group = prepare(&machine, stuck, &[])?;
    group.start_all();
    let name = &stuck.name;
    send_stick(&group, name)?;
    // A call that waits in the turn holds up no other thread.
    let served = within(REPORTED_WITHIN, || {
        let other = TcpStream::connect_timeout(&group.address(1), ANSWER);
        let other = other.map_err(|error| error.to_string())?;
        other.set_read_timeout(Some(ANSWER)).map_err(|error| error.to_string())?;
        programs::echoes(&other, "another\n").then_some(()).ok_or_else(|| "no echo".to_string())
    });
    // The watch needs a second for what it reports.
    let watched = Instant::now();
    let words = [STUCK_THREAD, BYPASSES];
    let mut texts = Vec::new();
    let named = within(REPORTED_WITHIN + SLACK, || {
        let replica = group.status()?.replica(1).clone();
        texts = [replica.faults, replica.notes].concat();
        let found = texts.iter().find(|text| words.iter().any(|word| text.contains(word)));
        match found {
            Some(text) => Ok(Some(text.clone())),
            None if served.is_ok() && watched.elapsed() > REPORTED_WITHIN => Ok(None),
            None => Err("nothing".to_string()),
        }
    });
    match named {
        Ok(None) => Ok(OnFloor::Works),
        Ok(Some(text)) => Ok(OnFloor::Named(text)),
        Err(_) => Err(format!("{name}: it neither works ({served:?}) nor is it named: {texts:?}")),
    }
}

/// Runs redis behind a launcher on three hosts, if the machine can make them, and checks that its
/// three servers behave as one or that crane ends with a reason.
///
/// # Errors
///
/// Returns the check that fails.
pub fn launch(launcher: &Launcher) -> Result<String, String> {
    let machine = Machine::take("launcher");
    let mut program = program::redis_on_hosts(machine.folder());
    program.command = launcher.command_at(&program.base, &program.command);
    let hosts = Hosts::possible().is_ok().then(|| Arc::new(Hosts::make(3)));
    let _hub = hosts.as_ref().map(|hosts| hosts.visit_hub());
    let mut group = match &hosts {
        Some(hosts) => Group::prepare_on(&machine, hosts, program, 3),
        None => Group::prepare(&machine, program, 3, &[]),
    };
    for id in group.ids() {
        group.start_replica(id);
    }
    let name = &launcher.name;
    group.await_serving();
    let call = |id: u8, words: &[&[u8]]| -> Result<Reply, String> {
        let mut connection =
            Connection::open(group.address(id), ANSWER).map_err(|error| error.to_string())?;
        connection.call(words).map_err(|error| error.to_string())
    };
    call(1, &[b"SET", b"launcher", name.as_bytes()])?;
    let read = call(3, &[b"GET", b"launcher"])?;
    if read != Reply::Bulk(Some(name.as_bytes().to_vec())) {
        return Err(format!(
            "{name}: what was written at one replica is not read at another: {read:?}"
        ));
    }
    group.await_settled();
    let place = if hosts.is_some() { "host" } else { "replica of one host" };
    Ok(format!("{name}: a write at one {place} is read at another"))
}
