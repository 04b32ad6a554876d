//! The dump: a process of its own (`crane-linux cell-dump`, not meant for people) that enters the
//! cell of a held server and has CRIU write an image of its processes.
//!
//! Everything that can be done before the server is held is done before, and no other program than
//! CRIU is executed while it is.
//!
//! CRIU runs inside of the cell, so that it sees paths, numbers and sockets as the server does. The
//! image goes to a directory outside, by a descriptor.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::criu_log::first_error;
use super::features::Features;
use super::launch::{die_with_parent, make_mounts_private};
use super::network::raise_loopback;
use super::unwatch::unwatch;
use crate::urgent::Urgent;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "cell-dump";

/// The line that the process prints once it needs only the server.
pub(crate) const READY: &str = "ready";

/// The arguments that dump and restore share. The network of a cell has nothing in it but loopback,
/// the server's connections are not the kernel's, and its files are deleted only in name.
///
/// CRIU has all rights, and the files that it finds in a cell are the server's: it takes no options
/// from there, which could name programs to execute, and no plugins.
pub(crate) const CRIU_OPTIONS: [&str; 8] = [
    "--no-default-config",
    "--libdir",
    NO_PLUGINS,
    "--network-lock",
    "skip",
    "--manage-cgroups=ignore",
    "--file-locks",
    "-v2",
];
/// A directory of the kernel's alone.
const NO_PLUGINS: &str = "/proc/sys";
/// Deleted files that are still open go into the image up to this size.
pub(crate) const GHOST_LIMIT: [&str; 2] = ["--ghost-limit", "1073741824"];
/// In a new cell, CRIU itself must not get a number that it is to restore: those up to this one are
/// left to the image.
pub(crate) const NUMBERS_LEFT: &str = "30000";
/// The directories of the cell that are in memory, without the slash: they are part of the image.
pub(crate) const IN_MEMORY: [&str; 2] = ["run", "dev/shm"];
/// The last process number that a cell has given, below its /proc/.
const LAST_PID: &str = "sys/kernel/ns_last_pid";

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

/// Carries out the order on the first line of the standard input, once that has ended. Prints
/// [`READY`] before, and the result, or the reason why there is none, as JSON.
pub(crate) fn run() -> ! {
    let outcome = match carry_out() {
        Ok(status) => std::process::exit(status),
        Err(why) => Err(why),
    };
    say(&outcome);
    std::process::exit(1)
}

fn say(outcome: &Result<Dumped, String>) {
    println!("{}", serde_json::to_string(outcome).expect("plain data"));
}

/// Returns the exit status of the process that has printed the result.
fn carry_out() -> Result<i32, String> {
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
    let spaces = spaces.map_err(|error| format!("process {server}: {error}"))?;
    let tool = format!("/proc/self/fd/{}", criu.as_raw_fd());
    let features = alone().map_or_else(|_| Features::unknown(), |()| Features::try_out(&tool));
    println!("{READY}");
    // The end of the input says that the server is held.
    io::stdin().read_to_string(&mut text).map_err(|error| format!("no sign: {error}"))?;
    let _urgent = Urgent::begin();
    unwatch(server)?;
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK;
    move_into_thread_name_spaces(spaces.as_fd(), all)
        .map_err(|error| format!("the server's cell cannot be entered: {error}"))?;
    // Only a child is in the cell's space of process numbers.
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            let outcome = dump(image.as_raw_fd(), &tool, number, &features);
            say(&outcome);
            std::process::exit(i32::from(outcome.is_err()))
        }
        child => Ok(status_of(child)),
    }
}

/// Leaves the host's mounts and network, so that CRIU can try the kernel's features out.
fn alone() -> Result<(), String> {
    // SAFETY: unshare touches no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error().to_string());
    }
    make_mounts_private()?;
    raise_loopback()
}

/// Dumps the server from within its cell.
fn dump(image: RawFd, criu: &str, server: i32, features: &Features) -> Result<Dumped, String> {
    die_with_parent()?;
    let numbers = LastNumber::open()?;
    let last = numbers.get()?;
    // This process itself has had that number.
    let last = last - 1;
    let images = format!("/proc/self/fd/{image}");
    let outcome = features.lend(|| write_image(&images, criu, server));
    numbers.set(&last.to_string())?;
    outcome.map(|()| Dumped { server, last })
}

fn write_image(images: &str, criu: &str, server: i32) -> Result<(), String> {
    let mut command = Command::new(criu);
    command.args(["dump", "-t", &server.to_string(), "-D", images, "-o", "dump.log"]);
    // No variable of the daemon's names a file of options in the cell.
    command.env_clear().arg("--leave-running").args(GHOST_LIMIT).args(CRIU_OPTIONS);
    // SAFETY: between fork and exec only a call that is safe there is made.
    unsafe { command.pre_exec(|| die_with_parent().map_err(io::Error::other)) };
    output_of(&mut command).map(drop).map_err(|why| {
        let log = fs::read(Path::new(images).join("dump.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let first = first_error(&log).unwrap_or_default();
        format!("criu dump: {why} {first}")
    })
}

/// Waits for the end of a child, and returns its exit status.
fn status_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the kernel writes to a live integer.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 }
}

/// The number that a cell has given to a process last. Its /proc is read-only, so this is a file of
/// a /proc for the cell's processes that is mounted nowhere.
pub(super) struct LastNumber(File);

impl LastNumber {
    /// Opens the number of the calling process's space of process numbers.
    ///
    /// # Errors
    /// Returns what the system refused.
    pub(super) fn open() -> Result<Self, String> {
        let mounted = || {
            let made = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(made.as_fd())?;
            let (flags, none) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
            let proc = fsmount(made.as_fd(), flags, none)?;
            rustix::fs::openat(&proc, LAST_PID, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        };
        mounted().map(|file| Self(file.into())).map_err(|error| format!("{LAST_PID}: {error}"))
    }

    /// Returns the number.
    ///
    /// # Errors
    /// Returns what the system refused.
    pub(super) fn get(&self) -> Result<u32, String> {
        let mut space = [0; 32];
        let length = self.0.read_at(&mut space, 0).map_err(failed_number)?;
        let text = String::from_utf8_lossy(&space[..length]);
        text.trim().parse().map_err(|_| format!("{LAST_PID} holds {text:?}"))
    }

    /// Sets the number.
    ///
    /// # Errors
    /// Returns what the system refused.
    pub(super) fn set(&self, number: &str) -> Result<(), String> {
        self.0.write_all_at(number.as_bytes(), 0).map_err(failed_number)
    }
}

fn failed_number(error: io::Error) -> String {
    format!("{LAST_PID}: {error}")
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
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let last = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    last.ok_or_else(|| format!("{path} names no process"))
}
