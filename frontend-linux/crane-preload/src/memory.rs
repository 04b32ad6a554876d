//! Memory that processes share: a lock in it is the same one for all of them, wherever each has it
//! mapped.
//!
//! The kernel says what lies at an address (proc(5), maps). The answers are kept by page, until the
//! program changes its mappings. Objects have numbers in the order of their first use, because a
//! server that is made from an image has other files, and the same locks.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::maps;

const PAGE: usize = 4096;
/// The number of pages whose answers are kept.
const KEPT: usize = 512;
/// The number of objects that are told apart. A further one gets the number of the oldest.
const OBJECTS: usize = 1024;
/// The first bit of an object's number behind a place in the object.
const OBJECT_SHIFT: u32 = 48;

/// The objects, for all processes: the device and the number of the file of each. The holder of the
/// turn reads and writes them.
pub(crate) struct SharedObjects {
    files: [[AtomicU64; 2]; OBJECTS],
    /// The number of objects so far.
    used: AtomicU32,
}

/// Those of a process that shares nothing.
static OWN: SharedObjects = SharedObjects {
    files: [const { [const { AtomicU64::new(0) }; 2] }; OBJECTS],
    used: AtomicU32::new(0),
};

static TABLE: AtomicPtr<SharedObjects> = AtomicPtr::new((&raw const OWN).cast_mut());

/// By a hash of the page: its address with the lowest bit set, and the place that it shows, or 0
/// for memory of the process's own. The holder of the turn reads and writes them.
static KEPT_PAGES: [[AtomicU64; 2]; KEPT] = [const { [const { AtomicU64::new(0) }; 2] }; KEPT];
/// By object: a page of this process that showed it, or 0.
static SEEN_AT: [AtomicU64; OBJECTS] = [const { AtomicU64::new(0) }; OBJECTS];
/// Whether an answer is kept.
static IS_KEPT: AtomicBool = AtomicBool::new(false);

fn table() -> &'static SharedObjects {
    // SAFETY: static memory, or that of [`use_table`].
    unsafe { &*TABLE.load(Ordering::Relaxed) }
}

/// Has this process use this table, which it shares with others, from now on.
pub(crate) fn use_table(table: &'static SharedObjects) {
    TABLE.store(std::ptr::from_ref(table).cast_mut(), Ordering::SeqCst);
}

/// Returns the number of the object at an address and the place in it, if processes share it.
pub(crate) fn place_at(address: usize) -> Option<u64> {
    match place_of_page(address & !(PAGE - 1)) {
        0 => None,
        place => Some(place + (address & (PAGE - 1)) as u64),
    }
}

fn place_of_page(page: usize) -> u64 {
    let kept = &KEPT_PAGES[(page / PAGE).wrapping_mul(0x9e37_79b1) >> 4 & (KEPT - 1)];
    if kept[0].load(Ordering::Relaxed) == page as u64 | 1 {
        return kept[1].load(Ordering::Relaxed);
    }
    let place = look(page).map_or(0, |(file, at)| {
        let object = number_of(file);
        SEEN_AT[object].store(page as u64, Ordering::Relaxed);
        // Numbers begin with 1, so that no place is 0.
        (object as u64 + 1) << OBJECT_SHIFT | at & ((1 << OBJECT_SHIFT) - 1)
    });
    kept[0].store(page as u64 | 1, Ordering::Relaxed);
    kept[1].store(place, Ordering::Relaxed);
    IS_KEPT.store(true, Ordering::Relaxed);
    place
}

/// Returns the file of shared memory at a page, and the place in it.
fn look(page: usize) -> Option<([u64; 2], u64)> {
    maps::around(page, |mapped| {
        let at = mapped.offset + (page - mapped.range.start) as u64;
        mapped.rights.ends_with('s').then_some((mapped.file, at))
    })
}

/// Returns the number of an object, which has one from now on.
fn number_of(file: [u64; 2]) -> usize {
    let SharedObjects { files, used } = table();
    let count = used.load(Ordering::Relaxed) as usize;
    let is_it = |known: &[AtomicU64; 2]| {
        [0, 1].into_iter().all(|word| known[word].load(Ordering::Relaxed) == file[word])
    };
    if let Some(number) = files[..count.min(OBJECTS)].iter().position(is_it) {
        return number;
    }
    let number = count % OBJECTS;
    set_file(number, file);
    used.store(count as u32 + 1, Ordering::Relaxed);
    number
}

fn set_file(object: usize, file: [u64; 2]) {
    for (word, value) in table().files[object].iter().zip(file) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Forgets the answers, because the program changes its mappings.
pub(crate) fn forget() {
    if IS_KEPT.swap(false, Ordering::Relaxed) {
        for kept in &KEPT_PAGES {
            kept[0].store(0, Ordering::Relaxed);
        }
    }
}

/// Finds the files again of the objects that this process has seen, which are others if it was made
/// from an image.
pub(crate) fn find_again() {
    for (object, page) in SEEN_AT.iter().enumerate() {
        let page = page.load(Ordering::Relaxed) as usize;
        if page != 0
            && let Some((file, _)) = look(page)
        {
            set_file(object, file);
        }
    }
    forget();
}
