//! The calling thread's cancellation state, as libc has it.

use std::ffi::c_int;

/// glibc's numbers.
const CANCEL_ENABLE: c_int = 0;
const CANCEL_DISABLE: c_int = 1;
const CANCEL_DEFERRED: c_int = 0;
const CANCEL_ASYNCHRONOUS: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
}

/// Returns whether the calling thread has cancellation enabled.
pub(crate) fn may_end() -> bool {
    let mut before = CANCEL_DISABLE;
    // SAFETY: a place of ours. As libc knows of no cancellation yet, nothing else happens here.
    unsafe {
        pthread_setcancelstate(CANCEL_DISABLE, &raw mut before);
        pthread_setcancelstate(before, std::ptr::null_mut());
    }
    before == CANCEL_ENABLE
}

/// A call that is no call of a function, and the way back to its thread's setting.
#[must_use]
pub(crate) struct Point(Setting);

enum Setting {
    /// The type was asynchronous: the call is a cancellation point.
    Type,
    /// The call is no cancellation point, and the state was this one.
    State(c_int),
}

/// Makes a system call that the program made without a function a cancellation point only if it is
/// one of libc's: libc makes those with the asynchronous type (glibc before 2.41).
pub(crate) fn keep_point() -> Point {
    let (mut kind, mut state) = (CANCEL_DEFERRED, CANCEL_ENABLE);
    // SAFETY: places of ours. libc knows of no cancellation, because the library keeps them.
    unsafe {
        pthread_setcanceltype(CANCEL_DEFERRED, &raw mut kind);
        if kind == CANCEL_ASYNCHRONOUS {
            return Point(Setting::Type);
        }
        pthread_setcancelstate(CANCEL_DISABLE, &raw mut state);
    }
    Point(Setting::State(state))
}

impl Point {
    /// Restores the thread's setting.
    pub(crate) fn leave(self) {
        let mut before = 0;
        // SAFETY: as above.
        unsafe {
            match self.0 {
                Setting::Type => pthread_setcanceltype(CANCEL_ASYNCHRONOUS, &raw mut before),
                Setting::State(state) => pthread_setcancelstate(state, &raw mut before),
            };
        }
    }
}
