//! The program's processes: the one that the daemon has started, and those that come from it by
//! fork(2). They take part in one schedule; their table ([`ProcessTable`]) is a part of their
//! shared memory. Here is what touches the kernel.
//!
//! A process that ends is *ended* at its call, in the turn, and its parent hears of it at a call of
//! its own; what the kernel then does with the real process is seen by nobody.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crane_core::execution::processes::{Children, FoundChild, ProcessId, ProcessTable};
use crane_core::execution::turn::ThreadId;
use crane_shm::sys;
use libc::{c_int, pid_t};

use crate::capacities::PROCESSES;
use crate::descriptors::TimerIndex;
use crate::processors::SET_WORDS;

/// The child for which a thread waits, as waitid(2) names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    /// The kind of `id`.
    pub kind: libc::idtype_t,
    /// The number of a process, a group or a descriptor, or nothing.
    pub id: libc::id_t,
    /// The changes for which the thread waits.
    pub options: i32,
}

/// The state of a child that posix_spawn(3) makes, until it executes its program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spawning {
    /// It has begun.
    Begun,
    /// It cannot, for this reason.
    Failed(c_int),
}

/// The things that a program leaves for the one that takes its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Legacy {
    /// The thread that continues.
    pub thread: ThreadId,
    /// The hard limit of open files.
    pub open_files: u64,
    /// The processors that the program wishes for the thread, or none.
    pub processors: [u64; SET_WORDS],
    /// The signal of a child's end that the kernel keeps (see `signals`).
    pub owed: u64,
}

/// The library's record of one process.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PreloadProcess {
    /// The state of the order to execute a program, if the process was made for that.
    pub spawning: Option<Spawning>,
    /// The things that its program leaves for the next, between two programs.
    pub legacy: Option<Legacy>,
    /// The process's timer of real time (setitimer(2)), once it was used.
    pub interval_timer: Option<TimerIndex>,
}

/// The processes of the program.
pub(crate) type ProgramProcesses = ProcessTable<PreloadProcess, PROCESSES>;

/// The kernel's number of the first process in a cell of its own.
const NUMBER_IN_CELL: pid_t = 2;

/// Returns whether the table has all processes that the program can name: in a cell of its own, the
/// first process is the second of all, and its children follow. `has_strangers` is whether there
/// are processes of the program's that take no part.
pub(crate) fn knows_all(table: &ProgramProcesses, has_strangers: bool) -> bool {
    table.first_number() == NUMBER_IN_CELL && !has_strangers
}

/// Returns the children that a thread means, whose own group is given.
pub(crate) fn meant(wanted: Child, group: pid_t) -> Option<Children> {
    match wanted.kind {
        libc::P_ALL => Some(Children::All),
        libc::P_PID => Some(Children::Number(wanted.id.cast_signed())),
        libc::P_PIDFD => pid_of(wanted.id).map(Children::Number),
        libc::P_PGID if wanted.id == 0 => Some(Children::Group(group)),
        libc::P_PGID => Some(Children::Group(wanted.id.cast_signed())),
        _ => None,
    }
}

/// Looks for a child of a process, whose own group is given, for which a thread waits.
pub(crate) fn look_for(
    table: &ProgramProcesses,
    parent: ProcessId,
    wanted: Child,
    group: pid_t,
) -> FoundChild {
    let Some(wanted) = meant(wanted, group) else { return FoundChild::Nothing };
    table.child(parent, wanted, group_of)
}

/// Returns the group of a process that the kernel has (0: this one), or -1.
pub(crate) fn group_of(number: pid_t) -> pid_t {
    // SAFETY: getpgid touches no memory.
    unsafe { sys::syscall(libc::SYS_getpgid, [number as usize, 0, 0, 0, 0, 0]) }.max(-1) as pid_t
}

/// Returns the process that a descriptor of one stands for (pidfd_open(2)), by `/proc/self/fdinfo`.
fn pid_of(descriptor: libc::id_t) -> Option<pid_t> {
    use std::io::Write;
    let mut path = [0_u8; 48];
    // The number is short, and the rest of the array is zero.
    let _ = write!(&mut path[..], "/proc/self/fdinfo/{descriptor}");
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), flags, 0, 0, 0];
    // SAFETY: a path of ours that ends with a zero byte.
    let file = sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) }).ok()? as c_int;
    let mut text = [0; 512];
    let length = sys::read(file, &mut text).unwrap_or(0);
    let _ = sys::close(file);
    let text = str::from_utf8(&text[..length]).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// The number of this process.
static OWN: AtomicU16 = AtomicU16::new(0);

/// Returns the number of this process.
#[inline]
pub(crate) fn own() -> ProcessId {
    ProcessId(OWN.load(Ordering::Relaxed))
}

/// Records the number of this process, which begins to take part.
pub(crate) fn set_own(process: ProcessId) {
    OWN.store(process.0, Ordering::SeqCst);
}

/// Whether this process has made others, or was made by one.
static HAS_MADE: AtomicBool = AtomicBool::new(false);

/// Returns whether this process has made others that take part, or was made by one.
#[inline]
pub(crate) fn has_made() -> bool {
    HAS_MADE.load(Ordering::Relaxed)
}

/// Records that this process makes another one.
pub(crate) fn set_has_made() {
    HAS_MADE.store(true, Ordering::Relaxed);
}

/// The action when the kernel has ended a child that has not ended in the turn. It has had this
/// number, and has this status, as wait(2) returns it.
pub(crate) type OnDeath = fn(pid_t, c_int);

static ON_DEATH: OnceLock<OnDeath> = OnceLock::new();

/// Sets that action.
pub(crate) fn on_death(act: OnDeath) {
    let _ = ON_DEATH.set(act);
}

/// Hears of the end of a child from the kernel, which sends this record. Safe in a handler of the
/// library's: it runs while this process does not have the turn, or the child has ended in it.
pub(crate) fn hear_of_end(record: &libc::siginfo_t) {
    // SAFETY: the record of a child's end has both.
    let (number, status) = unsafe { (record.si_pid(), record.si_status()) };
    let status = match record.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_KILLED | libc::CLD_DUMPED => status,
        _ => return,
    };
    if let Some(act) = ON_DEATH.get() {
        act(number, status);
    }
    // The kernel's signals of several ends may be one.
    if let Some(look) = LOOK.get() {
        look();
    }
}

/// Looks for further children that the kernel has ended.
static LOOK: OnceLock<fn()> = OnceLock::new();

/// Sets how that is done.
pub(crate) fn look_by(look: fn()) {
    let _ = LOOK.set(look);
}

/// Returns the status of a child that the kernel has ended, as wait(2) returns it. The kernel keeps
/// it.
pub(crate) fn ended_status(number: pid_t) -> Option<c_int> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let place = (&raw mut info).addr();
    let arguments = [libc::P_PID as usize, number as usize, place, options as usize, 0, 0];
    // SAFETY: a place of ours.
    sys::checked(unsafe { sys::syscall(libc::SYS_waitid, arguments) }).ok()?;
    // SAFETY: the kernel has written a record, or nothing.
    let (code, status) = unsafe { (info.si_code, info.si_status()) };
    match code {
        libc::CLD_EXITED => Some((status & 0xff) << 8),
        libc::CLD_KILLED | libc::CLD_DUMPED => Some(status),
        _ => None,
    }
}

/// Has the kernel forget the children of this process that it has ended. Their statuses are in the
/// table of processes, so nobody asks the kernel for them; one that has not ended in the turn is
/// handled.
pub(crate) fn reap_all() {
    let options = (libc::__WALL | libc::WNOHANG) as usize;
    let all = -1_isize as usize;
    loop {
        let mut status: c_int = 0;
        let arguments = [all, (&raw mut status).addr(), options, 0, 0, 0];
        // SAFETY: a place of ours.
        match sys::checked(unsafe { sys::syscall(libc::SYS_wait4, arguments) }) {
            Ok(0) => return,
            Ok(number) => {
                if let Some(act) = ON_DEATH.get() {
                    act(number as pid_t, status);
                }
            }
            Err(libc::EINTR) => {}
            Err(_) => return,
        }
    }
}
