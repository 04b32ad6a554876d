//! The odd programs under crane, beside their native transcripts, and the list of those that are
//! known to differ.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::scope;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::binary::{self, crane_linux};
use super::machine::{Machine, free_port};
use super::programs::{self, Odd, Running};
use super::wait::within;

/// The number of programs that run at the same time.
const AT_ONCE: usize = 4;
/// A time longer than any program takes natively, also on a loaded machine.
const NATIVE: Duration = Duration::from_secs(20);
/// The time that a run as a service may take beyond the native one: the programs' own limits are
/// 5 s and more, so one that is woken only by its limit is late.
const BEYOND_NATIVE: Duration = Duration::from_secs(4);
/// The time within which a group ends after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// The ratchets, below the workspace, of all programs, of those that are linked statically, and of
/// runs without a floor.
const RATCHET: &str = "ci/ratchet/odd-programs";
const RATCHET_OF_STATIC: &str = "ci/ratchet/odd-programs-static";
const RATCHET_OF_HOOKS: &str = "ci/ratchet/odd-programs-hooks";

/// The next port. No run gets one of the run before it: the kernel keeps the port of a connection
/// that has ended for a minute from programs that do not ask for it.
static PORTS: OnceLock<AtomicU16> = OnceLock::new();

/// The outcome of a program as a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fares {
    /// The program prints the same as natively, and its group ends with status 0.
    Equal,
    /// The program does not end in time.
    Hangs(String),
    /// The program prints something else, or ends otherwise.
    Differs(String),
}

impl fmt::Display for Fares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::Hangs(difference) => write!(f, "hangs: {difference}"),
            Self::Differs(difference) => write!(f, "differs: {difference}"),
        }
    }
}

/// Runs these programs as services of one replica each, with a floor or without, and calls `report`
/// for each. Without a floor, those that need one are left out.
///
/// Returns what contradicts the ratchet: a program that is not equal and is not listed, or one that
/// is listed and is equal. Either is tried a second time, with nothing beside it.
///
/// # Panics
///
/// Panics if a program does not end natively, or the machine gives no folder.
pub fn run(odd: &[Odd], has_floor: bool, report: impl Fn(&str, &Fares) + Sync) -> Vec<String> {
    let odd: Vec<&Odd> = odd.iter().filter(|one| !one.needs_floor || has_floor).collect();
    let options: &[&str] = if has_floor { &[] } else { &["--floor=never"] };
    let machine = Machine::take("odd-programs");
    let ports = PORTS.get_or_init(|| AtomicU16::new(free_port()));
    let is_static = odd.iter().any(|one| one.room == programs::STATIC);
    let ratchet = match (is_static, has_floor) {
        (true, _) => RATCHET_OF_STATIC,
        (false, true) => RATCHET,
        (false, false) => RATCHET_OF_HOOKS,
    };
    let known = known(ratchet);
    let try_one = |one: &Odd| fares(&machine, ports, one, options);
    let (next, again) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(&one) = odd.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fares = try_one(one);
                    report(&one.name, &fares);
                    let listed = known.contains(&one.name);
                    if (fares == Fares::Equal) == listed {
                        again.lock().expect("the list").push(one);
                    }
                }
            });
        }
    });
    let mut against = Vec::new();
    for one in again.into_inner().expect("the list") {
        let fares = try_one(one);
        let listed = known.contains(&one.name);
        match fares {
            Fares::Equal if listed => {
                against.push(format!("{}: equal now: remove it from {ratchet}", one.name));
            }
            Fares::Hangs(_) | Fares::Differs(_) if !listed => {
                against.push(format!("{}: {fares}", one.name));
            }
            _ => {}
        }
    }
    let names: BTreeSet<String> = programs::odd().into_iter().map(|one| one.name).collect();
    let gone = known.iter().filter(|name| !names.contains(*name));
    against.extend(gone.map(|name| format!("{name}: no such program: remove it from {ratchet}")));
    against
}

/// Returns the programs that a ratchet has as known to differ.
///
/// # Panics
///
/// Panics if the list cannot be read.
fn known(ratchet: &str) -> BTreeSet<String> {
    let path = binary::programs().join("../..").join(ratchet);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}", path.display());
    });
    let names = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    names.map(str::to_owned).collect()
}

fn fares(machine: &Machine, ports: &AtomicU16, odd: &Odd, options: &[&str]) -> Fares {
    // Four each: natively, of the service, between replicas, and one that the program may take.
    let port = ports.fetch_add(4, Ordering::Relaxed);
    let start = Instant::now();
    let native = Running::start(odd.room, &odd.name, port, &[]).end_within(NATIVE);
    let bound = start.elapsed() + BEYOND_NATIVE;
    assert_eq!(native.status, Some(0), "{}: natively {native:?}", odd.name);

    let folder = machine.folder().join(format!("{}-{port}", odd.name));
    let mut service = Service::start(&folder, odd, [port + 1, port + 2], options);
    let peer = odd.has_peer.then(|| Running::start(odd.room, &odd.name, port + 1, &["peer"]));
    let status = within(bound, || service.child.try_wait().expect("its status").ok_or("runs"));
    drop(peer);
    service.stop();
    let printed = transcript(&fs::read(folder.join("stdout")).expect("its stdout"));
    let difference = difference(&native.transcript, &printed);
    match (status, difference) {
        (Err(_), difference) => Fares::Hangs(difference.unwrap_or_default()),
        (Ok(status), None) if status.success() => Fares::Equal,
        (Ok(status), difference) => {
            let log = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
            let errors: Vec<_> = log.lines().filter(|line| line.contains("error:")).collect();
            let difference = difference.unwrap_or_default();
            Fares::Differs(format!("{difference} ({status}) {}", errors.join("; ")))
        }
    }
}

/// A group of one replica, which ends when this is dropped.
struct Service {
    child: Child,
}

impl Service {
    fn start(folder: &Path, odd: &Odd, [port, peer_port]: [u16; 2], options: &[&str]) -> Self {
        let base: PathBuf = folder.join("base");
        fs::create_dir_all(&base).expect("the folder of a run");
        // A cell shows its server no /tmp, where the compiled programs may lie.
        fs::copy(programs::compiled(odd.room, &odd.name), base.join(&odd.name)).expect("a copy");
        let mut command = Command::new(crane_linux());
        command.args(["--local", "1", "--peer-port", &peer_port.to_string(), "--data-dir"]);
        command.arg(folder.join("data")).args(options).arg("--");
        command.arg(format!("./{}", odd.name)).arg(port.to_string());
        if odd.has_peer {
            command.arg("server");
        }
        let output = |name: &str| File::create(folder.join(name)).expect("a file for its output");
        command
            .current_dir(&base)
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .process_group(0);
        Self { child: command.spawn().expect("crane-linux") }
    }

    fn stop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::TERM);
        if within(END, || self.child.try_wait().ok().flatten().ok_or("runs")).is_err() {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns what replica 1 printed: the lines with its number, without it.
fn transcript(stdout: &[u8]) -> String {
    let text = String::from_utf8_lossy(stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("1| "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns the first line that differs, if one does.
fn difference(native: &str, ours: &str) -> Option<String> {
    if native.trim_end_matches('\n') == ours.trim_end_matches('\n') {
        return None;
    }
    let (mut left, mut right) = (native.lines(), ours.lines());
    loop {
        match (left.next(), right.next()) {
            (Some(native), Some(ours)) if native == ours => {}
            (None, None) => return Some("the same lines, ended otherwise".to_owned()),
            (native, ours) => {
                let shown = |line: Option<&str>| line.unwrap_or("no line").to_owned();
                return Some(format!("{:?} instead of {:?}", shown(ours), shown(native)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_what_the_replica_printed() {
        assert_eq!(transcript(b"1| a\n2| b\nc\n1| \n"), "a\n\n");
    }

    #[test]
    fn a_difference_names_both_lines() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let found = difference("a\nb\n", "a\nc\n");
        assert_eq!(found.as_deref(), Some("\"c\" instead of \"b\""));
        let found = difference("a\nb\n", "a\n");
        assert_eq!(found.as_deref(), Some("\"no line\" instead of \"b\""));
    }
}
