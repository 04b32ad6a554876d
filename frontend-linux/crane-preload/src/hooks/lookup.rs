//! dlsym: libraries that ask for the next `pthread_create` after themselves get ours.
//!
//! An allocator does (jemalloc, for its background thread): the thread would never take a turn, and
//! free memory whenever it likes. For everything else the real dlsym must see its true caller,
//! because what "next" means depends on it: so the hook is a jump, not a call.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use super::threads;
use crate::real::{DLSYM, find_dlsym};

/// Returns the hook's own answer; null: the real dlsym is due.
unsafe extern "C" fn own(handle: *mut c_void, name: *const c_char) -> *const c_void {
    find_dlsym();
    if handle != libc::RTLD_NEXT || name.is_null() {
        return ptr::null();
    }
    // SAFETY: dlsym's caller gives a string.
    if unsafe { CStr::from_ptr(name) } != c"pthread_create" {
        return ptr::null();
    }
    threads::hook_address()
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    std::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {own}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jne 2f",
        "mov rax, [rip + {real}]",
        "jmp rax",
        "2:",
        "ret",
        own = sym own,
        real = sym DLSYM,
    )
}
