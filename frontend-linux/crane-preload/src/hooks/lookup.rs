//! dlsym: libraries that ask for the next `pthread_create` after themselves get ours.
//!
//! An allocator does (jemalloc, for its background thread): the thread would never take a turn, and
//! free memory whenever it likes. For everything else the real dlsym must see its true caller,
//! because what "next" means depends on it: so the hook is a jump, not a call.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::threads;

/// The real dlsym.
static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// The versions under which libc has had it: its own since 2.34, libdl's before.
const VERSIONS: [&CStr; 2] = [c"GLIBC_2.34", c"GLIBC_2.2.5"];

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// The real dlsym, as if called by this library.
pub fn next(name: &CStr) -> *mut c_void {
    find_real();
    // SAFETY: `find_real` has put dlsym's address there.
    let real = unsafe { std::mem::transmute::<*mut c_void, Dlsym>(REAL.load(Ordering::Relaxed)) };
    // SAFETY: the name ends with a zero byte.
    unsafe { real(libc::RTLD_NEXT, name.as_ptr()) }
}

fn find_real() {
    if REAL.load(Ordering::Relaxed).is_null() {
        let found = VERSIONS.into_iter().find_map(|version| {
            // SAFETY: both strings end with zero bytes; dlvsym is not hooked.
            let found =
                unsafe { libc::dlvsym(libc::RTLD_NEXT, c"dlsym".as_ptr(), version.as_ptr()) };
            (!found.is_null()).then_some(found)
        });
        REAL.store(found.expect("libc has dlsym"), Ordering::Relaxed);
    }
}

/// What the hook answers itself; null: the real dlsym is due.
unsafe extern "C" fn own(handle: *mut c_void, name: *const c_char) -> *const c_void {
    find_real();
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
        real = sym REAL,
    )
}
