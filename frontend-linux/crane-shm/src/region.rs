//! The layout of the shared memory, and how it is mapped. Each side reads and writes its part
//! through its own type: [`DaemonSide`](crate::DaemonSide), [`ServerSide`](crate::ServerSide).
//!
//! The memory is an anonymous file (memfd_create(2)) that is sealed against shrinking and growing:
//! no process can cut it off under the other, and no full disk ends one by SIGBUS. No seal forbids
//! only holes, but a cell's filter does. A process that closes the descriptor keeps the mapping.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, ProtFlags};

use crate::bypass::Bypasses;
use crate::caught::CaughtCalls;
use crate::history::History;
use crate::parking::Bell;
use crate::ring::{Positions, RingReader, RingWriter};

/// The version of the layout, which rises with every change. Both sides must have the same version.
pub const LAYOUT_VERSION: u32 = 17;

/// The capacity of the script ring in bytes: committed entries that the server has not consumed.
pub const SCRIPT_BYTES: usize = 8 << 20;

/// The capacity of the output ring in bytes: output of the server that the daemon has not taken.
pub const OUTPUT_BYTES: usize = 8 << 20;

/// The maximum length of the last trouble's text, in bytes.
pub const TROUBLE_BYTES: usize = 512;

/// Kinds of records in the script ring.
pub mod script {
    /// `numbers[0]`: the slot behind which the script begins; `numbers[1]`: the incarnation; data:
    /// an encoded `Genesis`.
    pub const GENESIS: u32 = 1;
    /// `numbers[0]`: slot; data: an encoded `Entry`; empty: a no-op.
    pub const ENTRY: u32 = 2;
}

/// Kinds of records in the output ring. Connections are this replica's own: `numbers[0]` is the
/// connection's number, `numbers[1]` its generation.
pub mod output {
    /// The server listens: `numbers[0]` is the port, `numbers[1]` is 1 for `IPV6_V6ONLY`, and the
    /// data is the 16 bytes of the address that it bound, and the path of a Unix socket, from the
    /// root.
    pub const LISTEN: u32 = 1;
    /// The server stops listening at an address. Numbers and data are those of the record with
    /// which it began to listen there, without the path.
    pub const UNLISTEN: u32 = 2;
    /// The data is bytes for the client; `numbers[2]` is the offset of the first one among all
    /// bytes for it.
    pub const DATA: u32 = 3;
    /// The server has shut its side: after the data so far, the client reads the end of the stream.
    pub const FIN: u32 = 4;
    /// The server has closed the connection; no record about it follows.
    pub const CLOSE: u32 = 5;
    /// The connection was not accepted or was aborted: the client gets a reset.
    pub const RESET: u32 = 6;
    /// The server has read the client's bytes up to `numbers[2]`.
    pub const CONSUMED: u32 = 7;
    /// The data is a text for the daemon's events; `numbers[0]`: 0 error, 1 warning, 2 information.
    pub const NOTE: u32 = 8;
}

/// The state of the server's threads, as the daemon sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ServerState {
    /// The program's first instruction has not run yet.
    Starting = 0,
    /// A thread holds the turn.
    Running = 1,
    /// A thread is runnable, and no clock step is granted.
    Stalled = 2,
    /// No thread is runnable: only an op or a deadline can change that.
    Quiescent = 3,
    /// The program has ended, or is ending.
    Exited = 4,
}

impl ServerState {
    fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Running,
            2 => Self::Stalled,
            3 => Self::Quiescent,
            4 => Self::Exited,
            _ => Self::Starting,
        }
    }
}

/// Why the library asks the daemon to end the program. The trouble's text says more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum EndReason {
    /// The program does something that cannot be replicated.
    Unfit = 1,
    /// The disk of the program's files is full, which the program must not see.
    DiskFull = 2,
    /// The group restarts the server, which has admitted everything up to that point.
    Restarted = 3,
    /// This host has failed in a way that the program must not see, because others have not.
    HostFault = 4,
}

impl EndReason {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => None,
            2 => Some(Self::DiskFull),
            3 => Some(Self::Restarted),
            4 => Some(Self::HostFault),
            _ => Some(Self::Unfit),
        }
    }
}

/// The header at the beginning of the shared file. The data of the two rings follows.
#[repr(C)]
pub(crate) struct Region {
    magic: AtomicU64,
    version: AtomicU32,

    // Written by the daemon.
    /// This replica's number.
    pub(crate) node: AtomicU32,
    /// The first generation of this replica's connections that have not been reset.
    pub(crate) first_generation: AtomicU64,
    /// 1 if the server's fsync family reaches the disk.
    pub(crate) keep_fsync: AtomicU32,
    /// 1 if stalls and new deadlines wake the daemon, because its replica is primary.
    pub(crate) watch_state: AtomicU32,
    /// 1 if a call that bypasses the hooks ends the server.
    pub(crate) strict: AtomicU32,
    /// 1 if the hooks also answer such calls.
    pub(crate) floor: AtomicU32,
    /// The round of the net in which threads look for calls that bypass the hooks, or 0 for none.
    pub(crate) net_round: AtomicU32,
    /// The slot behind which the server stops at its hold point, or 0 for none.
    pub(crate) hold_at: AtomicU64,
    /// The number by which the daemon knows that a held server uses this very memory again.
    pub(crate) nonce: AtomicU64,
    /// The bell that rings when the script has grown.
    pub(crate) script_bell: Bell,
    /// The bell that rings when the daemon has taken output.
    pub(crate) output_bell: Bell,

    // Written by both.
    /// 1 if the daemon was woken and has not looked since.
    pub(crate) wake_pending: AtomicU32,
    /// The [`ServerState`]. The daemon writes the last state of a process that is gone.
    state: AtomicU32,
    script: Positions,
    output: Positions,

    // Written by the server.
    /// The logical clock.
    pub(crate) clock: AtomicU64,
    /// The last slot that the server consumed.
    pub(crate) admitted: AtomicU64,
    /// The numbers of consumed entries with ops, and without.
    pub(crate) entries: AtomicU64,
    pub(crate) bubbles: AtomicU64,
    /// The first deadline of a sleeping thread, in agreed nanoseconds; `u64::MAX` if there is none.
    pub(crate) deadline: AtomicU64,
    /// The number of connections that the server holds or has not accepted yet.
    pub(crate) connections: AtomicU64,
    /// The kernel's number, in the cell, of the thread that has the turn.
    pub(crate) holder: AtomicU32,
    /// The number of calls that the library saw and the determinism contract does not cover.
    pub(crate) uncovered_calls: AtomicU64,
    /// Connections that the server's tables or listeners refused.
    pub(crate) refused_connections: AtomicU64,
    pub(crate) history: History,
    trouble_length: AtomicU32,
    trouble: [AtomicU64; TROUBLE_BYTES / 8],
    /// The slot behind which the server has stopped, or 0 if it has not.
    pub(crate) held: AtomicU64,
    /// The nonce that the server has read after its last stop.
    pub(crate) echo: AtomicU64,
    /// The [`EndReason`] for which the daemon must end the program, or 0.
    pub(crate) end_reason: AtomicU32,
    /// Calls that bypass the hooks, and those that the net below the hooks caught.
    pub(crate) bypasses: Bypasses,
    pub(crate) caught: CaughtCalls,
}

const MAGIC: u64 = u64::from_le_bytes(*b"craneshm");
const ACCESS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const HEADER_BYTES: usize = size_of::<Region>().next_multiple_of(4096);
pub(crate) const FILE_BYTES: usize = HEADER_BYTES + SCRIPT_BYTES + OUTPUT_BYTES;

impl Region {
    /// Marks the region as complete, and of this layout.
    pub(crate) fn set_version(&self) {
        self.version.store(LAYOUT_VERSION, Ordering::SeqCst);
        self.magic.store(MAGIC, Ordering::SeqCst);
    }

    /// Returns the state of the server's threads.
    pub(crate) fn state(&self) -> ServerState {
        ServerState::from_number(self.state.load(Ordering::SeqCst))
    }

    /// Sets the state of the server's threads.
    pub(crate) fn set_state(&self, state: ServerState) {
        self.state.store(state as u32, Ordering::SeqCst);
    }

    /// Leaves a text that outlives the process that wrote it. The text is cut at [`TROUBLE_BYTES`].
    pub(crate) fn put_trouble(&self, text: &[u8]) {
        put(&self.trouble_length, &self.trouble, &text[..text.len().min(TROUBLE_BYTES)]);
    }

    /// Copies the last text that was left into `space`, and returns it.
    pub(crate) fn trouble<'a>(&self, space: &'a mut [u8; TROUBLE_BYTES]) -> &'a [u8] {
        get(&self.trouble_length, &self.trouble, space)
    }
}

/// Stores bytes in words, which have room for them, and then their number.
fn put(length: &AtomicU32, words: &[AtomicU64], bytes: &[u8]) {
    length.store(0, Ordering::SeqCst);
    for (cell, part) in words.iter().zip(bytes.chunks(8)) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        cell.store(u64::from_le_bytes(word), Ordering::SeqCst);
    }
    length.store(bytes.len() as u32, Ordering::SeqCst);
}

/// Copies bytes from words into a space of the same size.
fn get<'a>(length: &AtomicU32, words: &[AtomicU64], space: &'a mut [u8]) -> &'a [u8] {
    let length = (length.load(Ordering::SeqCst) as usize).min(space.len());
    for (cell, part) in words.iter().zip(space.chunks_mut(8)) {
        part.copy_from_slice(&cell.load(Ordering::SeqCst).to_le_bytes());
    }
    &space[..length]
}

/// The mapping of a shared file. It stays until the end of the process, because threads of the
/// server use it until then.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    start: *mut u8,
}

// SAFETY: the mapping is never removed, everything in it is atomic, and the rings' ends are handed
// out by unsafe functions whose callers vouch for there being one of each.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a file of zeros, with all of its memory, and maps it. A page that is allocated later
    /// could be one that the system has not got, and the process that touches it would be ended by
    /// SIGBUS.
    pub(crate) fn create() -> Result<(Self, OwnedFd), i32> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = fs::memfd_create(c"crane-region", flags).map_err(Errno::raw_os_error)?;
        fs::ftruncate(&file, FILE_BYTES as u64).map_err(Errno::raw_os_error)?;
        allocate(&file).map_err(Errno::raw_os_error)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fs::fcntl_add_seals(&file, seals).map_err(Errno::raw_os_error)?;
        Ok((Self::map(&file, None)?, file))
    }

    /// Maps a file that was made, at an address or anywhere. The error is `EPROTO` for a file of
    /// another layout, or one that is not sealed.
    pub(crate) fn open(file: BorrowedFd<'_>, place: Option<usize>) -> Result<Self, i32> {
        check_file(file)?;
        Self::map(file, place)?.check()
    }

    fn map(file: impl AsFd, place: Option<usize>) -> Result<Self, i32> {
        let (address, fixed) = match place {
            Some(address) => (address, MapFlags::FIXED_NOREPLACE),
            None => (0, MapFlags::empty()),
        };
        let address = core::ptr::with_exposed_provenance_mut(address);
        let flags = MapFlags::SHARED | fixed;
        // SAFETY: a new mapping touches nothing that exists.
        let start = unsafe { mm::mmap(address, FILE_BYTES, ACCESS, flags, file, 0) };
        let start = start.map_err(Errno::raw_os_error)?;
        // Before Linux 4.17 the kernel takes the address for a wish.
        match place {
            Some(place) if start.addr() != place => Err(libc::EEXIST),
            _ => Ok(Self { start: start.cast() }),
        }
    }

    fn check(self) -> Result<Self, i32> {
        let region = self.region();
        let known = region.magic.load(Ordering::SeqCst) == MAGIC
            && region.version.load(Ordering::SeqCst) == LAYOUT_VERSION;
        if known { Ok(self) } else { Err(libc::EPROTO) }
    }

    /// Puts private memory of zeros in the place of the file, which is no longer mapped here.
    ///
    /// # Safety
    /// No other thread of this process relies on what it has written here.
    pub(crate) unsafe fn leave_file(self) -> Result<(), i32> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the place of this very mapping; any bytes are valid in it.
        unsafe { mm::mmap_anonymous(self.start.cast(), FILE_BYTES, ACCESS, flags) }
            .map(drop)
            .map_err(Errno::raw_os_error)
    }

    /// Gives the memory of the file back to the system. It reads as zeros from now on.
    ///
    /// # Safety
    /// No end of a ring is used any more.
    pub(crate) unsafe fn free(self) -> Result<(), i32> {
        // SAFETY: the place of this very mapping. Everything in it but the rings' data is atomic,
        // and any bytes are valid in it; the caller vouches for the rings.
        unsafe { mm::madvise(self.start.cast(), FILE_BYTES, mm::Advice::LinuxRemove) }
            .map_err(Errno::raw_os_error)
    }

    /// Maps a file that was made in the place of the memory here.
    ///
    /// # Safety
    /// As for [`Mapping::leave_file`].
    pub(crate) unsafe fn take_file(self, file: BorrowedFd<'_>) -> Result<(), i32> {
        check_file(file)?;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: as in `leave_file`.
        unsafe { mm::mmap(self.start.cast(), FILE_BYTES, ACCESS, flags, file, 0) }
            .map_err(Errno::raw_os_error)?;
        self.check().map(drop)
    }

    /// Returns the header at the start of the file.
    #[inline]
    pub(crate) fn region(self) -> &'static Region {
        // SAFETY: mapped with at least this size, page-aligned, never unmapped; all fields are
        // atomics for which any bytes are valid.
        unsafe { &*self.start.cast::<Region>() }
    }

    /// Returns the address of the script ring's data.
    fn script(self) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.start.add(HEADER_BYTES) }
    }

    /// Returns the address of the output ring's data.
    fn output(self) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.start.add(HEADER_BYTES + SCRIPT_BYTES) }
    }

    /// # Safety
    /// The caller is the only one with this end.
    pub(crate) unsafe fn script_writer(self) -> RingWriter {
        // SAFETY: the mapping stays, the area lies inside of it, and the caller vouches for one
        // owner.
        unsafe { RingWriter::new(&self.region().script, self.script(), SCRIPT_BYTES) }
    }

    /// # Safety
    /// The caller is the only one with this end.
    pub(crate) unsafe fn script_reader(self) -> RingReader {
        // SAFETY: as in `script_writer`.
        unsafe { RingReader::new(&self.region().script, self.script(), SCRIPT_BYTES) }
    }

    /// # Safety
    /// The caller is the only one with this end.
    pub(crate) unsafe fn output_writer(self) -> RingWriter {
        // SAFETY: as in `script_writer`.
        unsafe { RingWriter::new(&self.region().output, self.output(), OUTPUT_BYTES) }
    }

    /// # Safety
    /// The caller is the only one with this end.
    pub(crate) unsafe fn output_reader(self) -> RingReader {
        // SAFETY: as in `script_writer`.
        unsafe { RingReader::new(&self.region().output, self.output(), OUTPUT_BYTES) }
    }
}

/// Checks that a file is sealed, and has the size of a region. The error is `EPROTO`.
fn check_file(file: BorrowedFd<'_>) -> Result<(), i32> {
    let stat = fs::fstat(file).map_err(Errno::raw_os_error)?;
    let seals = fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    let fits = stat.st_size == FILE_BYTES as i64 && seals.contains(SealFlags::SHRINK);
    if fits { Ok(()) } else { Err(libc::EPROTO) }
}

/// Allocates the whole of a file. A signal may interrupt it.
fn allocate(file: &OwnedFd) -> rustix::io::Result<()> {
    loop {
        match fs::fallocate(file, FallocateFlags::empty(), 0, FILE_BYTES as u64) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

impl core::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Mapping").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DaemonSide, HashMark, ServerSide};

    #[test]
    fn both_sides_see_the_same_file() {
        let (daemon, file) = DaemonSide::create(3, 9).unwrap();
        let server = ServerSide::open(file.as_fd()).unwrap();
        // SAFETY: one owner of each in this test.
        let (mut script, mut output) = unsafe { daemon.ends() };
        // SAFETY: as above.
        let (mut entries, mut replies) = unsafe { server.ends() };
        script.push(script::ENTRY, [1, 0, 0], &[b"entry"]).unwrap();
        assert_eq!(entries.peek().unwrap().unwrap().bytes, b"entry");
        replies.push(output::DATA, [1, 9, 0], &[b"re", b"ply"]).unwrap();
        assert_eq!(output.peek().unwrap().unwrap().bytes, b"reply");
        assert_eq!((server.node(), server.first_generation()), (3, 9));
        assert_eq!((daemon.state(), daemon.deadline()), (ServerState::Starting, u64::MAX));
        let mark = HashMark { slot: 5, clock: 1, schedule: 2, output: 3 };
        server.put_mark(mark);
        assert_eq!(daemon.mark(5), Some(mark));
        assert_eq!(daemon.mark(6), None);
        server.put_trouble(b"fork is not covered");
        assert_eq!(daemon.trouble(&mut [0; TROUBLE_BYTES]), b"fork is not covered");
        assert_eq!(daemon.end_reason(), None);
        use EndReason::{DiskFull, HostFault, Restarted, Unfit};
        for end_reason in [DiskFull, Restarted, HostFault, Unfit] {
            server.end_for(end_reason);
            assert_eq!(daemon.end_reason(), Some(end_reason));
        }
    }

    #[test]
    fn the_daemon_is_woken_once_until_it_has_looked() {
        let (daemon, file) = DaemonSide::create(1, 1).unwrap();
        let server = ServerSide::open(file.as_fd()).unwrap();
        assert!(server.begin_wake() && !server.begin_wake());
        daemon.hear_wake();
        assert!(server.begin_wake());
        // The server sleeps neither through something that it could find nor through a ring of the
        // bell.
        server.await_script(u64::MAX / 2, || true);
        server.await_script(u64::MAX / 2, || {
            daemon.ring_script();
            false
        });
    }

    #[test]
    fn the_memory_of_a_server_that_has_ended_is_given_back() {
        let (daemon, file) = DaemonSide::create(1, 1).unwrap();
        let server = ServerSide::open(file.as_fd()).unwrap();
        server.put_mark(HashMark { slot: 5, clock: 1, schedule: 2, output: 3 });
        let blocks = || fs::fstat(&file).unwrap().st_blocks;
        assert!(daemon.mark(5).is_some() && blocks() > 0);
        // SAFETY: the rings' ends are not used in this test.
        unsafe { daemon.free() }.unwrap();
        assert_eq!(blocks(), 0);
        assert_eq!((daemon.mark(5), daemon.end_reason()), (None, None));
        assert_eq!(daemon.trouble(&mut [0; TROUBLE_BYTES]), b"");
    }

    #[test]
    fn nobody_can_cut_the_memory_off() {
        let (_, file) = DaemonSide::create(1, 1).unwrap();
        for size in [0, FILE_BYTES as u64 - 1, FILE_BYTES as u64 + 1] {
            assert_eq!(fs::ftruncate(&file, size), Err(Errno::PERM), "{size}");
        }
        assert_eq!(fs::fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM));
    }

    #[test]
    fn another_file_is_refused() {
        let unsealed = fs::memfd_create(c"not ours", MemfdFlags::CLOEXEC).unwrap();
        fs::ftruncate(&unsealed, FILE_BYTES as u64).unwrap();
        assert_eq!(ServerSide::open(unsealed.as_fd()).unwrap_err(), libc::EPROTO);
        let (_, file) = Mapping::create().unwrap();
        assert_eq!(ServerSide::open(file.as_fd()).unwrap_err(), libc::EPROTO, "of no layout");
        let null = fs::open(c"/dev/null", fs::OFlags::RDWR, fs::Mode::empty()).unwrap();
        assert_eq!(ServerSide::open(null.as_fd()).unwrap_err(), libc::EPROTO);
    }
}
