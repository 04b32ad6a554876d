//! Failure as libc reports it: -1 (or another value), and a number in a thread's own variable.

use std::ffi::c_int;

/// Sets the calling thread's errno.
pub(crate) fn set(error: c_int) {
    // SAFETY: libc gives a valid pointer to the thread's own errno.
    unsafe { *libc::__errno_location() = error };
}

/// The calling thread's errno.
pub(crate) fn current() -> c_int {
    // SAFETY: as in `set`.
    unsafe { *libc::__errno_location() }
}

/// Turns a result into a call's return value: the value, or -1 and errno.
pub(crate) fn answer(result: Result<usize, c_int>) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(error) => {
            set(error);
            -1
        }
    }
}

/// As [`answer`], for calls that return an `int`.
pub(crate) fn answer_int(result: Result<usize, c_int>) -> c_int {
    answer(result) as c_int
}
