//! The cell: the namespaces and files that one run of the server sees.
//!
//! Started as a process of its own (`crane-linux cell`, not meant for people), because a daemon
//! with threads cannot fork safely, and because unsharing must not touch the daemon:
//!
//! ```text
//! daemon ── launcher (unshares, waits) ── init (pid 1: mounts, reaps) ── server (pid 2)
//! ```
//!
//! Each dies with its parent. The launcher gets a [`Spec`] on its standard input and reports lines
//! on descriptor 3, see [`Report`]. Descriptors 4 and 5 are for the server: the memory that it
//! shares with the daemon, and the pipe by which it wakes the daemon.
//!
//! | file | thought |
//! |---|---|
//! | `upper` | a fresh layer for the server's changes |
//! | `mounts` | the file system that the server sees |
//! | `copy` | the file system of a server whose daemon is not root |
//! | `masks` | what is not the server's in it: switches of the kernel, secrets of the host |
//! | `network` | the loopback device that the server sees |
//! | `limits` | the resource limits that the server sees |
//! | `closed` | what the server may not do, and the capabilities that it keeps |
//! | `launch` | the launcher and init |
//! | `features`, `unwatch` | CRIU's cache; the end of a watch |
//! | `dump`, `restore` | an image of the server's processes, and a server made from one |
//! | `criu_log` | the reason in CRIU's log |

mod closed;
mod copy;
pub(crate) mod criu_log;
pub(crate) mod dump;
mod features;
pub(crate) mod launch;
mod limits;
mod masks;
mod mounts;
pub(crate) mod network;
pub(crate) mod restore;
pub(crate) mod unwatch;
pub(crate) mod upper;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::pipe::PipeFlags;
use rustix::process::setpriority_process;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use restore::RestoreOrder;

use crate::checkpoint::store::Checkpoint;
use crate::server_user::ServerUser;
use crate::urgent::nice;

/// The host name in every cell.
pub(crate) const HOST_NAME: &str = "crane";
/// The daemon's directory, as the cell sees it.
pub(crate) const RUN_IN_CELL: &str = "/run/crane";
/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "cell";

const REPORT_DESCRIPTOR: i32 = 3;
const REGION_DESCRIPTOR: i32 = 4;
const WAKE_DESCRIPTOR: i32 = 5;

/// The description that a cell is made from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// This replica's data directory; `upper`, `work`, `root` and `run` lie in it.
    pub(crate) data: PathBuf,
    /// The directory around it, and the files of this command's own output: the server must not
    /// see them.
    pub(crate) hidden: Vec<PathBuf>,
    /// The directory in which the server starts, inside and outside.
    pub(crate) directory: PathBuf,
    /// The program's file.
    pub(crate) program: PathBuf,
    /// The program's name as it was called, and its arguments.
    pub(crate) arguments: Vec<String>,
    /// The program's whole environment, but for the variables of the preload library.
    pub(crate) environment: Vec<(String, String)>,
    /// Addresses of the cell's loopback device, beside its own.
    pub(crate) service: Vec<IpAddr>,
    /// How many files the program may have open.
    pub(crate) open_files: u32,
    /// The size of its /dev/shm, in MiB.
    pub(crate) shared_memory: u32,
    /// The user that the program starts as; none: the daemon's.
    pub(crate) user: Option<ServerUser>,
    /// Whether the program starts on the files that the run before has left.
    pub(crate) keeps_files: bool,
    /// The checkpoint on whose files the program starts.
    pub(crate) files: Option<Checkpoint>,
    /// The checkpoint to restore, instead of starting the program.
    pub(crate) restore: Option<RestoreOrder>,
}

/// A line that the launcher reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// The server will run in namespaces, on an overlay of the host's files.
    Overlay,
    /// Namespaces are not permitted, for this reason: it will run on a copy of its directory.
    Copy(String),
    /// The program has been started.
    Started,
    /// The cell could not be made, or the program not be started.
    Failed(String),
    /// The program has ended by itself.
    Exited(i32),
    /// The program was ended by a signal.
    Killed(i32),
}

impl Report {
    fn line(&self) -> String {
        match self {
            Self::Overlay => "overlay\n".to_string(),
            Self::Copy(why) => format!("copy {}\n", why.replace('\n', " ")),
            Self::Started => "started\n".to_string(),
            Self::Failed(why) => format!("failed {}\n", why.replace('\n', " ")),
            Self::Exited(status) => format!("exited {status}\n"),
            Self::Killed(signal) => format!("killed {signal}\n"),
        }
    }

    /// Reads a line. Returns `None` for a line that no launcher reports.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or_else(|| (line.trim_end(), ""));
        Some(match word {
            "overlay" => Self::Overlay,
            "copy" => Self::Copy(rest.to_string()),
            "started" => Self::Started,
            "failed" => Self::Failed(rest.to_string()),
            "exited" => Self::Exited(rest.parse().ok()?),
            "killed" => Self::Killed(rest.parse().ok()?),
            _ => return None,
        })
    }
}

/// A cell that has been started. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The launcher.
    pub(crate) child: Child,
    /// The launcher's reports, line by line.
    pub(crate) reports: pipe::Receiver,
    /// The server's standard output.
    pub(crate) stdout: ChildStdout,
    /// The server's standard error output.
    pub(crate) stderr: ChildStderr,
}

/// The descriptors by which the server reaches the daemon.
#[derive(Debug)]
pub(crate) struct ServerDescriptors {
    /// The memory that both share.
    pub(crate) region: OwnedFd,
    /// The pipe by which the server wakes the daemon.
    pub(crate) wake: OwnedFd,
}

/// Starts a cell. The upper layer is made anew in it.
///
/// # Errors
/// Returns what the system refused.
pub(crate) async fn start(spec: &Spec, server: &ServerDescriptors) -> io::Result<Cell> {
    let (reading, writing) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let given = [
        (above(&writing)?, REPORT_DESCRIPTOR),
        (above(&server.region)?, REGION_DESCRIPTOR),
        (above(&server.wake)?, WAKE_DESCRIPTOR),
    ];
    drop(writing);
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("crane-linux")
        .arg(SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let numbers = given.each_ref().map(|(from, to)| (from.as_raw_fd(), *to));
    // This thread's precedence ends in the child, and its nice value with it.
    let nice = nice();
    // SAFETY: between fork and exec only async-signal-safe calls are made. If a descriptor has the
    // wanted number already, dup2 would leave its close-on-exec mark, which higher numbers exclude.
    // A session of its own keeps the signals of the daemon's terminal out of the cell: the daemon
    // hears them, and ends the cell.
    unsafe {
        command.pre_exec(move || {
            let give = |(from, to)| libc::dup2(from, to) != -1;
            // A daemon of no privilege may have had a lower one than it can give.
            let _ = setpriority_process(None, nice);
            match libc::setsid() != -1 && numbers.into_iter().all(give) {
                true => Ok(()),
                false => Err(io::Error::last_os_error()),
            }
        });
    }
    let mut child = command.spawn()?;
    drop(given);
    let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(&text).await?;
    drop(stdin);
    Ok(Cell {
        stdout: child.stdout.take().expect("it was piped"),
        stderr: child.stderr.take().expect("it was piped"),
        reports: pipe::Receiver::from_owned_fd(reading)?,
        child,
    })
}

/// Returns the server's pid on this host, once it has been started.
pub(crate) fn server_process(launcher: u32) -> Option<u32> {
    children_of(*children_of(launcher).first()?).first().copied()
}

/// Returns the root of the file system that a cell's init sees, and its server begins with.
pub(crate) fn root_of(launcher: u32) -> Option<PathBuf> {
    children_of(launcher).first().map(|init| PathBuf::from(format!("/proc/{init}/root")))
}

/// Returns the processes of a cell that the server has left to its init: they are in no image of
/// the server.
pub(crate) fn orphans(launcher: u32) -> Vec<u32> {
    let init = children_of(launcher).first().copied();
    init.map_or_else(Vec::new, |init| children_of(init).into_iter().skip(1).collect())
}

fn children_of(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Returns the directory that hides `data` from the server: the outermost directory of crane's own
/// around it.
pub(crate) fn hidden_directory(data: &Path) -> PathBuf {
    let ours = data.ancestors().filter(|path| crate::base::is_ours(path)).last();
    ours.unwrap_or(data).to_path_buf()
}

/// Copies a descriptor to a number above those that the launcher expects.
fn above(descriptor: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, WAKE_DESCRIPTOR + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_they_were_said() {
        for report in [
            Report::Overlay,
            Report::Copy("no permission".into()),
            Report::Started,
            Report::Failed("a b".into()),
            Report::Exited(3),
            Report::Killed(9),
        ] {
            assert_eq!(Report::parse(&report.line()), Some(report));
        }
        assert_eq!(Report::parse("exited x"), None);
        assert_eq!(Report::parse(""), None);
    }

    #[test]
    fn the_outermost_own_directory_is_hidden() {
        let hidden = hidden_directory(Path::new("/srv/.crane/civetweb/1"));
        assert_eq!(hidden, Path::new("/srv/.crane"));
        assert_eq!(hidden_directory(Path::new("/nowhere/at/all")), Path::new("/nowhere/at/all"));
    }
}
