//! pthread_sigmask, sigprocmask: libc's, whose call is silent, without the net's own signals; and
//! sigpending.

use std::ffi::c_int;

use libc::sigset_t;

use super::exits;
use crate::errno;
use crate::membership::takes_part;
use crate::net::{self, OWN};
use crate::posting;
use crate::processes;
use crate::signals;
use crate::turn::{Call, begin, enter};

/// Calls a function of libc's with a set that lacks the net's signals, if this process has a net.
fn without_own(
    how: c_int,
    set: *const sigset_t,
    call: impl FnOnce(*const sigset_t) -> c_int,
) -> c_int {
    if set.is_null() || !takes_part() {
        return call(set);
    }
    const WORDS: usize = size_of::<sigset_t>() / 8;
    let mut given = [0_u64; WORDS];
    // SAFETY: the caller's own set, of which the first word has the kernel's signals.
    given[0] = unsafe { set.cast::<u64>().read() } & !OWN;
    before_change(how, given[0]);
    call(given.as_ptr().cast())
}

/// Prepares for a change of the calling thread's mask, which may let signals in that other
/// processes have sent.
pub(crate) fn before_change(how: c_int, given: u64) {
    if !processes::has_made() || !takes_part() {
        return;
    }
    settle();
    let mask = match how {
        libc::SIG_UNBLOCK => !given,
        libc::SIG_SETMASK => given,
        _ => return,
    };
    if let Some(signal) = posting::fatal_outside(mask)
        && let Some(held) = begin(Call::Signal, signal as u32)
    {
        exits::end_by_signal(held, signal);
    }
}

/// Has the kernel keep the signals that were sent to this process and that its threads block.
fn settle() {
    if signals::any()
        && let Some(mut held) = enter()
    {
        let me = held.me;
        posting::settle(held.world(), me);
        held.leave();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    let real = real!(pthread_sigmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int);
    // SAFETY: the caller's own arguments, but for the set, which is alive for the call.
    without_own(how, set, |set| unsafe { real(how, set, old) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let real = real!(sigprocmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int);
    // SAFETY: as above.
    without_own(how, set, |set| unsafe { real(how, set, old) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigpending(set: *mut sigset_t) -> c_int {
    if let Some(answer) = pending_by_number(set.addr(), size_of::<u64>()) {
        return answer;
    }
    let real = real!(sigpending: fn(*mut sigset_t) -> c_int);
    // SAFETY: the caller's own place.
    unsafe { real(set) }
}

/// rt_sigpending(2), by its number. Returns `None` if the calling thread takes no part.
pub(super) fn pending_by_number(place: usize, size: usize) -> Option<c_int> {
    if !takes_part() {
        return None;
    }
    settle();
    let bytes = signals::pending().to_ne_bytes();
    let result = match bytes.get(..size) {
        None => Err(libc::EINVAL),
        Some(bytes) => bytes.iter().enumerate().try_for_each(|(at, byte)| {
            let is_written = place != 0 && net::write(place + at, byte);
            if is_written { Ok(()) } else { Err(libc::EFAULT) }
        }),
    };
    Some(errno::answer_int(result.map(|()| 0)))
}
