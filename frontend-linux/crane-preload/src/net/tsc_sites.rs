//! Places in the program that read the processor's time stamp often: they are led around the trap
//! that each read raises.
//!
//! The instruction and those behind it become a jump to a [detour](super::detours), which gets the
//! time from this library ([`prompt`]), makes the instructions that the jump has taken the place
//! of, and goes on. Where this library has no time to give, the detour reads the time stamp, and
//! that raises the trap.
//!
//! A place is led around by a thread that has just read there, so it is code; it holds the turn,
//! and no other thread runs, so none is between the instructions, but one whose own read waits for
//! its answer ([`behind`]). Nothing may lead between them: the text around is searched for branches
//! that do. A jump by a table could not be seen, but what is behind a read uses its result.

use std::slice;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::detours::{self, DETOUR, JUMP};
use super::moved::{Moved, is_branched_to, movable};
use super::prompt;
use crate::maps::text_around;
use crate::world::SERIAL;

/// The number of reads behind which a place is led around.
const OFTEN: u32 = 64;
/// The number of places that are counted.
const SITES: usize = 64;
/// The bytes of the instruction that reads.
const READ: usize = 2;
/// The place in a detour of the moved instructions.
const MOVED_AT: usize = 31;
/// The most bytes that are moved: a jump and an address are behind them.
const MOVED_MAX: usize = DETOUR - 8 - JUMP - MOVED_AT;

/// A place that reads the time stamp.
struct Site {
    /// The instruction's address, or 0.
    address: AtomicUsize,
    reads: AtomicU32,
    /// Where the program goes on behind it, in a detour, or 0.
    behind: AtomicUsize,
}

static PLACES: [Site; SITES] = [const {
    Site { address: AtomicUsize::new(0), reads: AtomicU32::new(0), behind: AtomicUsize::new(0) }
}; SITES];

fn site(address: usize) -> Option<&'static Site> {
    PLACES.iter().find(|site| site.address.load(Ordering::Relaxed) == address)
}

/// Returns where a thread goes on that has read the time stamp at an address, if the instructions
/// behind it have been moved.
pub(super) fn behind(address: usize) -> Option<usize> {
    let behind = site(address)?.behind.load(Ordering::Relaxed);
    (behind != 0).then_some(behind)
}

/// Counts a read at an address, by `rdtsc`, of the calling thread, which holds the turn if threads
/// run one at a time. Leads the place around the trap if there were enough of them.
pub(super) fn count(address: usize) {
    if !SERIAL.load(Ordering::Relaxed) {
        return;
    }
    let Some(site) = site(address).or_else(|| site(0)) else { return };
    site.address.store(address, Ordering::Relaxed);
    let reads = site.reads.load(Ordering::Relaxed).saturating_add(1);
    site.reads.store(reads, Ordering::Relaxed);
    // It is tried once: what does not work then does not work later.
    if reads == OFTEN
        && let Some(behind) = lead_around(address)
    {
        site.behind.store(behind, Ordering::Relaxed);
    }
}

/// Makes a detour for a place, and the jump to it. Returns the address of the moved instructions.
fn lead_around(address: usize) -> Option<usize> {
    let text = text_around(address)?;
    // SAFETY: a part of the program's text, which is mapped and can be read.
    let code = unsafe { slice::from_raw_parts(text.start as *const u8, text.len()) };
    let at = address - text.start;
    let rest = code.get(at + READ..)?;
    let moved = movable(&rest[..rest.len().min(MOVED_MAX)], JUMP - READ)?;
    if moved.starts.iter().any(|start| is_branched_to(code, at + READ + start)) {
        return None;
    }
    let detour = detours::free(&text)?;
    detours::write(detour, detour_of(detour, address, &rest[..moved.length], &moved)?)?;
    detours::lead(address, detours::jump(detour, address + JUMP)?)?;
    Some(detour + MOVED_AT)
}

/// Returns the code of a detour at an address, for the read at `from`.
fn detour_of(at: usize, from: usize, rest: &[u8], moved: &Moved) -> Option<[u8; DETOUR]> {
    #[rustfmt::skip]
    const CODE: [u8; MOVED_AT] = [
        // lea rsp, [rsp - 128]: what a function keeps there without a frame stays (the red zone).
        0x48, 0x8d, 0x64, 0x24, 0x80,
        // call [rip + …]: the last 8 bytes. It comes back later if it has no time.
        0xff, 0x15, DETOUR as u8 - 8 - 11, 0, 0, 0,
        // lea rsp, [rsp + 128]; jmp to the moved instructions.
        0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xeb, 0x0a,
        // lea rsp, [rsp + 128]; rdtsc.
        0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0x0f, 0x31,
    ];
    let mut bytes = [0xcc; DETOUR];
    bytes[..MOVED_AT].copy_from_slice(&CODE);
    let end = MOVED_AT + rest.len();
    bytes[MOVED_AT..end].copy_from_slice(rest);
    for place in moved.relative.into_iter().flatten() {
        let operand = MOVED_AT + place..MOVED_AT + place + 4;
        let distance = i32::from_le_bytes(bytes[operand.clone()].try_into().ok()?);
        let shift = (from + READ) as i64 - (at + MOVED_AT) as i64;
        let distance = i32::try_from(i64::from(distance) + shift).ok()?;
        bytes[operand].copy_from_slice(&distance.to_le_bytes());
    }
    let back = from + READ + rest.len();
    bytes[end..end + JUMP].copy_from_slice(&detours::jump(back, at + end + JUMP)?);
    bytes[DETOUR - 8..].copy_from_slice(&prompt::for_tsc().to_le_bytes());
    Some(bytes)
}
