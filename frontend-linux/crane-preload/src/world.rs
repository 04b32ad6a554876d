//! All state of the server's run, in one place, owned by whoever holds the turn.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crane_core::wire::Schedule;
use crane_shm::{RingReader, ServerSide};
use rand_chacha::ChaCha20Rng;

use crate::descriptors::Descriptors;
use crate::execution::{CONNECTIONS, LISTENERS, ProgramExecution, THREADS};
use crate::inbox::Inbox;
use crate::output::Output;
use crate::watch::Watches;

/// Everything.
pub(crate) struct World {
    /// The state machine.
    pub run: ProgramExecution,
    /// Bytes that were admitted and not read.
    pub inbox: Inbox,
    /// What stands behind descriptors.
    pub descriptors: Descriptors,
    /// Which description stands for a connection, plus 1.
    pub of_conn: [u16; CONNECTIONS],
    /// Which description stands for a listener, plus 1.
    pub of_listener: [u16; LISTENERS],
    /// Who watches what.
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
    /// Which threads exist.
    pub threads: [PreloadThread; THREADS],
    /// The next port for a socket that binds to none.
    pub next_port: u16,
    /// Where files are copied through on their way to a connection.
    pub copy: [u8; 64 * 1024],
    /// Kinds of uncovered calls that were told already.
    pub told: [&'static str; 16],
}

/// What is kept of one thread.
#[derive(Clone, Copy)]
pub(crate) struct PreloadThread {
    /// libc's name for it; 0: none.
    pub handle: libc::pthread_t,
    /// Nobody will join it.
    pub detached: bool,
    /// It has ended; its number waits to be joined.
    pub ended: bool,
    /// It was cancelled, and ends at its next cancellation point.
    pub cancelled: bool,
    /// It waits, and being cancelled would end that.
    pub interruptible: bool,
    /// That has happened.
    pub interrupted: bool,
    /// What it runs.
    pub routine: Option<extern "C" fn(*mut libc::c_void) -> *mut libc::c_void>,
    /// And with what.
    pub argument: *mut libc::c_void,
    /// The signals that its creator blocked.
    pub mask: u64,
}

/// No thread.
pub(crate) const NO_THREAD: PreloadThread = PreloadThread {
    handle: 0,
    detached: false,
    ended: false,
    cancelled: false,
    interruptible: false,
    interrupted: false,
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
