//! Memory that processes share: a lock in it is the same one for all of them, wherever each has it
//! mapped.
//!
//! The kernel says what lies at an address (proc(5), maps). The answers are kept by page, until the
//! program changes its mappings.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::execution::On;
use crate::fork;
use crate::maps;

const PAGE: usize = 4096;
/// The number of pages whose answers are kept.
const KEPT: usize = 512;

/// By a hash of the page: the page's address with the lowest bit set, and the hash of what lies
/// there, or 0 for memory of the process's own. The holder of the turn reads and writes them.
static KEPT_PAGES: [[AtomicU64; 2]; KEPT] = [const { [const { AtomicU64::new(0) }; 2] }; KEPT];

/// Whether an answer is kept.
static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// Returns what a thread waits for that waits at a place which other processes may share.
pub(crate) fn on(address: usize) -> On {
    if !fork::take_part() {
        return On::Address(address);
    }
    match object_at(address & !(PAGE - 1)) {
        0 => On::Address(address),
        object => On::Shared(object.wrapping_add((address & (PAGE - 1)) as u64)),
    }
}

/// Returns the hash of the object and the place in it that a page shows, or 0.
fn object_at(page: usize) -> u64 {
    let place = &KEPT_PAGES[(page / PAGE).wrapping_mul(0x9e37_79b1) >> 4 & (KEPT - 1)];
    if place[0].load(Ordering::Relaxed) == page as u64 | 1 {
        return place[1].load(Ordering::Relaxed);
    }
    let object = maps::around(page, |mapped| {
        let is_shared = mapped.rights.ends_with('s');
        let at = mapped.offset + (page - mapped.range.start) as u64;
        is_shared.then(|| hash(mapped.device, mapped.inode, at))
    });
    let object = object.unwrap_or(0);
    place[0].store(page as u64 | 1, Ordering::Relaxed);
    place[1].store(object, Ordering::Relaxed);
    IS_KEPT.store(true, Ordering::Relaxed);
    object
}

/// FNV-1a of the words, whose lowest bits are left for the place in the page. Never 0.
fn hash(device: &str, inode: u64, at: u64) -> u64 {
    let numbers = [inode, at];
    let bytes = device.bytes().chain(numbers.iter().flat_map(|number| number.to_le_bytes()));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // Keys have 60 bits.
    (hash & ((1 << 60) - 1) & !(PAGE as u64 - 1)).max(PAGE as u64)
}

/// Forgets the answers, because the program changes its mappings.
pub(crate) fn forget() {
    if IS_KEPT.swap(false, Ordering::Relaxed) {
        for place in &KEPT_PAGES {
            place[0].store(0, Ordering::Relaxed);
        }
    }
}
