//! The program's processes: the one that the daemon has started, and those that come from it by
//! fork(2). They take part in one schedule; the table is a part of their shared memory.
//!
//! A process that ends is *ended* at its call, in the turn, and its parent hears of it at a call of
//! its own; what the kernel then does with the real process is seen by nobody.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

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

/// A process of the program, numbered from 0 in the order of creation. The numbers of processes
/// that have ended and were waited for are used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProcessId(pub u16);

impl ProcessId {
    /// The process that the daemon has started.
    pub(crate) const FIRST: Self = Self(0);
}

/// The state of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProcessState {
    /// No process has this number.
    Free,
    /// It takes part.
    Running,
    /// It has ended, and its parent has not waited for it.
    Ended,
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

/// A process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    /// Its state.
    pub state: ProcessState,
    /// The kernel's number of the process, or 0 while it is being made.
    pub number: pid_t,
    /// The process that made it, as long as that runs.
    pub parent: Option<ProcessId>,
    /// Of an ended process: its status as wait(2) returns it.
    pub status: c_int,
    /// Of an ended process: the group in which it was.
    group: pid_t,
    /// The place of its end in the order of all ends.
    order: u64,
    /// The state of the order to execute a program, if the process was made for that.
    pub spawning: Option<Spawning>,
    /// The things that its program leaves for the next, between two programs.
    pub legacy: Option<Legacy>,
    /// The process's timer of real time (setitimer(2)), once it was used.
    pub interval_timer: Option<TimerIndex>,
}

const FREE: Process = Process {
    state: ProcessState::Free,
    number: 0,
    parent: None,
    status: 0,
    group: 0,
    order: 0,
    spawning: None,
    legacy: None,
    interval_timer: None,
};

/// The state of a process as the program sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Existence {
    /// It runs.
    Runs,
    /// It has ended, and was not waited for.
    Ended,
    /// It is gone, although the kernel may still have the rest of it.
    Gone,
    /// The kernel must say.
    Unknown,
}

/// The kernel's number of the first process in a cell of its own.
const NUMBER_IN_CELL: pid_t = 2;

/// The answer to the question for a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FoundChild {
    /// It has ended.
    Ended(ProcessId),
    /// At least one runs that is meant, and none has ended.
    Running,
    /// None is meant.
    Nothing,
}

/// The processes.
pub(crate) struct ProcessTable {
    table: [Process; PROCESSES],
    /// An upper bound of every number that was ever used.
    used_below: usize,
    /// The number of ends so far.
    ends: u64,
    /// Whether the first process has ended, and stays for the daemon as long as others run.
    pub first_stays: bool,
}

impl ProcessTable {
    /// Creates a table with the first process, whose number is the kernel's.
    pub(crate) fn new(number: pid_t) -> Self {
        let mut table = [FREE; PROCESSES];
        table[0] = Process { state: ProcessState::Running, number, ..FREE };
        Self { table, used_below: 1, ends: 0, first_stays: false }
    }

    /// Makes a child of a process, or returns `None` if the table is full.
    pub(crate) fn make(&mut self, parent: ProcessId) -> Option<ProcessId> {
        let index = self.table.iter().position(|process| process.state == ProcessState::Free)?;
        let state = ProcessState::Running;
        self.table[index] = Process { state, parent: Some(parent), ..FREE };
        self.used_below = self.used_below.max(index + 1);
        Some(ProcessId(index as u16))
    }

    /// Frees the number of a process that was not made after all, or that was waited for.
    pub(crate) fn free(&mut self, process: ProcessId) {
        *self.at(process) = FREE;
    }

    /// A process.
    pub(crate) fn at(&mut self, process: ProcessId) -> &mut Process {
        &mut self.table[usize::from(process.0)]
    }

    /// Returns a process, to read it.
    pub(crate) fn get(&self, process: ProcessId) -> &Process {
        &self.table[usize::from(process.0)]
    }

    /// Returns the processes that run, by number.
    pub(crate) fn running(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        let all = self.table[..self.used_below].iter().enumerate();
        all.filter(|(_, process)| process.state == ProcessState::Running)
            .map(|(index, process)| (ProcessId(index as u16), process))
    }

    /// Finds a process that runs, by the kernel's number.
    pub(crate) fn find(&self, number: pid_t) -> Option<ProcessId> {
        self.running().find(|(_, process)| process.number == number).map(|(id, _)| id)
    }

    /// Finds a child of a process by the kernel's number.
    pub(crate) fn child_of_number(&self, parent: ProcessId, number: pid_t) -> Option<ProcessId> {
        let is_it = |process: &Process| process.parent == Some(parent) && process.number == number;
        let place = self.table[..self.used_below].iter().position(is_it)?;
        Some(ProcessId(place as u16))
    }

    /// Returns the state that the program sees of a process by the kernel's number.
    /// `has_strangers` is whether there are processes of its own that take no part.
    pub(crate) fn existence(&self, number: pid_t, has_strangers: bool) -> Existence {
        let mut known = self.table[..self.used_below].iter();
        let found =
            known.find(|it| it.state != ProcessState::Free && it.number == number && number > 0);
        // In a cell of its own, the first process is the second of all, and its children follow.
        let in_cell = self.table[0].number == NUMBER_IN_CELL;
        match found.map(|process| process.state) {
            Some(ProcessState::Running) => Existence::Runs,
            Some(_) => Existence::Ended,
            None if in_cell && !has_strangers && number >= NUMBER_IN_CELL => Existence::Gone,
            None => Existence::Unknown,
        }
    }

    /// Returns the state that the program sees of a group by the kernel's number, in which no
    /// process runs.
    pub(crate) fn existence_of_group(&self, group: pid_t, has_strangers: bool) -> Existence {
        let ended = |it: &Process| it.state == ProcessState::Ended && it.group == group;
        let in_cell = self.table[0].number == NUMBER_IN_CELL;
        match self.table[..self.used_below].iter().any(ended) {
            true => Existence::Ended,
            false if in_cell && !has_strangers => Existence::Gone,
            false => Existence::Unknown,
        }
    }

    /// Returns whether other processes than this one run.
    pub(crate) fn has_others(&self, process: ProcessId) -> bool {
        self.running().any(|(other, _)| other != process)
    }

    /// Returns whether a process has children that it has not waited for.
    pub(crate) fn has_children(&self, parent: ProcessId) -> bool {
        self.table[..self.used_below].iter().any(|process| process.parent == Some(parent))
    }

    /// Ends a process with a status. Its children have no parent any more, and those of them that
    /// have ended are forgotten. Returns its parent, which has to be told, if that runs; `forgets`
    /// says whether a process forgets its children.
    pub(crate) fn end(
        &mut self,
        process: ProcessId,
        status: c_int,
        forgets: impl FnOnce(ProcessId) -> bool,
    ) -> Option<ProcessId> {
        self.ends += 1;
        let order = self.ends;
        for child in &mut self.table[..self.used_below] {
            if child.parent == Some(process) {
                child.parent = None;
                if child.state == ProcessState::Ended {
                    *child = FREE;
                }
            }
        }
        let ended = self.at(process);
        ended.group = group_of(ended.number);
        (ended.state, ended.status, ended.order) = (ProcessState::Ended, status, order);
        let parent = ended.parent;
        if parent.is_none_or(forgets) {
            self.free(process);
        }
        parent
    }

    /// Looks for a child of a process that wait(2) means, the first that has ended before others.
    pub(crate) fn child(&self, parent: ProcessId, wanted: Child, group: pid_t) -> FoundChild {
        let children = self.table[..self.used_below].iter().enumerate().filter(|(_, process)| {
            process.parent == Some(parent) && is_meant(process, wanted, group)
        });
        let (mut found, mut first) = (FoundChild::Nothing, u64::MAX);
        for (index, process) in children {
            match process.state {
                ProcessState::Ended if process.order < first => {
                    (found, first) = (FoundChild::Ended(ProcessId(index as u16)), process.order);
                }
                ProcessState::Running if found == FoundChild::Nothing => {
                    found = FoundChild::Running
                }
                _ => {}
            }
        }
        found
    }
}

/// Returns whether a process is among those for which a thread waits, whose own group is given.
pub(crate) fn is_meant(process: &Process, wanted: Child, group: pid_t) -> bool {
    let number = process.number;
    match wanted.kind {
        libc::P_ALL => true,
        libc::P_PID => number.cast_unsigned() == wanted.id,
        libc::P_PIDFD => pid_of(wanted.id) == Some(number),
        libc::P_PGID => {
            process.group() == if wanted.id == 0 { group } else { wanted.id.cast_signed() }
        }
        _ => false,
    }
}

impl Process {
    /// Returns its group.
    fn group(&self) -> pid_t {
        if self.state == ProcessState::Ended { self.group } else { group_of(self.number) }
    }
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
