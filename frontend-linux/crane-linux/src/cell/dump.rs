//! The dump: a process of its own (`crane-linux cell-dump`, not meant for people) that enters the
//! cell of a held server and has CRIU write an image of its processes.
//!
//! CRIU runs inside of the cell, so that it sees paths, numbers and sockets as the server does. The
//! image goes to a directory outside, by a descriptor.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::RUN_IN_CELL;
use super::criu_log::first_error;
use super::launch::die_with_parent;
use super::unwatch::unwatch;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "cell-dump";

/// The arguments that dump and restore share. The network of a cell has nothing in it but loopback,
/// the server's connections are not the kernel's, and its files are deleted only in name.
pub(crate) const CRIU_OPTIONS: [&str; 5] =
    ["--network-lock", "skip", "--manage-cgroups=ignore", "--file-locks", "-v2"];
/// Deleted files that are still open go into the image up to this size.
pub(crate) const GHOST_LIMIT: [&str; 2] = ["--ghost-limit", "1073741824"];
/// In a new cell, CRIU itself must not get a number that it is to restore: those up to this one are
/// left to the image.
pub(crate) const NUMBERS_LEFT: &str = "30000";
/// The directories of the cell that are in memory, without the slash: they are part of the image.
pub(super) const IN_MEMORY: [&str; 2] = ["run", "dev/shm"];
/// The last process number that a cell has given.
pub(super) const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// The time limit for a dump, in seconds.
const DUMP_WITHIN: u32 = 60;

/// An order to dump a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DumpOrder {
    /// The server's process on this host.
    pub(crate) server: u32,
    /// The directory for the image.
    pub(crate) image: PathBuf,
    /// CRIU's file.
    pub(crate) criu: PathBuf,
}

/// The result of a dump.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Dumped {
    /// The server's number in its cell.
    pub(crate) server: i32,
    /// The last number that the cell has given to a process.
    pub(crate) last: u32,
}

/// Carries out the order on the first line of the standard input, once that has ended. Prints the
/// result, or the reason why there is none, as JSON.
pub(crate) fn run() -> ! {
    let outcome = carry_out();
    println!("{}", serde_json::to_string(&outcome).expect("plain data"));
    std::process::exit(i32::from(outcome.is_err()))
}

fn carry_out() -> Result<Dumped, String> {
    die_with_parent()?;
    // SAFETY: alarm touches no memory. Its signal ends this process, and CRIU with it.
    unsafe { libc::alarm(DUMP_WITHIN) };
    let mut text = String::new();
    io::stdin().read_line(&mut text).map_err(|error| format!("no order: {error}"))?;
    let DumpOrder { server, image, criu } =
        serde_json::from_str(&text).map_err(|error| format!("no order: {error}"))?;
    let image = open_kept(&image, OFlags::DIRECTORY)?;
    let criu = open_kept(&criu, OFlags::empty())?;
    let number = number_in_cell(server)?;
    let spaces = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(server as i32).ok_or("no process")?,
        rustix::process::PidfdFlags::empty(),
    );
    // The end of the input says that the server is held.
    io::stdin().read_to_string(&mut text).map_err(|error| format!("no sign: {error}"))?;
    unwatch(server)?;
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::NETWORK;
    let entered = spaces.and_then(|spaces| move_into_thread_name_spaces(spaces.as_fd(), all));
    entered.map_err(|error| format!("the server's cell cannot be entered: {error}"))?;
    // The number is that of the space of processes that a child of ours is in.
    let shell = "read last < \"$0\"; echo \"$last\"";
    let said = output_of(Command::new("/bin/sh").args(["-c", shell, LAST_PID]))?;
    let last: u32 = said.trim().parse().map_err(|_| format!("{LAST_PID} holds {said:?}"))?;
    // The shell itself has had that number.
    let last = last - 1;
    let images = format!("/proc/self/fd/{}", image.as_raw_fd());
    let outcome = write_image(&images, &criu, number);
    let set = "echo \"$1\" > \"$0\"";
    output_of(Command::new("/bin/sh").args(["-c", set, LAST_PID, &last.to_string()]))?;
    outcome.map(|()| Dumped { server: number, last })
}

fn write_image(images: &str, criu: &OwnedFd, server: i32) -> Result<(), String> {
    let mut command = Command::new(format!("/proc/self/fd/{}", criu.as_raw_fd()));
    command.args(["dump", "-t", &server.to_string(), "-D", images, "-o", "dump.log"]);
    command.arg("--leave-running").args(GHOST_LIMIT).args(CRIU_OPTIONS);
    // SAFETY: between fork and exec only a call that is safe there is made.
    unsafe { command.pre_exec(|| die_with_parent().map_err(io::Error::other)) };
    if let Err(why) = output_of(&mut command) {
        let log = Path::new(images).join("dump.log");
        let log = output_of(Command::new("/bin/cat").arg(log)).unwrap_or_default();
        let first = first_error(&log).unwrap_or_default();
        return Err(format!("criu dump: {why} {first}"));
    }
    for name in IN_MEMORY {
        let (from, to) = (Path::new("/").join(name), Path::new(images).join(name));
        copy_contents(&from, &to, Path::new(RUN_IN_CELL))?;
    }
    Ok(())
}

/// Copies what is in a directory, with owners, modes and times, except for one place.
///
/// # Errors
/// Returns what cp(1) says.
pub(super) fn copy_contents(from: &Path, to: &Path, except: &Path) -> Result<(), String> {
    let Ok(items) = fs::read_dir(from) else { return Ok(()) };
    // A path below /proc/self means something else in a process of another namespace.
    output_of(Command::new("/bin/mkdir").arg("-p").arg(to))?;
    let paths: Vec<PathBuf> = items.flatten().map(|item| item.path()).collect();
    let paths: Vec<&OsStr> =
        paths.iter().filter(|path| *path != except).map(|path| path.as_os_str()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    output_of(Command::new("/bin/cp").args(["-a", "-t"]).arg(to).args(paths)).map(drop)
}

/// Runs a command to its end, and returns its output.
///
/// # Errors
/// Returns its exit status and its error output if it fails.
pub(super) fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output();
    let output = output.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    if output.status.success() {
        return Ok(out.into_owned());
    }
    let program = Path::new(command.get_program()).display();
    Err(format!("{program}: {}: {}{}", output.status, out.trim(), error.trim()))
}

/// Opens a file that programs which this process executes inherit.
///
/// # Errors
/// Returns what the system refused, with the place.
pub(super) fn open_kept(path: &Path, flags: OFlags) -> Result<OwnedFd, String> {
    let opened = rustix::fs::open(path, OFlags::RDONLY | flags, Mode::empty());
    opened.map_err(|error| format!("{}: {error}", path.display()))
}

fn number_in_cell(server: u32) -> Result<i32, String> {
    let path = format!("/proc/{server}/status");
    let mut text = String::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| format!("{path}: {error}"))?;
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let last = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    last.ok_or_else(|| format!("{path} names no process"))
}
