//! sigwait and its family, sigsuspend, pause: a thread waits for signals in the turn.

use std::ffi::c_int;
use std::ptr;

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::sys;
use libc::{siginfo_t, sigset_t, timespec};

use super::time::{after, duration};
use crate::errno;
use crate::execution::On;
use crate::posting;
use crate::signals;
use crate::turn::{Call, Held, begin};

/// Takes a signal of `wanted` that the kernel keeps for the calling thread or the process.
fn take_pending(wanted: u64, info: *mut siginfo_t) -> Result<c_int, c_int> {
    let limit = timespec { tv_sec: 0, tv_nsec: 0 };
    let (set, limit) = ((&raw const wanted).addr(), (&raw const limit).addr());
    let mut own = std::mem::MaybeUninit::<siginfo_t>::zeroed();
    let place = if info.is_null() { own.as_mut_ptr() } else { info };
    let arguments = [set, place.addr(), limit, size_of::<u64>(), 0, 0];
    loop {
        // SAFETY: a mask and a time of ours; the caller's place, or ours.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_rt_sigtimedwait, arguments) });
        // SAFETY: the kernel has written the record.
        if result.is_ok() && !signals::kept::receive(unsafe { &mut *place }) {
            continue;
        }
        return result.map(|signal| signal as c_int);
    }
}

/// Waits for a signal of `wanted`, at most `limit` nanoseconds.
fn wait(
    mut held: Held,
    wanted: u64,
    info: *mut siginfo_t,
    limit: Option<u64>,
) -> Result<c_int, c_int> {
    let me = held.me;
    held.world().awaited |= wanted;
    let deadline = limit.map_or(NEVER, |limit| after(&mut held, limit));
    let mut expired = limit == Some(0);
    let result = loop {
        posting::settle(held.world(), me);
        match take_pending(wanted, info) {
            Err(libc::EAGAIN) if expired => break Err(libc::EAGAIN),
            // The limit of the call in the kernel, which does not wait.
            Err(libc::EAGAIN | libc::EINTR) => {}
            result => break result,
        }
        held.world().threads[me.0 as usize].awaited = wanted;
        let woken = held.wait_or_signal(On::Signal(me), deadline);
        held.world().threads[me.0 as usize].awaited = 0;
        match woken {
            Ok(Woken::Called) => {}
            Ok(Woken::Expired) => expired = true,
            // The handler of another signal ran (sigwaitinfo(2)).
            Err(_) => break Err(libc::EINTR),
        }
        if held.cancelled {
            break Err(libc::EINTR);
        }
    };
    held.end();
    result
}

/// Answers rt_sigtimedwait(2), or returns `None` if the real call is due.
pub(super) fn timed_wait(
    wanted: u64,
    info: *mut siginfo_t,
    limit: *const timespec,
) -> Option<Result<c_int, c_int>> {
    // SAFETY: the caller's time, if it gave one.
    let limit = unsafe { limit.as_ref() }.map(duration);
    let mut held = begin(Call::Signal, 0)?;
    held.cancellable = true;
    match limit {
        Some(None) => {
            held.end();
            Some(Err(libc::EINVAL))
        }
        limit => Some(wait(held, wanted, info, limit.flatten())),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigtimedwait(
    set: *const sigset_t,
    info: *mut siginfo_t,
    limit: *const timespec,
) -> c_int {
    // SAFETY: the caller's set.
    match timed_wait(unsafe { signals::mask_at(set) }.unwrap_or(0), info, limit) {
        Some(result) => errno::answer_int(result.map(|signal| signal as usize)),
        None => {
            let real = real!(
                sigtimedwait: fn(*const sigset_t, *mut siginfo_t, *const timespec) -> c_int
            );
            // SAFETY: the caller's own arguments.
            unsafe { real(set, info, limit) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigwaitinfo(set: *const sigset_t, info: *mut siginfo_t) -> c_int {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { sigtimedwait(set, info, ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int {
    loop {
        // SAFETY: the caller's set.
        let wanted = unsafe { signals::mask_at(set) }.unwrap_or(0);
        match timed_wait(wanted, ptr::null_mut(), ptr::null()) {
            // SAFETY: the caller's place.
            Some(Ok(found)) => unsafe {
                *signal = found;
                return 0;
            },
            // libc does the same.
            Some(Err(libc::EINTR)) => {}
            Some(Err(error)) => return error,
            None => {
                let real = real!(sigwait: fn(*const sigset_t, *mut c_int) -> c_int);
                // SAFETY: the caller's own arguments.
                return unsafe { real(set, signal) };
            }
        }
    }
}

/// Waits until a handler has run, with another mask if one is given. Returns `false` if the real
/// call is due.
fn suspend(mask: Option<u64>) -> bool {
    let Some(mut held) = begin(Call::Signal, 0) else { return false };
    held.cancellable = true;
    let me = held.me;
    // Signals that the mask unblocks are posted at once.
    let before = mask.map(|mask| posting::open_mask(me, mask));
    while held.wait_or_signal(On::Signal(me), NEVER).is_ok() && !held.cancelled {}
    if let Some(before) = before {
        signals::set_mask(before);
    }
    held.end();
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigsuspend(mask: *const sigset_t) -> c_int {
    // SAFETY: the caller's mask.
    if suspend(unsafe { signals::mask_at(mask) }) {
        return errno::answer_int(Err(libc::EINTR));
    }
    let real = real!(sigsuspend: fn(*const sigset_t) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(mask) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pause() -> c_int {
    if suspend(None) {
        return errno::answer_int(Err(libc::EINTR));
    }
    let real = real!(pause: fn() -> c_int);
    // SAFETY: no arguments.
    unsafe { real() }
}
