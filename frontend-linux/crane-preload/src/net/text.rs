//! The places that calls come from: libc and the dynamic linker, or others.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::dl_phdr_info;

/// Libraries that make up libc. A call that one of them makes is judged by its number, a call of
/// any other text bypasses libc.
const LIBC: [&[u8]; 5] = [b"libc.so", b"ld-linux", b"libpthread.so", b"librt.so", b"libresolv.so"];

struct LibcText {
    start: AtomicUsize,
    end: AtomicUsize,
}

/// Their text, as far as it was found.
static FOUND: [LibcText; 8] =
    [const { LibcText { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; 8];

/// Finds libc's text, once.
pub(super) fn find() {
    // SAFETY: the function fits, and takes no argument. The list of libraries does not change
    // before the program's first instruction.
    unsafe { libc::dl_iterate_phdr(Some(take), std::ptr::null_mut()) };
}

unsafe extern "C" fn take(info: *mut dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker's record, alive for the call.
    let info = unsafe { &*info };
    if info.dlpi_name.is_null() {
        return 0;
    }
    // SAFETY: a string of the dynamic linker's.
    let path = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if !LIBC.iter().any(|known| name.starts_with(known)) {
        return 0;
    }
    for place in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: one of the object's program headers.
        let header = unsafe { &*info.dlpi_phdr.add(place) };
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = (info.dlpi_addr + header.p_vaddr) as usize;
            keep(start, start + header.p_memsz as usize);
        }
    }
    0
}

fn keep(start: usize, end: usize) {
    if let Some(free) = FOUND.iter().find(|text| text.end.load(Ordering::Relaxed) == 0) {
        free.start.store(start, Ordering::Relaxed);
        free.end.store(end, Ordering::Relaxed);
    }
}

/// Returns libc's text, as far as it was found.
pub(super) fn found() -> impl Iterator<Item = Range<usize>> {
    let range =
        |text: &LibcText| text.start.load(Ordering::Relaxed)..text.end.load(Ordering::Relaxed);
    FOUND.iter().map(range).filter(|range| !range.is_empty())
}

/// Returns whether an address lies in libc's text, or in the dynamic linker's.
pub(super) fn is_libc(address: usize) -> bool {
    found().any(|text| text.contains(&address))
}
