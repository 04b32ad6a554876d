//! The processes of a probe: a small server is dumped in one cell, and restored in another.
//!
//! Each process is this program again, with the hidden subcommand and a [`Stage`]:
//!
//! ```text
//! command ── whole (own mounts) ─┬─ dump ────── dump-init (pid 1) ────┬─ server (pid 2)
//!                                │                                    └─ criu dump
//!                                └─ restore ─── restore-init (pid 1) ─── criu restore: server
//! ```
//!
//! The cells differ from a replica's in that they see the host's files. Each process dies with its
//! parent, and the images are in a file system of the mount namespace: once `whole` has ended,
//! nothing of a probe is left. The stages report [`Line`]s on their standard output.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use super::SUBCOMMAND;
use crate::cell::criu_log::first_error;
use crate::cell::dump::{CRIU_OPTIONS, GHOST_LIMIT, NUMBERS_LEFT};
use crate::cell::{launch, network};

/// A file system of the probe's own lies here. It also keeps CRIU's cache of the kernel's features
/// (`/run/criu.kdat`) from the host.
const RUN: &str = "/run";
const IMAGES: &str = "/run/crane-probe";
/// The network namespace is new, so any port is free.
const PORT: u16 = 6790;
const PAUSE: Duration = Duration::from_millis(2);
/// "nobody". CRIU can fail where a server's workers are of another user than its own.
const OTHER_USER: libc::uid_t = 65534;
/// The server's pid: pid 1 starts it first.
const SERVER: &str = "2";

/// One process of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Makes the file system for the images, and starts both cells in turn.
    Whole,
    /// Starts a cell in which the server is dumped.
    Dump,
    /// Runs as pid 1 of that cell.
    DumpInit,
    /// Starts a cell in which the server is restored.
    Restore,
    /// Runs as pid 1 of that cell.
    RestoreInit,
    /// Runs as the server.
    Server,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Whole, Self::Dump, Self::DumpInit, Self::Restore, Self::RestoreInit, Self::Server];

    /// Returns the word for this stage on a command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Dump => "dump",
            Self::DumpInit => "dump-init",
            Self::Restore => "restore",
            Self::RestoreInit => "restore-init",
            Self::Server => "server",
        }
    }

    fn run(self, criu: &Path) -> Result<(), String> {
        match self {
            Self::Whole => whole(criu),
            Self::Dump => cell(Self::DumpInit, criu),
            Self::DumpInit => dump_init(criu),
            Self::Restore => cell(Self::RestoreInit, criu),
            Self::RestoreInit => restore_init(criu),
            Self::Server => serve().map_err(|error| error.to_string()),
        }
    }

    fn start(self, criu: &Path) -> Result<Child, String> {
        // By its path: through /proc/self/exe, the server would have a file of the mounts outside.
        let exe = std::env::current_exe().map_err(|error| format!("its program: {error}"))?;
        let mut command = Command::new(&exe);
        command.arg(SUBCOMMAND).arg(self.word()).arg(criu).stdin(Stdio::null());
        if self == Self::Server {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command.spawn().map_err(|error| format!("{}: {error}", exe.display()))
    }
}

/// A part of a probe that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The namespaces are made.
    Namespaces,
    /// The server starts, and gives its first answer.
    Server,
    /// The server is dumped.
    Dump,
    /// The server is restored.
    Restore,
    /// The restored server gives its second answer.
    Answer,
}

impl Step {
    const ALL: [Self; 5] =
        [Self::Namespaces, Self::Server, Self::Dump, Self::Restore, Self::Answer];

    fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Server => "server",
            Self::Dump => "dump",
            Self::Restore => "restore",
            Self::Answer => "answer",
        }
    }
}

/// A line that a stage reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// This step begins.
    Begins(Step),
    /// The call of CRIU in the current step took this many milliseconds.
    Took(u64),
    /// The current step has failed, for this reason.
    Failed(String),
    /// All steps have passed.
    Passed,
}

impl Line {
    fn say(&self) {
        let text = match self {
            Self::Begins(step) => format!("begins {}", step.word()),
            Self::Took(milliseconds) => format!("took {milliseconds}"),
            Self::Failed(why) => format!("failed {}", why.replace('\n', " ")),
            Self::Passed => "passed".to_string(),
        };
        // A failed write means that the command has ended, and the probe ends with it.
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// Reads a line. Returns `None` for a line that no stage reports.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "begins" => Self::Begins(Step::ALL.into_iter().find(|step| step.word() == rest)?),
            "took" => Self::Took(rest.parse().ok()?),
            "failed" => Self::Failed(rest.to_string()),
            "passed" => Self::Passed,
            _ => return None,
        })
    }
}

/// Runs the stage that the command line names, with the CRIU that it names, and ends the process.
pub(crate) fn run() -> ! {
    let words: Vec<_> = std::env::args_os().skip(2).collect();
    let stage = match &words[..] {
        [word, _] => Stage::ALL.into_iter().find(|stage| *word == *stage.word()),
        _ => None,
    };
    let outcome = match stage {
        Some(stage) => stage.run(Path::new(&words[1])),
        None => Err("this subcommand is for `checkpoint probe` alone".to_string()),
    };
    if let Err(why) = &outcome {
        Line::Failed(why.clone()).say();
    }
    std::process::exit(i32::from(outcome.is_err()))
}

fn whole(criu: &Path) -> Result<(), String> {
    Line::Begins(Step::Namespaces).say();
    die_with_parent()?;
    close_inherited();
    unshare(libc::CLONE_NEWNS)?;
    launch::make_mounts_private()?;
    mount_new("tmpfs", RUN, "mode=755")?;
    fs::create_dir(IMAGES).map_err(|error| format!("{IMAGES}: {error}"))?;
    for stage in [Stage::Dump, Stage::Restore] {
        if !succeeds(stage.start(criu)?)? {
            // The stage has said why.
            std::process::exit(1);
        }
    }
    Line::Passed.say();
    Ok(())
}

/// Starts pid 1 of a new cell, and waits for its end, which ends the cell.
fn cell(init: Stage, criu: &Path) -> Result<(), String> {
    die_with_parent()?;
    unshare(launch::SPACES)?;
    network::raise_loopback()?;
    match succeeds(init.start(criu)?)? {
        true => Ok(()),
        false => std::process::exit(1),
    }
}

fn dump_init(criu: &Path) -> Result<(), String> {
    enter()?;
    Line::Begins(Step::Server).say();
    let mut server = Stage::Server.start(criu)?;
    expect_answer("1", || match server.try_wait() {
        Ok(None) => Ok(()),
        _ => Err("it has ended".to_string()),
    })?;
    Line::Begins(Step::Dump).say();
    let mut dump = Command::new(criu);
    dump.args(["dump", "-t", SERVER]).args(GHOST_LIMIT);
    call(dump, "dump.log")
}

fn restore_init(criu: &Path) -> Result<(), String> {
    enter()?;
    Line::Begins(Step::Restore).say();
    fs::write("/proc/sys/kernel/ns_last_pid", NUMBERS_LEFT)
        .map_err(|error| format!("ns_last_pid: {error}"))?;
    let mut restore = Command::new(criu);
    restore.args(["restore", "-d"]);
    call(restore, "restore.log")?;
    Line::Begins(Step::Answer).say();
    expect_answer("2", || Ok(()))
}

/// Gives pid 1 a view of the cell's own processes.
fn enter() -> Result<(), String> {
    die_with_parent()?;
    launch::make_mounts_private()?;
    mount_new("proc", "/proc", "")
}

/// Calls CRIU, and reports how long that took.
fn call(mut command: Command, log: &str) -> Result<(), String> {
    let failed = |error| format!("{IMAGES}: {error}");
    let spoken = Path::new(IMAGES).join("spoken");
    let output = File::create(&spoken).map_err(failed)?;
    let second = output.try_clone().map_err(failed)?;
    command.args(["-D", IMAGES, "-o", log]).arg("--shell-job").args(CRIU_OPTIONS);
    command.stdin(Stdio::null()).stdout(output).stderr(second);
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("it does not start: {error}"))?;
    let took = start.elapsed();
    if status.success() {
        Line::Took(took.as_millis() as u64).say();
        return Ok(());
    }
    let text = |path: &Path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
    let log = text(&Path::new(IMAGES).join(log)).unwrap_or_default();
    Err(reason(&log, &text(&spoken).unwrap_or_default()).unwrap_or_else(|| status.to_string()))
}

/// Returns the first error of CRIU's log, or else the last line of its output.
fn reason(log: &str, spoken: &str) -> Option<String> {
    first_error(log).or_else(|| spoken.lines().last()).map(|line| line.trim().to_string())
}

/// Asks the server until it answers, which must be with `expected`.
fn expect_answer(
    expected: &str,
    mut is_alive: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    loop {
        is_alive()?;
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)) {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map_err(|error| format!("no answer: {error}"))?;
            return match answer == expected {
                true => Ok(()),
                false => Err(format!("it answers {answer:?} instead of {expected:?}")),
            };
        }
        thread::sleep(PAUSE);
    }
}

/// Answers each connection with the number of connections so far: one thread accepts, and another
/// counts and answers.
fn serve() -> io::Result<()> {
    setsid()?;
    // Where this user does not exist, the server remains root.
    // SAFETY: setuid touches no memory; no other thread runs yet.
    unsafe { libc::setuid(OTHER_USER) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let (accepted, to_answer) = mpsc::channel::<TcpStream>();
    thread::spawn(move || {
        for (stream, number) in to_answer.into_iter().zip(1_u32..) {
            let _ = write!(&stream, "{number}");
        }
    });
    for stream in listener.incoming() {
        let _ = accepted.send(stream?);
    }
    Ok(())
}

fn succeeds(mut child: Child) -> Result<bool, String> {
    child.wait().map(|status| status.success()).map_err(|error| error.to_string())
}

fn die_with_parent() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("prctl: {error}"))
}

/// Keeps descriptors of the command's starter from the processes below: CRIU refuses a server that
/// has one of another mount namespace.
fn close_inherited() {
    let flag = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: close_range touches no memory; with this flag, the descriptors stay open until exec.
    unsafe { libc::close_range(3, libc::c_uint::MAX, flag) };
}

fn unshare(spaces: libc::c_int) -> Result<(), String> {
    // SAFETY: unshare touches no memory.
    match unsafe { libc::unshare(spaces) } {
        0 => Ok(()),
        _ => Err(format!("unshare: {}", io::Error::last_os_error())),
    }
}

fn mount_new(kind: &str, place: &str, options: &str) -> Result<(), String> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let data = std::ffi::CString::new(options).expect("no zero bytes");
    mount(kind, place, kind, flags, data.as_c_str())
        .map_err(|error| format!("mount {kind} at {place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_error_the_last_line_is_the_reason() {
        let log = "(00.022000) Error (criu/sockets.c:567): sockets: no\n";
        assert_eq!(reason(log, "spoken").as_deref(), Some("sockets: no"));
        assert_eq!(reason("", "one\nunknown option\n").as_deref(), Some("unknown option"));
        assert_eq!(reason("", ""), None);
    }

    #[test]
    fn lines_are_read_as_they_were_said() {
        for (text, line) in [
            ("begins answer", Line::Begins(Step::Answer)),
            ("took 85", Line::Took(85)),
            ("failed for a reason", Line::Failed("for a reason".into())),
            ("passed", Line::Passed),
        ] {
            assert_eq!(Line::parse(text), Some(line));
        }
        for wrong in ["", "begins", "begins nothing", "took", "took x", "other"] {
            assert_eq!(Line::parse(wrong), None, "{wrong}");
        }
    }
}
