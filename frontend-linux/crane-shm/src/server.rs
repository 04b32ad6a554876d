//! The server's side of the region: the values that the library in the server's process may read of
//! its daemon, and publish for it.

use core::sync::atomic::Ordering;

use rustix::fd::BorrowedFd;

use crate::bypass::BypassKind;
use crate::history::{BLOCK_CALLS, BlockHash, CallRecord, HashMark};
use crate::parking::Bell;
use crate::region::{EndReason, Mapping, ServerState};
use crate::{RingReader, RingWriter};

/// The server's side of one region. It stays mapped to the end of the process.
#[derive(Clone, Copy, Debug)]
pub struct ServerSide(pub(crate) Mapping);

impl ServerSide {
    /// Maps a region that the daemon made.
    ///
    /// # Errors
    /// Returns the error number of what the kernel refused; `EPROTO` for a file of another layout,
    /// or one that is not sealed.
    pub fn open(file: BorrowedFd<'_>) -> Result<Self, i32> {
        Mapping::open(file, None).map(Self)
    }

    /// Does the same at an address, which pointers of several processes lead to.
    ///
    /// # Errors
    /// As [`ServerSide::open`]; `EEXIST` if something else lies there.
    pub fn open_at(file: BorrowedFd<'_>, address: usize) -> Result<Self, i32> {
        Mapping::open(file, Some(address)).map(Self)
    }

    /// Returns the reading end of the script ring and the writing end of the output ring.
    ///
    /// # Safety
    /// At most one process, and in it one owner at a time, holds the server's ends.
    pub unsafe fn ends(self) -> (RingReader, RingWriter) {
        // SAFETY: the caller is the one owner.
        unsafe { (self.0.script_reader(), self.0.output_writer()) }
    }

    /// Returns this replica's number.
    pub fn node(self) -> u32 {
        self.0.region().node.load(Ordering::SeqCst)
    }

    /// Returns the first generation of this replica's connections for which the server writes. It
    /// may grow at any time.
    #[inline]
    pub fn first_generation(self) -> u64 {
        self.0.region().first_generation.load(Ordering::Relaxed)
    }

    /// Returns whether the server's fsync family reaches the disk.
    pub fn keep_fsync(self) -> bool {
        self.0.region().keep_fsync.load(Ordering::SeqCst) != 0
    }

    /// Returns whether stalls and new deadlines wake the daemon.
    pub fn watch_state(self) -> bool {
        self.0.region().watch_state.load(Ordering::SeqCst) != 0
    }

    /// Records that the daemon is being woken. Returns `false` if the daemon was woken already and
    /// has not looked since.
    pub fn begin_wake(self) -> bool {
        self.0.region().wake_pending.swap(1, Ordering::SeqCst) == 0
    }

    /// Sleeps until the daemon has written more of the script, at most `nanoseconds`, unless
    /// `found` returns true. May return early.
    pub fn await_script(self, nanoseconds: u64, found: impl FnOnce() -> bool) {
        sleep_unless(&self.0.region().script_bell, nanoseconds, found);
    }

    /// Ends the sleep of any thread of the server that waits for the script. Safe in a signal
    /// handler.
    pub fn ring_script(self) {
        self.0.region().script_bell.ring();
    }

    /// Sleeps until the daemon has taken output, at most `nanoseconds`, unless `found` returns
    /// true. May return early.
    pub fn await_output_taken(self, nanoseconds: u64, found: impl FnOnce() -> bool) {
        sleep_unless(&self.0.region().output_bell, nanoseconds, found);
    }

    /// Publishes the state of the server's threads.
    pub fn set_state(self, state: ServerState) {
        self.0.region().set_state(state);
    }

    /// Publishes the last slot that the server consumed.
    pub fn set_admitted(self, slot: u64) {
        self.0.region().admitted.store(slot, Ordering::SeqCst);
    }

    /// Counts a consumed entry, which is a bubble if it has no ops.
    pub fn count_entry(self, is_bubble: bool) {
        let region = self.0.region();
        let counter = if is_bubble { &region.bubbles } else { &region.entries };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes the first deadline of a sleeping thread, in agreed nanoseconds, or `u64::MAX` if
    /// no thread has one.
    pub fn set_deadline(self, deadline: u64) {
        self.0.region().deadline.store(deadline, Ordering::SeqCst);
    }

    /// Publishes how many connections the server holds or has not accepted yet.
    pub fn set_connections(self, count: u64) {
        self.0.region().connections.store(count, Ordering::SeqCst);
    }

    /// Keeps a call for comparison with other replicas, and publishes its clock. `schedule` is the
    /// hash of all calls up to this one.
    #[inline(always)]
    pub fn record_call(self, call: CallRecord, schedule: u64) {
        let region = self.0.region();
        region.history.record_call(call);
        if call.clock.is_multiple_of(BLOCK_CALLS) {
            let hash = BlockHash { schedule, output: call.output };
            region.history.record_block(call.clock, hash);
        }
        region.clock.store(call.clock, Ordering::Release);
    }

    /// Publishes the kernel's number of the thread that has the turn.
    #[inline]
    pub fn set_holder(self, thread: u32) {
        self.0.region().holder.store(thread, Ordering::Relaxed);
    }

    /// Counts a call that the determinism contract does not cover.
    pub fn count_uncovered(self) {
        self.0.region().uncovered_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that the net below the hooks caught.
    #[inline]
    pub fn count_caught(self, kind: BypassKind) {
        self.0.region().caught.count(kind);
    }

    /// Returns the round of the net in which threads look for calls that bypass the hooks, or 0 if
    /// they do not look. In each round they look again.
    #[inline]
    pub fn net_round(self) -> u32 {
        self.0.region().net_round.load(Ordering::Relaxed)
    }

    /// Returns whether a call that bypasses the hooks is refused, and ends the server.
    pub fn is_strict(self) -> bool {
        self.0.region().strict.load(Ordering::Relaxed) != 0
    }

    /// Returns whether the hooks also answer calls that bypass them.
    pub fn has_floor(self) -> bool {
        self.0.region().floor.load(Ordering::Relaxed) != 0
    }

    /// Notes a call that bypasses the hooks, and whether it is refused. `read_stack` gets an
    /// address and a maximum number of words, copies the top of the stack to the address, and
    /// returns the number of words copied. Returns whether the daemon has to be woken.
    pub fn note_bypass(
        self,
        kind: BypassKind,
        refused: bool,
        read_stack: impl FnOnce(*mut u64, usize) -> usize,
    ) -> bool {
        self.count_uncovered();
        self.0.region().bypasses.note(kind, refused, read_stack)
    }

    /// Counts a connection that is refused: nothing listens there, or a table is full.
    pub fn count_refused(self) {
        self.0.region().refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes the hashes at a slot's admission.
    pub fn put_mark(self, mark: HashMark) {
        self.0.region().history.put_mark(mark);
    }

    /// Leaves the reason why a process of the server ends, cut at
    /// [`TROUBLE_BYTES`](crate::region::TROUBLE_BYTES). It outlives the process.
    pub fn put_trouble(self, text: &[u8]) {
        self.0.region().put_trouble(text);
    }

    /// Returns whether the daemon was asked to end the program.
    pub fn is_ending(self) -> bool {
        self.0.region().end_reason.load(Ordering::SeqCst) != 0
    }

    /// Asks the daemon to end the program, for the reason that was left.
    pub fn end_for(self, why: EndReason) {
        self.0.region().end_reason.store(why as u32, Ordering::SeqCst);
    }
}

fn sleep_unless(bell: &Bell, nanoseconds: u64, found: impl FnOnce() -> bool) {
    let heard = bell.listen();
    if !found() {
        bell.sleep_unless_rung_since(heard, nanoseconds);
    }
    bell.leave();
}
