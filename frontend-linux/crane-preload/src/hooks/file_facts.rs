//! stat and its family, which servers call with each request: the kernel's answers, unchanged.
//!
//! Each of libc's own calls would be caught by the net where there is a floor, for microseconds.

use std::ffi::{c_char, c_int};

use crane_shm::sys;
use libc::stat as Facts;

use crate::errno;

/// Defines functions of one kind for both of libc's names.
macro_rules! facts {
    ($($name:ident $large:ident ($($argument:ident: $kind:ty),*) => $number:ident;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $kind),*) -> c_int {
            let mut arguments = [0; 6];
            let given = [$($argument as usize),*];
            arguments[..given.len()].copy_from_slice(&given);
            // SAFETY: the caller's own arguments.
            errno::answer_int(sys::checked(unsafe { sys::syscall(libc::$number, arguments) }))
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $large($($argument: $kind),*) -> c_int {
            // SAFETY: the caller's own arguments, which are the same on this machine; the symbol is
            // this library's own.
            unsafe { $name($($argument),*) }
        }
    )*};
}

facts! {
    stat stat64(path: *const c_char, facts: *mut Facts) => SYS_stat;
    lstat lstat64(path: *const c_char, facts: *mut Facts) => SYS_lstat;
    fstat fstat64(descriptor: c_int, facts: *mut Facts) => SYS_fstat;
    fstatat fstatat64(
        directory: c_int, path: *const c_char, facts: *mut Facts, flags: c_int
    ) => SYS_newfstatat;
}
