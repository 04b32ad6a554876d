//! The memory that all processes of the program share: everything that the schedule consists of.
//!
//! It is one anonymous file (memfd_create(2)), mapped at the same address everywhere, so that
//! pointers within it lead to the same things in each process. A child inherits the mapping; a
//! program that takes another's place maps it again, by a descriptor that the library keeps. The
//! system gives its pages when they are touched: a program with few connections pays for few,
//! neither at its start nor later.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crane_core::execution::turn::ThreadId;
use crane_core::limits::RECEIVE_WINDOW;
use crane_shm::SERVICE_PLACE;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::capacities::{CONNECTIONS, PROCESSES, THREADS};
use crate::descriptors::Descriptors;
use crate::execution::Connections;
use crate::inbox::RingUse;
use crate::memory::SharedObjects;
use crate::net::KeptSites;
use crate::numbers::Numbers;
use crate::signals::PostedSignals;
use crate::watch::Watches;
use crate::world::World;

/// The large tables. Before the program starts, they are empty, and all their bytes are 0.
pub(crate) struct LargeTables {
    /// The connections.
    pub connections: Connections,
    /// The descriptions behind descriptors.
    pub descriptors: Descriptors,
    /// Interests in readiness.
    pub watches: Watches,
    /// By connection: its description, plus 1.
    pub of_conn: [u32; CONNECTIONS],
    /// By connection: the use of its ring.
    pub rings: [RingUse; CONNECTIONS],
}

/// A word of a thread.
#[repr(align(64))]
struct Word(AtomicU32);

/// The number of ended processes that are remembered: more than die at once.
const ENDED: usize = 256;

/// The memory.
#[repr(C)]
struct Service {
    world: MaybeUninit<World>,
    words: [Word; THREADS],
    posted: PostedSignals,
    end: AtomicU32,
    objects: SharedObjects,
    /// By process: whether it does not want to hear of its children's ends (`SIG_IGN` or
    /// `SA_NOCLDWAIT` for `SIGCHLD`), so that nobody waits for them, or of their stops
    /// (`SA_NOCLDSTOP`); see `stops`.
    forgets: [AtomicU32; PROCESSES],
    /// The hold point: the number of times that processes were told to stop or to go on, and of
    /// those that have done so.
    holds: AtomicU32,
    held: AtomicU32,
    sites: KeptSites,
    /// The kernel's numbers of the processes that have ended last, in a ring, and how many have
    /// ended in all.
    ended: [AtomicU32; ENDED],
    ends: AtomicU32,
    tables: LargeTables,
    numbers: [Numbers; PROCESSES],
    inbox: Rings,
}

/// The address space that the memory takes. Little of it is used.
pub(crate) const BYTES: usize = size_of::<Service>();

/// The bytes of the connections, in whole pages.
#[repr(align(4096))]
struct Rings([[u8; RECEIVE_WINDOW]; CONNECTIONS]);

fn place() -> *mut Service {
    ptr::with_exposed_provenance_mut(SERVICE_PLACE)
}

/// Makes the memory, and maps it. Returns its descriptor.
///
/// # Errors
/// Returns the kernel's error number: the place is not free, or there is no address space.
pub(crate) fn make() -> Result<OwnedFd, i32> {
    let make = || {
        let memory = memfd_create(c"crane-service", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, BYTES as u64)?;
        Ok(memory)
    };
    let memory = make().map_err(Errno::raw_os_error)?;
    map(memory.as_fd())?;
    Ok(memory)
}

/// Maps the memory that another program of this process has made.
///
/// # Errors
/// As [`make`].
pub(crate) fn map(memory: BorrowedFd<'_>) -> Result<(), i32> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    let flags = flags | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: a new mapping, which the kernel refuses where there is another one.
    let start = unsafe { mmap(place().cast(), BYTES, protection, flags, memory, 0) };
    let start = start.map_err(Errno::raw_os_error)?;
    // Before Linux 4.17 the kernel takes the address for a wish.
    if start.addr() == SERVICE_PLACE { Ok(()) } else { Err(libc::EEXIST) }
}

/// Returns the place of the world, which is mapped.
pub(crate) fn world() -> *mut World {
    // SAFETY: a place in the mapping; nothing is read.
    unsafe { (&raw mut (*place()).world).cast() }
}

/// The value of a thread's word that passes the turn to it.
pub(crate) const TURN: u32 = 1;
/// The value that stops its process at the hold point.
pub(crate) const HOLD: u32 = 2;

/// Returns the word of a thread: 0, [`TURN`] or [`HOLD`].
#[inline]
pub(crate) fn word(thread: ThreadId) -> &'static AtomicU32 {
    // SAFETY: mapped before any thread takes part, to the end of the process; the words are atomic.
    let words = unsafe { &(*place()).words };
    &words[usize::from(thread.0)].0
}

/// Returns the word at which the first process waits for the end of the others: 0, [`HOLD`], or a
/// larger value when all processes of the program have ended.
pub(crate) fn end() -> &'static AtomicU32 {
    // SAFETY: as above.
    unsafe { &(*place()).end }
}

/// Returns the number of times that processes were told to stop at the hold point, or to go on.
pub(crate) fn holds() -> &'static AtomicU32 {
    // SAFETY: as above.
    unsafe { &(*place()).holds }
}

/// Returns the number of processes that have done so since they were told.
pub(crate) fn held() -> &'static AtomicU32 {
    // SAFETY: as above.
    unsafe { &(*place()).held }
}

/// Returns the word of a process that says what it does not want to hear of its children.
pub(crate) fn forgets(process: usize) -> &'static AtomicU32 {
    // SAFETY: as above.
    let words = unsafe { &(*place()).forgets };
    &words[process]
}

/// Returns the signals that wait for their threads' turns.
pub(crate) fn posted() -> &'static PostedSignals {
    // SAFETY: as above; zeros are a table without signals.
    unsafe { &(*place()).posted }
}

/// Returns the objects that processes share.
pub(crate) fn objects() -> &'static SharedObjects {
    // SAFETY: as above; zeros are no objects.
    unsafe { &(*place()).objects }
}

/// Returns the numbers of a process.
pub(crate) fn numbers(process: usize) -> &'static Numbers {
    // SAFETY: as above.
    let numbers = unsafe { &(*place()).numbers };
    &numbers[process]
}

/// Returns the beginning of the rings.
pub(crate) fn rings() -> *mut u8 {
    // SAFETY: a place in the mapping; nothing is read.
    unsafe { (&raw mut (*place()).inbox.0).cast() }
}

/// Remembers the kernel's number of a process that has ended in the turn. The holder of the turn
/// does so.
pub(crate) fn note_end(number: u32) {
    // SAFETY: as above.
    let (ended, ends) = unsafe { (&(*place()).ended, &(*place()).ends) };
    let count = ends.fetch_add(1, Ordering::Relaxed);
    ended[count as usize % ENDED].store(number, Ordering::Relaxed);
}

/// Returns the numbers of the processes that have ended last.
pub(crate) fn last_ended() -> impl Iterator<Item = u32> {
    // SAFETY: as above.
    let ended = unsafe { &(*place()).ended };
    ended.iter().map(|number| number.load(Ordering::Relaxed)).filter(|number| *number != 0)
}

/// Returns the places in libc that programs have found.
pub(crate) fn sites() -> &'static KeptSites {
    // SAFETY: as above; zeros are none.
    unsafe { &(*place()).sites }
}

/// Takes the tables of memory that was just made.
///
/// # Safety
/// Call it once.
pub(crate) unsafe fn tables() -> &'static mut LargeTables {
    // SAFETY: mapped to the end of the process. Zeros are empty tables: so the compiler has them,
    // too (see the test). The caller vouches for the only reference.
    unsafe { &mut (*place()).tables }
}
