//! The needs of a program without libc on x86-64 Linux: a first instruction, two system calls, and
//! the functions that the compiler calls for large values.

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym crate::main,
);

/// Writes to standard error. Bytes that cannot be written are lost.
pub fn say(text: &str) {
    // SAFETY: write(2) reads `text` only, which lives for the whole call; the registers that the
    // kernel changes are named.
    unsafe {
        asm!("syscall", inlateout("rax") 1u64 => _, in("rdi") 2u64, in("rsi") text.as_ptr(),
             in("rdx") text.len(), lateout("rcx") _, lateout("r11") _, options(nostack));
    }
}

/// Ends the program.
pub fn exit(status: i32) -> ! {
    // SAFETY: exit_group(2) does not return and touches no memory of this program.
    unsafe { asm!("syscall", in("rax") 231u64, in("rdi") status, options(noreturn, nostack)) }
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    say(info.message().as_str().unwrap_or("an assertion failed"));
    say("\n");
    exit(101)
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` bytes at both places that do not overlap.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: a copy from the front reads each byte before it overwrites it.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: a copy from the back reads each byte before it overwrites it; the direction flag is
    // set only during the copy; `count` is not 0.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
             inout("rdi") to.add(count - 1) => _, inout("rsi") from.add(count - 1) => _,
             options(nostack));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller promises `count` bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
             options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller promises `count` bytes at both places. A volatile read keeps the
        // compiler from making a call of this function out of the loop.
        let (a, b) = unsafe { (one.add(index).read_volatile(), other.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: as for `memcmp`.
    unsafe { memcmp(one, other, count) }
}

/// Satisfies the prebuilt core library, which names this function. The program never unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
