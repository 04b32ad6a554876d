//! dlsym: a library that asks for the next `pthread_create` after itself gets this library's.
//!
//! One allocator does so (jemalloc, for its background thread). With libc's function, that thread
//! would never take a turn, and would free memory at any time. For all other names the real dlsym
//! must see its true caller, because the meaning of "next" depends on it, so the hook is a jump and
//! not a call.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use super::threads;
use crate::real::{DLSYM, find_dlsym};

/// Returns the hook's own answer, or null if the real dlsym is due.
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
