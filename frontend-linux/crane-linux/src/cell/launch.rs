//! The launcher and the cell's init: single-threaded processes that fork before anything else runs
//! in them.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::system::sethostname;

use super::copy::{self, VisibleProcesses};
use super::network::{self, Network};
use super::restore::{COPY, RestoreOrder, put_files};
use super::{
    HOST_NAME, REGION_DESCRIPTOR, REPORT_DESCRIPTOR, RUN_IN_CELL, Report, Spec, WAKE_DESCRIPTOR,
    closed, limits, mounts, upper,
};
use crate::base::elf;
use crate::server_user::ServerUser;

const MODE_MASK: libc::mode_t = 0o022;
/// The namespaces of a cell.
pub(crate) const SPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET;

/// Runs the launcher: to the end of the server. Its standard input holds the [`Spec`].
pub(crate) fn run() -> ! {
    // SAFETY: the daemon has opened this descriptor for us.
    let mut reports = unsafe { File::from_raw_fd(REPORT_DESCRIPTOR) };
    // SAFETY: fcntl touches no memory; an exec of the program closes the descriptor.
    unsafe { libc::fcntl(REPORT_DESCRIPTOR, libc::F_SETFD, libc::FD_CLOEXEC) };
    let outcome = read_spec().and_then(|spec| launch(&spec, &mut reports));
    if let Err(why) = outcome {
        say(&mut reports, &Report::Failed(why));
    }
    std::process::exit(1);
}

fn say(reports: &mut File, report: &Report) {
    // A failed write means that the daemon has ended, and the cell ends with it.
    let _ = reports.write_all(report.line().as_bytes());
}

fn read_spec() -> Result<Spec, String> {
    die_with_parent()?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| format!("no spec: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("no spec: {error}"))
}

fn launch(spec: &Spec, reports: &mut File) -> Result<(), String> {
    let checkpoint = spec.restore.as_ref().map(|order| &order.from).or(spec.files.as_ref());
    let keeps_files = spec.keeps_files || checkpoint.is_some();
    if !spec.keeps_files {
        upper::remove(&spec.data.join(COPY))?;
    }
    if let Some(checkpoint) = checkpoint {
        // The first process that is started behind unshare is the cell's init, and copying takes
        // one.
        upper::make(&spec.data)?;
        put_files(checkpoint, &spec.data)?;
    }
    // SAFETY: unshare touches no memory.
    let permitted = unsafe { libc::unshare(SPACES) } == 0;
    let refusal = io::Error::last_os_error();
    let mut network = Network::OwnWithAll;
    let directory;
    if permitted {
        match keeps_files {
            true => upper::make_around_files(&spec.data)?,
            false => upper::make(&spec.data)?,
        }
        say(reports, &Report::Overlay);
        directory = spec.directory.clone();
    } else if spec.restore.is_some() || spec.user.is_some() {
        // A copy of the working directory would be the daemon's.
        return Err(format!(
            "namespaces are not permitted here, which a checkpoint and --user need: {refusal}"
        ));
    } else {
        directory = spec.data.join(COPY);
        if !keeps_files {
            upper::remove(&spec.data.join("mounts"))?;
            upper::copy_tree(&spec.directory, &directory, &spec.hidden)?;
        }
        network = network::leave_host_unprivileged(copy::is_possible().then_some(SPACES));
        // A change of credentials may have taken the wish back (prctl(2), PR_SET_PDEATHSIG).
        die_with_parent()?;
        let shared = match network {
            Network::OwnWithAll => "",
            Network::Own => "; the server also shares this host's processes and files",
            Network::Host => "; the server also shares this host's network, processes and files",
        };
        say(reports, &Report::Copy(format!("{refusal}{shared}")));
    }
    if network != Network::Host {
        network::raise_loopback()?;
        network::add_addresses(&spec.service)?;
    }
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            let walls = match (permitted, network) {
                (true, _) => Walls::Overlay,
                (false, Network::OwnWithAll) => Walls::Copy,
                (false, _) => Walls::None,
            };
            let outcome = init(spec, walls, directory, reports);
            if let Err(why) = outcome {
                say(reports, &Report::Failed(why));
            }
            exit_now(1)
        }
        init => {
            wait_for(init);
            std::process::exit(0)
        }
    }
}

/// The way in which a server is kept from the host's processes and files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walls {
    /// In namespaces, on an overlay.
    Overlay,
    /// In those of an ordinary user, on a copy of its directory.
    Copy,
    /// Not at all, on a copy of its directory.
    None,
}

/// Runs pid 1 of the cell: starts the server as pid 2, reaps orphans, and reports the server's end.
/// The end of pid 1 ends the whole cell.
fn init(spec: &Spec, walls: Walls, directory: PathBuf, reports: &mut File) -> Result<(), String> {
    die_with_parent()?;
    // SAFETY: setsid touches no memory. It fails only for a leader of a group, which a child is
    // not.
    unsafe { libc::setsid() };
    if walls != Walls::None {
        make_mounts_private()?;
    }
    let restore = spec.restore.as_ref().map(RestoreOrder::open).transpose()?;
    // SAFETY: umask touches no memory.
    unsafe { libc::umask(MODE_MASK) };
    match walls {
        Walls::Overlay => mounts::enter(spec, |root| {
            restore.as_ref().map_or(Ok(()), |order| order.put_memory(root))
        })?,
        Walls::Copy if copy::enter(spec, &directory)? == VisibleProcesses::Hosts => {
            let why = "the server sees this host's processes: no /proc of its own is permitted";
            say(reports, &Report::Copy(why.to_string()));
        }
        Walls::Copy => {}
        Walls::None => {
            // SAFETY: prctl with this option touches no memory.
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        }
    }
    if walls != Walls::None {
        set_host_name()?;
    }
    std::env::set_current_dir(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    if let Some(user) = &spec.user {
        give_output(user)?;
    }
    let run = match walls {
        Walls::Overlay => PathBuf::from(RUN_IN_CELL),
        Walls::Copy | Walls::None => spec.data.join("run"),
    };
    let inherited = limits::set(spec.open_files, [REGION_DESCRIPTOR, WAKE_DESCRIPTOR])?;
    let image = Image::new(spec, &run, inherited)?;
    // SAFETY: personality touches no memory.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    if let Some(order) = restore {
        let server = order.carry_out()?;
        say(reports, &Report::Started);
        drop_standard_streams();
        let report = reap_until(server);
        say(reports, &report);
        exit_now(0)
    }
    say(reports, &Report::Started);
    // SAFETY: this process has one thread.
    let server = match unsafe { libc::fork() } {
        -1 => return Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            // SAFETY: setsid touches no memory. A child leads no group, so it cannot fail.
            unsafe { libc::setsid() };
            let closed = end_with_init(walls).and_then(|()| closed::close(spec.user.as_ref()));
            let error = match closed {
                Ok(()) => image.run().to_string(),
                Err(why) => why,
            };
            say(reports, &Report::Failed(format!("{}: {error}", spec.program.display())));
            exit_now(127)
        }
        server => server,
    };
    drop_standard_streams();
    let report = reap_until(server);
    say(reports, &report);
    exit_now(0)
}

/// Gives the server's standard streams to its user, who may open them again (`/dev/stderr`).
fn give_output(user: &ServerUser) -> Result<(), String> {
    let (user, group) = (Some(Uid::from_raw(user.user)), Some(Gid::from_raw(user.group)));
    rustix::fs::fchown(io::stdout(), user, group)
        .and_then(|()| rustix::fs::fchown(io::stderr(), user, group))
        .map_err(|error| format!("the server's output: {error}"))
}

/// The arguments of execve, made before the fork.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// The descriptors that the program inherits beside the standard streams, in order.
    inherited: [RawFd; 2],
}

impl Image {
    fn new(spec: &Spec, run: &Path, inherited: [RawFd; 2]) -> Result<Self, String> {
        let text = |text: String| {
            CString::new(text).map_err(|_| "an argument has a zero byte".to_string())
        };
        let library = format!("{}/preload.so", run.display());
        // The library is the program then, and starts the other one.
        let is_static = elf::is_static(&spec.program);
        let start = match is_static {
            true => format!("CRANE_PROGRAM={}", spec.program.display()),
            false => format!("LD_PRELOAD={library}"),
        };
        let program = if is_static { Path::new(&library) } else { &spec.program };
        let own = [
            start,
            format!("CRANE_REGION={}", inherited[0]),
            format!("CRANE_WAKE={}", inherited[1]),
        ];
        let given = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
        Ok(Self {
            program: upper::c_path(program)?,
            arguments: spec.arguments.iter().cloned().map(text).collect::<Result<_, _>>()?,
            environment: given.chain(own).map(text).collect::<Result<_, _>>()?,
            inherited,
        })
    }

    /// Becomes the server; returns only with an error.
    fn run(&self) -> io::Error {
        let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
            words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: all strings and both arrays live until the call; the arrays end with a null
        // pointer. Rust's runtime ignores SIGPIPE, which a program would inherit.
        unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
            libc::dup2(null, 0);
            let [first, last] = self.inherited.map(|number| number as libc::c_uint);
            libc::close_range(REPORT_DESCRIPTOR as libc::c_uint + 1, first - 1, 0);
            libc::close_range(last + 1, libc::c_uint::MAX, 0);
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        io::Error::last_os_error()
    }
}

/// Asks the kernel to end the server with its init, unless a namespace of processes does so.
fn end_with_init(walls: Walls) -> Result<(), String> {
    if walls != Walls::None {
        return Ok(());
    }
    die_with_parent()?;
    // SAFETY: getppid touches no memory.
    match unsafe { libc::getppid() } {
        1 => Err("its init has ended".to_string()),
        _ => Ok(()),
    }
}

pub(super) fn die_with_parent() -> Result<(), String> {
    // SAFETY: prctl with this option touches no memory.
    let asked = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    match asked {
        0 => Ok(()),
        _ => Err(format!("prctl: {}", io::Error::last_os_error())),
    }
}

/// Keeps changes of mounts in the calling process's mount namespace.
///
/// # Errors
/// Returns what the system refused.
pub(crate) fn make_mounts_private() -> Result<(), String> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", flags).map_err(|error| format!("mounts cannot be made private: {error}"))
}

fn set_host_name() -> Result<(), String> {
    sethostname(HOST_NAME.as_bytes()).map_err(|error| format!("sethostname: {error}"))
}

/// Closes the standard streams: the daemon reads them to their end, which must be the server's.
fn drop_standard_streams() {
    // SAFETY: closing descriptors touches no memory; nothing in this process writes to them.
    unsafe {
        libc::close(0);
        libc::close(1);
        libc::close(2);
    }
}

fn reap_until(server: libc::pid_t) -> Report {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes to a live integer.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == server {
            return if libc::WIFSIGNALED(status) {
                Report::Killed(libc::WTERMSIG(status))
            } else {
                Report::Exited(libc::WEXITSTATUS(status))
            };
        }
        if ended < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Report::Failed("the server is no longer a child of its init".to_string());
        }
    }
}

fn wait_for(process: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the kernel writes to a live integer.
    while unsafe { libc::waitpid(process, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Ends a forked process without running what its parent has registered for its own end.
fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return.
    unsafe { libc::_exit(status) }
}
