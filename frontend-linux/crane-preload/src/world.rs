//! All state of the server's run, in one place, owned by whoever holds the turn.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crane_core::wire::{Schedule, ServiceAddresses};
use crane_shm::{RingReader, ServerSide};
use rand_chacha::ChaCha20Rng;

use crate::descriptors::Descriptors;
use crate::execution::{CONNECTIONS, LISTENERS, ProgramExecution, THREADS};
use crate::inbox::Inbox;
use crate::kept::{KeptGenesis, OwnVariables, Variable};
use crate::output::Output;
use crate::timers::Timers;
use crate::watch::Watches;

/// The state of a run.
pub(crate) struct World {
    /// The state machine.
    pub run: ProgramExecution,
    /// Bytes that were admitted and not read.
    pub inbox: Inbox,
    /// The descriptions behind descriptors.
    pub descriptors: Descriptors,
    /// By connection: its description, plus 1.
    pub of_conn: [u16; CONNECTIONS],
    /// By listener: its description, plus 1.
    pub of_listener: [u16; LISTENERS],
    /// The questions to the kernel.
    pub outside: Outside,
    /// The program's timers.
    pub timers: Timers,
    /// Interests in readiness.
    pub watches: Watches,
    /// The way to the daemon.
    pub output: Output,
    /// The script.
    pub script: RingReader,
    /// The daemon's and our numbers.
    pub region: ServerSide,
    /// Random bytes from the agreed seed.
    pub random: ChaCha20Rng,
    /// Agreed time at the program's start, nanoseconds.
    pub start: u64,
    /// The kernel's number of a thread that has passed the turn and is about to end; 0: none.
    pub leaving: i32,
    /// The threads, by number.
    pub threads: [PreloadThread; THREADS],
    /// Signals that threads may wait for by sigwait(3): those of all that ever did.
    pub awaited: u64,
    /// The next port for a socket that binds to none.
    pub next_port: u16,
    /// Addresses that the server may bind although not every host has them.
    pub service: ServiceAddresses,
    /// Space for a file's bytes on their way to a connection.
    pub copy: [u8; 64 * 1024],
    /// The programs that this one has taken the place of.
    pub predecessors: u32,
    /// The genesis entry, for a program that takes this one's place.
    pub genesis: KeptGenesis,
    /// The daemon's variables, for the same.
    pub own: OwnVariables,
    /// `LD_PRELOAD` with this library and others, while a program is about to take this one's
    /// place.
    pub joined: Option<Variable>,
    /// A child process may share memory with this one.
    pub forked: bool,
    /// Kinds of uncovered calls that the daemon knows of.
    pub noted: [&'static str; 64],
}

/// The state of the questions to the kernel (see `outside`).
pub(crate) struct Outside {
    /// A call has used something that only the kernel knows, since it was asked last.
    pub touched: bool,
    /// Entries admitted since it was asked last.
    pub admissions: u32,
}

impl Outside {
    /// Nothing.
    pub(crate) const NONE: Self = Self { touched: false, admissions: 0 };
}

/// The child that a thread waits for, as waitid(2) names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    /// The kind of `id`.
    pub kind: libc::idtype_t,
    /// A process, a group, a descriptor, or nothing.
    pub id: libc::id_t,
    /// The changes that are waited for.
    pub options: i32,
}

/// The library's record of one thread.
#[derive(Clone, Copy)]
pub(crate) struct PreloadThread {
    /// The kernel's number of it.
    pub tid: u32,
    /// libc's name for it; 0: none.
    pub handle: libc::pthread_t,
    /// No thread will join it.
    pub detached: bool,
    /// It has ended; its number waits to be joined.
    pub ended: bool,
    /// It was cancelled, and ends at its next cancellation point.
    pub cancelled: bool,
    /// It waits, and being cancelled would end that.
    pub interruptible: bool,
    /// It was cancelled while it waited.
    pub interrupted: bool,
    /// The bits that it waits for at a futex.
    pub futex_bits: u32,
    /// The signals that it waits for (sigwait).
    pub awaited: u64,
    /// A signal ended its wait.
    pub signalled: bool,
    /// The child process that it waits for.
    pub child: Option<Child>,
    /// The function that it runs.
    pub routine: Option<extern "C" fn(*mut libc::c_void) -> *mut libc::c_void>,
    /// That function's argument.
    pub argument: *mut libc::c_void,
    /// The signals that its creator blocked.
    pub mask: u64,
}

/// No thread.
pub(crate) const NO_THREAD: PreloadThread = PreloadThread {
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
    child: None,
    routine: None,
    argument: std::ptr::null_mut(),
    mask: 0,
};

static WORLD: AtomicPtr<World> = AtomicPtr::new(std::ptr::null_mut());

static REGION: OnceLock<ServerSide> = OnceLock::new();

/// One word per thread: 1 hands it the turn.
#[repr(align(64))]
pub(crate) struct Word(pub AtomicU32);

/// The threads' words.
pub(crate) static WORDS: [Word; THREADS] = [const { Word(AtomicU32::new(0)) }; THREADS];

/// The process that takes part; a child after fork does not.
pub(crate) static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Threads run one at a time.
pub(crate) static SERIAL: AtomicBool = AtomicBool::new(true);

/// The server's fsync family reaches the disk.
pub(crate) static KEEP_FSYNC: AtomicBool = AtomicBool::new(true);

/// Puts the state in place, once, before the program's first instruction.
pub(crate) fn establish(world: &'static mut World, schedule: Schedule) {
    SERIAL.store(schedule == Schedule::Serial, Ordering::SeqCst);
    KEEP_FSYNC.store(world.region.keep_fsync(), Ordering::SeqCst);
    PROCESS.store(crane_shm::sys::pid(), Ordering::SeqCst);
    WORLD.store(world, Ordering::SeqCst);
}

/// Puts the region in place, once, before the rest of the state: what keeps that from being made is
/// reported by it.
pub(crate) fn set_region(region: ServerSide) {
    assert!(REGION.set(region).is_ok(), "one process takes part once");
}

/// The daemon's and our numbers, once they are mapped.
pub(crate) fn region() -> Option<ServerSide> {
    REGION.get().copied()
}

/// The state.
///
/// # Safety
/// The caller holds the turn, and lets the reference end before it gives the turn away.
pub(crate) unsafe fn world() -> &'static mut World {
    let world = WORLD.load(Ordering::Relaxed);
    assert!(!world.is_null());
    // SAFETY: never freed; exclusive because the turn is (the caller's duty).
    unsafe { &mut *world }
}
