//! Failure as libc reports it: -1 (or another value), and an error number in a variable of the
//! thread.

use std::ffi::c_int;

use crate::host_faults;

/// Sets the calling thread's errno.
pub(crate) fn set(error: c_int) {
    // SAFETY: libc gives a valid pointer to the thread's own errno.
    unsafe { *libc::__errno_location() = error };
}

/// Returns the calling thread's errno.
pub(crate) fn current() -> c_int {
    // SAFETY: as in `set`.
    unsafe { *libc::__errno_location() }
}

/// Turns a result into a call's return value: the value, or -1 with errno set.
pub(crate) fn answer(result: Result<usize, c_int>) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(error) => {
            host_faults::table(error);
            set(error);
            -1
        }
    }
}

/// Does the same as [`answer`], for calls that return an `int`.
pub(crate) fn answer_int(result: Result<usize, c_int>) -> c_int {
    answer(result) as c_int
}
