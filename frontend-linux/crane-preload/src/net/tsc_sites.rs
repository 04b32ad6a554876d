//! Places in the program that read the processor's time stamp often: they are led around the trap
//! that each read raises.
//!
//! The instruction and those behind it become a jump to a *detour* near the program, which gets the
//! time from this library, makes the instructions that the jump has taken the place of, and goes
//! on. Where this library has no time to give, the detour reads the time stamp, and that raises the
//! trap.
//!
//! A place is led around by a thread that has just read there, so it is code; it holds the turn,
//! and no other thread runs, so none is between the instructions, but one whose own read waits for
//! its answer ([`behind`]). Nothing may lead between them: the text around is searched for branches
//! that do. A jump by a table could not be seen, but what is behind a read uses its result.

use std::arch::naked_asm;
use std::arch::x86_64::__cpuid_count;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crane_shm::sys;

use super::maps::text_around;
use super::moved::{Moved, is_branched_to, movable};
use super::{answers, tsc};
use crate::bases;
use crate::errno;
use crate::membership;
use crate::world::{self, SERIAL};

/// The number of reads behind which a place is led around.
const OFTEN: u32 = 64;
/// The number of places that are counted.
const SITES: usize = 64;
/// The bytes of the jump, and of the instruction that reads.
const JUMP: usize = 5;
const READ: usize = 2;
const PAGE: usize = 4096;
/// The bytes of a detour, and the place in it of the moved instructions.
const DETOUR: usize = 64;
const MOVED_AT: usize = 31;
/// The most bytes that are moved: a jump and the address of [`give_time`] are behind them.
const MOVED_MAX: usize = DETOUR - 8 - JUMP - MOVED_AT;
/// The distance of two places where memory for detours is looked for, and their number.
const STEP: usize = 16 << 20;
const STEPS: usize = 96;

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

/// The page with the next free detours, and how many of it are used.
static DETOURS: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// The bytes that the processor's state takes, once they are known.
static STATE_BYTES: AtomicUsize = AtomicUsize::new(0);

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
    // A program with data of its own would need its base set.
    if !SERIAL.load(Ordering::Relaxed) || bases::are_two() {
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
    let detour = free_detour(&text)?;
    let bytes = detour_of(detour, address, &rest[..moved.length], &moved)?;
    let jump = jump(detour, address + JUMP)?;
    let page = detour & !(PAGE - 1)..(detour & !(PAGE - 1)) + PAGE;
    protect(&page, libc::PROT_READ | libc::PROT_WRITE).ok()?;
    // SAFETY: a detour that is free, in a page of this library's that may be written to.
    unsafe { (detour as *mut [u8; DETOUR]).write(bytes) };
    protect(&page, libc::PROT_READ | libc::PROT_EXEC).ok()?;
    let pages = address & !(PAGE - 1)..(address + JUMP).next_multiple_of(PAGE);
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    protect(&pages, executable | libc::PROT_WRITE).ok()?;
    // SAFETY: whole instructions of the program's text, between which no thread is.
    unsafe { ptr::copy_nonoverlapping(jump.as_ptr(), address as *mut u8, JUMP) };
    let _ = protect(&pages, executable);
    Some(detour + MOVED_AT)
}

/// Returns a jump that ends at `next`.
fn jump(to: usize, next: usize) -> Option<[u8; JUMP]> {
    let distance = i32::try_from((to as i64).checked_sub(next as i64)?).ok()?;
    let mut bytes = [0xe9; JUMP];
    bytes[1..].copy_from_slice(&distance.to_le_bytes());
    Some(bytes)
}

/// Returns the code of a detour at an address, for the read at `from`.
fn detour_of(at: usize, from: usize, rest: &[u8], moved: &Moved) -> Option<[u8; DETOUR]> {
    #[rustfmt::skip]
    const CODE: [u8; MOVED_AT] = [
        // lea rsp, [rsp - 128]: what a function keeps there without a frame stays (the red zone).
        0x48, 0x8d, 0x64, 0x24, 0x80,
        // call [rip + …]: the last 8 bytes. It comes back 10 bytes later if it has no time.
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
    bytes[end..end + JUMP].copy_from_slice(&jump(back, at + end + JUMP)?);
    let give_time = (give_time as *const ()).addr();
    bytes[DETOUR - 8..].copy_from_slice(&give_time.to_le_bytes());
    Some(bytes)
}

/// Returns the address of a detour that is free and near to a text.
fn free_detour(text: &Range<usize>) -> Option<usize> {
    const NEAR: usize = 1 << 30;
    let page = DETOURS.load(Ordering::Relaxed);
    let used = USED.load(Ordering::Relaxed);
    if page != 0
        && used < PAGE / DETOUR
        && page.abs_diff(text.start).max(page.abs_diff(text.end)) < NEAR
    {
        USED.store(used + 1, Ordering::Relaxed);
        return Some(page + used * DETOUR);
    }
    let below = (1..=STEPS).map(|step| (text.start & !(PAGE - 1)).wrapping_sub(step * STEP));
    let page = below.into_iter().find_map(|place| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let arguments = [place, PAGE, protection as usize, flags as usize, usize::MAX, 0];
        // SAFETY: a new mapping where nothing is.
        let found = sys::checked(unsafe { sys::syscall(libc::SYS_mmap, arguments) }).ok()?;
        (found == place).then_some(place)
    })?;
    DETOURS.store(page, Ordering::Relaxed);
    USED.store(1, Ordering::Relaxed);
    prepare_state();
    Some(page)
}

fn protect(pages: &Range<usize>, protection: i32) -> Result<usize, i32> {
    let arguments = [pages.start, pages.end - pages.start, protection as usize, 0, 0, 0];
    // SAFETY: text of the program, which stays executable, or a page of this library's.
    sys::checked(unsafe { sys::syscall(libc::SYS_mprotect, arguments) })
}

/// The parts of the processor's state that functions of this library and libc may change: x87, SSE,
/// AVX, AVX-512 (Intel's manual, volume 1, 13.1).
const PARTS: u32 = 0b1110_0111;

/// Finds the size of these parts, in the form in which `xsave` writes them.
fn prepare_state() {
    const LEAF: u32 = 0xd;
    const LEGACY_AND_HEADER: u32 = 576;
    let parts = (2..8).filter(|part| PARTS & 1 << part != 0);
    let ends = parts.map(|part| {
        let about = __cpuid_count(LEAF, part);
        about.eax + about.ebx
    });
    let bytes = ends.fold(LEGACY_AND_HEADER, u32::max).next_multiple_of(64);
    STATE_BYTES.store(bytes as usize, Ordering::SeqCst);
}

/// Returns agreed time in nanoseconds, or 0 if the calling thread gets none here.
// specs: S12
extern "C" fn time() -> u64 {
    if !answers::is_begun() || !membership::takes_part() || world::is_child() {
        return 0;
    }
    let before = errno::current();
    let now = tsc::now();
    errno::set(before);
    now
}

/// Gives the time in edx and eax, and changes no other register. Comes back 10 bytes behind its
/// return address if there is none to give.
#[unsafe(naked)]
unsafe extern "C" fn give_time() {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset 6, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register 6",
        "pushfq",
        "push rcx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rax",
        "cld",
        "sub rsp, qword ptr [rip + {bytes}]",
        "and rsp, -64",
        "xor eax, eax",
        "mov qword ptr [rsp + 512], rax",
        "mov qword ptr [rsp + 520], rax",
        "mov qword ptr [rsp + 528], rax",
        "mov qword ptr [rsp + 536], rax",
        "mov qword ptr [rsp + 544], rax",
        "mov qword ptr [rsp + 552], rax",
        "mov qword ptr [rsp + 560], rax",
        "mov qword ptr [rsp + 568], rax",
        "mov eax, {parts}",
        "xor edx, edx",
        "xsave64 [rsp]",
        "call {time}",
        "mov qword ptr [rbp - 72], rax",
        "mov eax, {parts}",
        "xor edx, edx",
        "xrstor64 [rsp]",
        "lea rsp, [rbp - 72]",
        "pop rax",
        "test rax, rax",
        "jne 776f",
        "add qword ptr [rbp + 8], 10",
        "776:",
        "mov rdx, rax",
        "shr rdx, 32",
        "mov eax, eax",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rcx",
        "popfq",
        "pop rbp",
        ".cfi_def_cfa 7, 8",
        "ret",
        ".cfi_endproc",
        bytes = sym STATE_BYTES,
        parts = const PARTS,
        time = sym time,
    )
}
