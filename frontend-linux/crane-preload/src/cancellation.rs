//! The calling thread's cancellation state, as libc has it.

use std::ffi::c_int;

/// glibc's numbers.
const CANCEL_ENABLE: c_int = 0;
const CANCEL_DISABLE: c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
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
