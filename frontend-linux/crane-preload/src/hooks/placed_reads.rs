//! pread and its family, by which databases read their files: libc's own, unchanged. What has
//! places can be read without a wait, and the rest fails.
//!
//! Each of libc's own calls would be caught by the net where there is a floor, for microseconds.

use std::ffi::{c_int, c_void};

use libc::{iovec, off_t, size_t};

use super::room;
use crate::errno;

/// Defines functions that make libc's own calls.
macro_rules! placed {
    ($($name:ident($file:ident: c_int, $($argument:ident: $kind:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($file: c_int, $($argument: $kind),*) -> isize {
            let real = real!($name: fn(c_int, $($kind),*) -> isize);
            // SAFETY: the caller's own arguments.
            let result = unsafe { real($file, $($argument),*) };
            if result < 0 {
                room::check_open(stringify!($name), $file, errno::current());
            }
            result
        }
    )*};
}

placed! {
    pread(descriptor: c_int, start: *mut c_void, length: size_t, at: off_t);
    pread64(descriptor: c_int, start: *mut c_void, length: size_t, at: off_t);
    preadv(descriptor: c_int, start: *const iovec, count: c_int, at: off_t);
    preadv64(descriptor: c_int, start: *const iovec, count: c_int, at: off_t);
}
