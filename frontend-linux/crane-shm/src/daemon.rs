//! The daemon's side of the region: the values that it may read of its server, and write for it.

use core::sync::atomic::Ordering;

use rustix::fd::OwnedFd;

use crate::bypass::{Bypass, BypassKind};
use crate::history::{BlockHash, CallRecord, HashMark};
use crate::region::{EndReason, FILE_BYTES, Mapping, ServerState, TROUBLE_BYTES};
use crate::{RingReader, RingWriter};

/// The daemon's side of one region. It stays mapped to the end of the process.
#[derive(Clone, Copy, Debug)]
pub struct DaemonSide(pub(crate) Mapping);

impl DaemonSide {
    /// The size of a region, all of which is allocated when it is made.
    pub const BYTES: usize = FILE_BYTES;

    /// Makes a region and maps it. Also returns the descriptor by which the server maps it. `node`
    /// is the number of this replica.
    ///
    /// # Errors
    /// Returns the error number of what the kernel refused.
    pub fn create(node: u32, first_generation: u64) -> Result<(Self, OwnedFd), i32> {
        let (mapping, file) = Mapping::create()?;
        let side = Self(mapping);
        let region = side.0.region();
        region.node.store(node, Ordering::SeqCst);
        side.set_first_generation(first_generation);
        region.deadline.store(u64::MAX, Ordering::SeqCst);
        region.net_round.store(1, Ordering::SeqCst);
        region.set_version();
        Ok((side, file))
    }

    /// Returns the writing end of the script ring and the reading end of the output ring.
    ///
    /// # Safety
    /// At most one process, and in it one owner, holds the daemon's ends.
    pub unsafe fn ends(self) -> (RingWriter, RingReader) {
        // SAFETY: the caller is the one owner.
        unsafe { (self.0.script_writer(), self.0.output_reader()) }
    }

    /// Gives the memory back to the system, because the server has ended and nothing of it is
    /// wanted any more. All values read as zero from now on.
    ///
    /// # Errors
    /// Returns the error number of what the kernel refused.
    ///
    /// # Safety
    /// The ends of the rings are not used any more.
    pub unsafe fn free(self) -> Result<(), i32> {
        // SAFETY: the caller vouches for the ends.
        unsafe { self.0.free() }
    }

    /// Sets the first generation of this replica's connections for which the server still writes.
    /// Connections of lower generations have been reset.
    pub fn set_first_generation(self, generation: u64) {
        self.0.region().first_generation.store(generation, Ordering::SeqCst);
    }

    /// Sets whether the server's fsync family reaches the disk. Call it before the server starts.
    pub fn set_keep_fsync(self, keep: bool) {
        self.0.region().keep_fsync.store(u32::from(keep), Ordering::SeqCst);
    }

    /// Sets whether a call that bypasses the hooks is refused, and ends the server. Call it before
    /// the server starts.
    pub fn set_strict(self, strict: bool) {
        self.0.region().strict.store(u32::from(strict), Ordering::SeqCst);
    }

    /// Sets whether the hooks also answer calls that bypass them. Call it before the server starts.
    pub fn set_floor(self, floor: bool) {
        self.0.region().floor.store(u32::from(floor), Ordering::SeqCst);
    }

    /// Lets the server's threads look again for calls that bypass the hooks.
    pub fn begin_net_round(self) {
        let round = &self.0.region().net_round;
        let next = round.load(Ordering::SeqCst).checked_add(1).unwrap_or(1);
        round.store(next, Ordering::SeqCst);
    }

    /// Returns the kind of call that bypasses the hooks with this number, counted from 0 in the
    /// order of their discovery.
    pub fn bypass(self, place: usize) -> Option<Bypass> {
        self.0.region().bypasses.get(place)
    }

    /// Sets whether stalls and new deadlines wake the daemon, as a primary's daemon needs.
    pub fn set_watch_state(self, watch: bool) {
        self.0.region().watch_state.store(u32::from(watch), Ordering::SeqCst);
    }

    /// Records that the server's process is gone.
    pub fn set_exited(self) {
        self.0.region().set_state(ServerState::Exited);
    }

    /// Acknowledges the server's wake, so that the server wakes the daemon again for later events.
    pub fn hear_wake(self) {
        self.0.region().wake_pending.store(0, Ordering::SeqCst);
    }

    /// Wakes a server that waits for more of the script.
    pub fn ring_script(self) {
        self.0.region().script_bell.ring();
    }

    /// Wakes a server that waits for room in the output ring.
    pub fn ring_output(self) {
        self.0.region().output_bell.ring();
    }

    /// Returns what the server's threads are doing.
    pub fn state(self) -> ServerState {
        self.0.region().state()
    }

    /// Returns the logical clock.
    pub fn clock(self) -> u64 {
        self.0.region().clock.load(Ordering::SeqCst)
    }

    /// Returns the last slot that the server consumed.
    pub fn admitted(self) -> u64 {
        self.0.region().admitted.load(Ordering::SeqCst)
    }

    /// Returns how many entries with ops the server consumed.
    pub fn entries(self) -> u64 {
        self.0.region().entries.load(Ordering::SeqCst)
    }

    /// Returns how many entries without ops the server consumed.
    pub fn bubbles(self) -> u64 {
        self.0.region().bubbles.load(Ordering::SeqCst)
    }

    /// Returns the first deadline of a sleeping thread, in agreed nanoseconds, or `u64::MAX` if no
    /// thread has one.
    pub fn deadline(self) -> u64 {
        self.0.region().deadline.load(Ordering::SeqCst)
    }

    /// Returns how many connections the server holds or has not accepted yet.
    pub fn connections(self) -> u64 {
        self.0.region().connections.load(Ordering::SeqCst)
    }

    /// Returns the kernel's number, in the cell, of the thread that has the turn, or 0 if it is not
    /// known.
    pub fn holder(self) -> u32 {
        self.0.region().holder.load(Ordering::Relaxed)
    }

    /// Returns how many calls the library has seen that the determinism contract does not cover.
    pub fn uncovered_calls(self) -> u64 {
        self.0.region().uncovered_calls.load(Ordering::SeqCst)
    }

    /// Returns how many calls the net below the hooks has caught. Each costs microseconds.
    pub fn caught_calls(self) -> u64 {
        self.0.region().caught.all()
    }

    /// Returns the kinds of which the net has caught at least `least` calls, with their numbers of
    /// calls, in no order.
    pub fn caught_kinds(self, least: u64) -> Vec<(BypassKind, u64)> {
        self.0.region().caught.kinds(least).collect()
    }

    /// Returns how many connections were refused: nothing listened there, or a table was full.
    pub fn refused_connections(self) -> u64 {
        self.0.region().refused_connections.load(Ordering::SeqCst)
    }

    /// Returns the call at this clock, if it is among the last [`CALLS`](crate::history::CALLS).
    pub fn call(self, clock: u64) -> Option<CallRecord> {
        self.0.region().history.call(clock)
    }

    /// Returns the hashes of a block of calls, if it is complete and among the last
    /// [`BLOCKS`](crate::history::BLOCKS).
    pub fn block(self, block: u64) -> Option<BlockHash> {
        let region = self.0.region();
        region.history.block(block, &region.clock)
    }

    /// Returns the hashes at a slot's admission, if it is among the last
    /// [`MARKS`](crate::history::MARKS).
    pub fn mark(self, slot: u64) -> Option<HashMark> {
        self.0.region().history.mark(slot)
    }

    /// Copies into `space` the last reason for ending that a process of the server left, and
    /// returns it. The result is empty if no process left a reason.
    pub fn trouble(self, space: &mut [u8; TROUBLE_BYTES]) -> &[u8] {
        self.0.region().trouble(space)
    }

    /// Returns why the library asks the daemon to end the program, if it does; the text says more.
    pub fn end_reason(self) -> Option<EndReason> {
        EndReason::from_number(self.0.region().end_reason.load(Ordering::SeqCst))
    }
}
