//! pthread_sigmask, sigprocmask: libc's, whose call is silent, without the net's own signals.

use std::ffi::c_int;

use libc::sigset_t;

use crate::membership::takes_part;
use crate::net::OWN;

/// Calls a function of libc's with a set that lacks the net's signals, if this process has a net.
fn without_own(set: *const sigset_t, call: impl FnOnce(*const sigset_t) -> c_int) -> c_int {
    if set.is_null() || !takes_part() {
        return call(set);
    }
    const WORDS: usize = size_of::<sigset_t>() / 8;
    let mut given = [0_u64; WORDS];
    // SAFETY: the caller's own set, of which the first word has the kernel's signals.
    given[0] = unsafe { set.cast::<u64>().read() } & !OWN;
    call(given.as_ptr().cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    let real = real!(pthread_sigmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int);
    // SAFETY: the caller's own arguments, but for the set, which is alive for the call.
    without_own(set, |set| unsafe { real(how, set, old) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let real = real!(sigprocmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int);
    // SAFETY: as above.
    without_own(set, |set| unsafe { real(how, set, old) })
}
