//! Detours: code of this library's near the program's, to which a place of the program's leads by a
//! jump in the place of instructions.
//!
//! They are made and used by the thread that holds the turn, while no other thread runs.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crane_shm::sys;

/// The bytes of a jump, and of a detour.
pub(super) const JUMP: usize = 5;
pub(super) const DETOUR: usize = 64;
const PAGE: usize = 4096;
/// The distance of two places where memory for detours is looked for, and their number on each
/// side of the program's text.
const STEP: usize = 16 << 20;
const STEPS: usize = 60;
/// The distance from the text to the first place above it: a program's memory grows there.
const ABOVE: usize = 512 << 20;
/// The lowest address (the kernel's `vm.mmap_min_addr`, as it is set usually).
const LOWEST: usize = 1 << 16;

/// The page with the next free detours, and how many of it are used.
static DETOURS: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Returns the address of a detour that is free and near to a text.
pub(super) fn free(text: &Range<usize>) -> Option<usize> {
    const NEAR: usize = 3 << 29;
    let page = DETOURS.load(Ordering::Relaxed);
    let used = USED.load(Ordering::Relaxed);
    if page != 0
        && used < PAGE / DETOUR
        && page.abs_diff(text.start).max(page.abs_diff(text.end)) < NEAR
    {
        USED.store(used + 1, Ordering::Relaxed);
        return Some(page + used * DETOUR);
    }
    let (start, end) = (text.start & !(PAGE - 1), text.end.next_multiple_of(PAGE));
    let below = (1..=STEPS).map_while(|step| start.checked_sub(step * STEP));
    let above = (0..STEPS).map_while(|step| end.checked_add(ABOVE + step * STEP));
    let mut places = below.take_while(|place| *place >= LOWEST).chain(above);
    let page = places.find(|place| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let arguments = [*place, PAGE, protection as usize, flags as usize, usize::MAX, 0];
        // SAFETY: a new mapping where nothing is.
        sys::checked(unsafe { sys::syscall(libc::SYS_mmap, arguments) }) == Ok(*place)
    })?;
    DETOURS.store(page, Ordering::Relaxed);
    USED.store(1, Ordering::Relaxed);
    Some(page)
}

/// Writes the code of a detour that is free.
pub(super) fn write(detour: usize, code: [u8; DETOUR]) -> Option<()> {
    let page = detour & !(PAGE - 1)..(detour & !(PAGE - 1)) + PAGE;
    protect(&page, libc::PROT_READ | libc::PROT_WRITE).ok()?;
    // SAFETY: a detour of this library's, in a page that may be written to.
    unsafe { (detour as *mut [u8; DETOUR]).write(code) };
    protect(&page, libc::PROT_READ | libc::PROT_EXEC).ok()?;
    Some(())
}

/// Writes a jump over instructions of the program's text, between which no thread is.
pub(super) fn lead(address: usize, jump: [u8; JUMP]) -> Option<()> {
    let pages = address & !(PAGE - 1)..(address + JUMP).next_multiple_of(PAGE);
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    protect(&pages, executable | libc::PROT_WRITE).ok()?;
    // SAFETY: whole instructions of the program's text, which may be written to.
    unsafe { ptr::copy_nonoverlapping(jump.as_ptr(), address as *mut u8, JUMP) };
    let _ = protect(&pages, executable);
    Some(())
}

/// Returns a jump that ends at `next`.
pub(super) fn jump(to: usize, next: usize) -> Option<[u8; JUMP]> {
    let distance = i32::try_from((to as i64).checked_sub(next as i64)?).ok()?;
    let mut bytes = [0xe9; JUMP];
    bytes[1..].copy_from_slice(&distance.to_le_bytes());
    Some(bytes)
}

fn protect(pages: &Range<usize>, protection: i32) -> Result<usize, i32> {
    let arguments = [pages.start, pages.end - pages.start, protection as usize, 0, 0, 0];
    // SAFETY: text of the program, which stays executable, or a page of this library's.
    sys::checked(unsafe { sys::syscall(libc::SYS_mprotect, arguments) })
}
