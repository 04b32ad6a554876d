//! All state of the server's run, in one place. The holder of the turn owns it.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::ThreadId;
use crane_core::wire::{Schedule, ServiceAddresses};
use crane_shm::{RingReader, ServerSide, sys};
use rand_chacha::ChaCha20Rng;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::capacities::{CONNECTIONS, LISTENERS, THREADS};
use crate::descriptors::Descriptors;
use crate::execution::ProgramExecution;
use crate::family::{Makers, Stops};
use crate::inbox::Inbox;
use crate::kept::{KeptGenesis, OwnVariables, Variable};
use crate::known_files::KnownFiles;
use crate::output::Output;
use crate::processes::{Child, ProgramProcesses};
use crate::signals;
use crate::timers::Timers;
use crate::unix::UnixSockets;
use crate::watch::Watches;

/// The state of a run.
pub(crate) struct World {
    /// The state machine of the execution.
    pub run: ProgramExecution,
    /// The bytes that were admitted and not read.
    pub inbox: Inbox,
    /// The descriptions behind descriptors.
    pub descriptors: &'static mut Descriptors,
    /// By connection: the number of its description plus 1.
    pub of_conn: &'static mut [u32; CONNECTIONS],
    /// By listener: the number of its description plus 1.
    pub of_listener: [u32; LISTENERS],
    /// The questions to the kernel.
    pub outside: Outside,
    /// The program's timers.
    pub timers: Timers,
    /// Interests in readiness.
    pub watches: &'static mut Watches,
    /// The way to the daemon.
    pub output: Output,
    /// The script.
    pub script: RingReader,
    /// The values that the daemon and this library share.
    pub region: ServerSide,
    /// The generator of random bytes from the agreed seed.
    pub random: ChaCha20Rng,
    /// Agreed time at the program's start, in nanoseconds.
    pub start: u64,
    /// The kernel's number of a thread that has passed the turn and is about to end, or 0.
    pub leaving: i32,
    /// The threads, by number.
    pub threads: [PreloadThread; THREADS],
    /// The program's processes.
    pub processes: ProgramProcesses,
    /// The threads that have made them.
    pub makers: Makers,
    /// Those of them that a signal has stopped.
    pub stops: Stops,
    /// The signals for which threads may wait by sigwait(3): those for which any thread ever has.
    pub awaited: u64,
    /// The next port for a socket that binds to none.
    pub next_port: u16,
    /// The Unix sockets that are bound to a path.
    pub unix: UnixSockets,
    /// The addresses that the server may bind although not every host has them.
    pub service: ServiceAddresses,
    /// The space for a file's bytes on their way to a connection.
    pub copy: [u8; 64 * 1024],
    /// The genesis entry, for a program that takes this one's place.
    pub genesis: KeptGenesis,
    /// The daemon's variables, for the same purpose.
    pub own: OwnVariables,
    /// `LD_PRELOAD` with this library and others, while a program is about to take this one's
    /// place.
    pub joined: Option<Variable>,
    /// Whether a child process may share memory with this one.
    pub forked: bool,
    /// The kinds of uncovered calls that the daemon knows, each by a hash of its name: programs
    /// have the names themselves at different places.
    pub noted: [u64; 64],
    /// Files that were executed.
    pub known: KnownFiles,
}

impl World {
    /// Returns the kernel's number of a process.
    pub(crate) fn number_of(&self, process: ProcessId) -> libc::pid_t {
        self.processes.get(process).number()
    }

    /// Removes the threads of a process, all but one, which has the turn.
    pub(crate) fn remove_threads(&mut self, process: ProcessId, stays: Option<ThreadId>) {
        for other in (0..THREADS as u16).map(ThreadId).filter(|other| Some(*other) != stays) {
            let thread = &mut self.threads[usize::from(other.0)];
            if thread.process == process && thread.exists() {
                *thread = NO_THREAD;
                self.run.turn.remove(other);
                signals::forget(other);
            }
        }
    }
}

/// The state of the questions to the kernel (see `outside`).
pub(crate) struct Outside {
    /// Whether a call has used an object that only the kernel knows since the last question.
    pub touched: bool,
    /// The number of entries admitted since the last question.
    pub admissions: u32,
    /// Whether the other threads have waited in vain for a child's end, and no child was made since
    /// then.
    pub in_vain: bool,
}

impl Outside {
    /// Creates the state before the first question.
    pub(crate) const NONE: Self = Self { touched: false, admissions: 0, in_vain: false };
}

/// The library's record of one thread.
#[derive(Clone, Copy)]
pub(crate) struct PreloadThread {
    /// The process to which the thread belongs.
    pub process: ProcessId,
    /// The kernel's number of the thread.
    pub tid: u32,
    /// libc's name for the thread, or 0.
    pub handle: libc::pthread_t,
    /// Whether the thread is detached, so that no thread will join it.
    pub detached: bool,
    /// Whether the thread has ended, and its number waits to be joined.
    pub ended: bool,
    /// Whether the thread was cancelled, and ends at its next cancellation point.
    pub cancelled: bool,
    /// Whether the thread is in a wait that cancellation ends.
    pub interruptible: bool,
    /// Whether the thread was cancelled while it waited.
    pub interrupted: bool,
    /// The bits for which the thread waits at a futex.
    pub futex_bits: u32,
    /// The signals for which the thread waits (sigwait).
    pub awaited: u64,
    /// Whether a signal ended the thread's wait.
    pub signalled: bool,
    /// The signal that the thread gets when its process's parent ends, or 0.
    pub at_parents_end: libc::c_int,
    /// The child process for which the thread waits.
    pub child: Option<Child>,
    /// The function that the thread runs.
    pub routine: Option<extern "C" fn(*mut libc::c_void) -> *mut libc::c_void>,
    /// The argument of that function.
    pub argument: *mut libc::c_void,
    /// The signals that the thread's creator blocked.
    pub mask: u64,
}

impl PreloadThread {
    /// Returns whether the thread exists, or has ended and waits to be joined.
    pub(crate) fn exists(&self) -> bool {
        self.handle != 0
    }

    /// Returns whether the thread runs.
    pub(crate) fn runs(&self) -> bool {
        self.exists() && !self.ended && self.tid != 0
    }
}

/// No thread.
pub(crate) const NO_THREAD: PreloadThread = PreloadThread {
    process: ProcessId::FIRST,
    tid: 0,
    handle: 0,
    detached: false,
    ended: false,
    cancelled: false,
    interruptible: false,
    interrupted: false,
    futex_bits: 0,
    awaited: 0,
    signalled: false,
    at_parents_end: 0,
    child: None,
    routine: None,
    argument: ptr::null_mut(),
    mask: 0,
};

static WORLD: AtomicPtr<World> = AtomicPtr::new(ptr::null_mut());

static REGION: OnceLock<ServerSide> = OnceLock::new();

/// The process that takes part. A child after fork takes no part.
pub(crate) static PROCESS: AtomicI32 = AtomicI32::new(0);

/// A word that says that this is the process that takes part, and how its threads run. The kernel
/// wipes its page in a child after fork.
static PARENT: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const UNKNOWN).cast_mut());

/// The word in its place if the kernel cannot do that (before Linux 4.14).
static UNKNOWN: AtomicU32 = AtomicU32::new(ANY);

/// Values of that word: the parent whose threads run one at a time, any other parent, and a process
/// whose number must be asked for.
const SERIAL_PARENT: u32 = 1;
const PARALLEL_PARENT: u32 = 2;
const ANY: u32 = 3;

/// Whether threads run one at a time.
pub(crate) static SERIAL: AtomicBool = AtomicBool::new(true);

/// Whether the server's fsync family reaches the disk.
pub(crate) static KEEP_FSYNC: AtomicBool = AtomicBool::new(true);

/// Puts the state in place, once, before the program's first instruction.
pub(crate) fn establish(world: &'static mut World, schedule: Schedule) {
    SERIAL.store(schedule == Schedule::Serial, Ordering::SeqCst);
    KEEP_FSYNC.store(world.region.keep_fsync(), Ordering::SeqCst);
    if let Some(place) = wiped_on_fork() {
        PARENT.store(place, Ordering::SeqCst);
    }
    begin_process();
    WORLD.store(world, Ordering::SeqCst);
}

/// Records that this process takes part from now on.
pub(crate) fn begin_process() {
    PROCESS.store(sys::pid(), Ordering::SeqCst);
    let serial = SERIAL.load(Ordering::Relaxed);
    let word = if serial { SERIAL_PARENT } else { PARALLEL_PARENT };
    let place = PARENT.load(Ordering::Relaxed);
    if !ptr::eq(place, &raw const UNKNOWN) {
        // SAFETY: a word that stays mapped (see `wiped_on_fork`).
        unsafe { &*place }.store(word, Ordering::SeqCst);
    }
}

/// Maps a word that is 0 in a child after fork, until that sets it.
fn wiped_on_fork() -> Option<*mut AtomicU32> {
    const PAGE: usize = 4096;
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), PAGE, protection, flags) }.ok()?;
    // SAFETY: the page was just mapped. If the kernel refuses, the page is left unused.
    unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork) }.ok()?;
    Some(page.cast())
}

/// Returns whether this is a child after fork of the process that takes part.
pub(crate) fn is_child() -> bool {
    match parent_word() {
        ANY => PROCESS.load(Ordering::Relaxed) != sys::pid(),
        word => word == 0,
    }
}

/// Returns whether this is the process that takes part, and its threads run one at a time. The
/// answer `false` is always permitted.
#[inline]
pub(crate) fn is_serial_parent() -> bool {
    parent_word() == SERIAL_PARENT
}

#[inline]
fn parent_word() -> u32 {
    // SAFETY: a static word, or one that stays mapped (see `wiped_on_fork`).
    unsafe { &*PARENT.load(Ordering::Relaxed) }.load(Ordering::Relaxed)
}

/// Puts the region in place, once, before the rest of the state, because a failure to make that
/// state is reported through the region.
pub(crate) fn set_region(region: ServerSide) {
    assert!(REGION.set(region).is_ok(), "one process takes part once");
}

/// Returns the values that the daemon and this library share, once they are mapped.
pub(crate) fn region() -> Option<ServerSide> {
    REGION.get().copied()
}

/// Returns the state.
///
/// # Safety
/// The caller holds the turn, and lets the reference end before it gives the turn away.
pub(crate) unsafe fn world() -> &'static mut World {
    let world = WORLD.load(Ordering::Relaxed);
    assert!(!world.is_null());
    // SAFETY: never freed; exclusive because the turn is (the caller's duty).
    unsafe { &mut *world }
}
