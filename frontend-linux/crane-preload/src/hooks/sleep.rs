//! sleep, usleep, nanosleep, clock_nanosleep, sched_yield: waits for agreed time.

use std::ffi::{c_int, c_uint};

use libc::{clockid_t, timespec};

use super::time::{SECOND, after, deadline, duration, timespec_of};
use crate::errno;
use crate::turn::{Call, Held, begin};

/// The clocks by which a thread can sleep. For others the kernel returns the error.
const SLEEPS_BY: [clockid_t; 5] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_BOOTTIME,
    libc::CLOCK_TAI,
    libc::CLOCK_PROCESS_CPUTIME_ID,
];

/// Sleeps for nanoseconds. Returns the rest if a handler ends the sleep early, or `None` if the
/// real call is due.
fn sleep_for(nanoseconds: u64) -> Option<Result<(), u64>> {
    let mut held = begin(Call::Sleep, 0)?;
    let until = after(&mut held, nanoseconds);
    let slept = sleep_until(&mut held, until);
    held.end();
    Some(slept)
}

/// Sleeps until agreed time reaches `until`. Fails with the rest if a handler ends the sleep early.
fn sleep_until(held: &mut Held, until: u64) -> Result<(), u64> {
    let slept = held.sleep(until);
    let agreed = held.world().run.gate.agreed();
    slept.map_err(|_| until.saturating_sub(agreed))
}

/// Writes the rest of a sleep, if the caller asks for it.
///
/// # Safety
/// `place` is null or the caller's place for a time.
unsafe fn give_left(place: *mut timespec, nanoseconds: u64) {
    let left = timespec_of(nanoseconds);
    if !place.is_null() {
        // SAFETY: the caller's duty.
        unsafe { place.write(left) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's time.
    let given = unsafe { time.as_ref() }.map(duration);
    if given == Some(None) {
        return errno::answer_int(Err(libc::EINVAL));
    }
    match given.flatten().and_then(sleep_for) {
        Some(Ok(())) => 0,
        Some(Err(nanoseconds)) => {
            // SAFETY: the caller's own place.
            unsafe { give_left(left, nanoseconds) };
            errno::answer_int(Err(libc::EINTR))
        }
        None => {
            let real = real!(nanosleep: fn(*const timespec, *mut timespec) -> c_int);
            // SAFETY: the caller's own arguments.
            unsafe { real(time, left) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    // SAFETY: the caller's time.
    let given = unsafe { time.as_ref() };
    let Some(nanoseconds) = given.and_then(duration) else { return libc::EINVAL };
    let held = if SLEEPS_BY.contains(&clock) { begin(Call::Sleep, 0) } else { None };
    let Some(mut held) = held else {
        let real =
            real!(clock_nanosleep: fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(clock, flags, time, left) };
    };
    let until = if flags & libc::TIMER_ABSTIME != 0 {
        deadline(&mut held, clock, time)
    } else {
        after(&mut held, nanoseconds)
    };
    let is_ahead = until > held.world().run.gate.agreed();
    let slept = if is_ahead { sleep_until(&mut held, until) } else { Ok(()) };
    held.end();
    let Err(nanoseconds) = slept else { return 0 };
    if flags & libc::TIMER_ABSTIME == 0 {
        // SAFETY: the caller's own place.
        unsafe { give_left(left, nanoseconds) };
    }
    libc::EINTR
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(microseconds: c_uint) -> c_int {
    if let Some(slept) = sleep_for(u64::from(microseconds) * 1000) {
        return errno::answer_int(slept.map(|()| 0).map_err(|_| libc::EINTR));
    }
    let real = real!(usleep: fn(c_uint) -> c_int);
    // SAFETY: plain numbers.
    unsafe { real(microseconds) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if let Some(slept) = sleep_for(u64::from(seconds) * SECOND) {
        // The rest is in whole seconds, rounded as libc rounds them.
        return slept.map_or_else(|left| (left / SECOND) as c_uint, |()| 0);
    }
    let real = real!(sleep: fn(c_uint) -> c_uint);
    // SAFETY: plain numbers.
    unsafe { real(seconds) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    if let Some(held) = begin(Call::Yield, 0) {
        held.end_and_yield();
        return 0;
    }
    let real = real!(sched_yield: fn() -> c_int);
    // SAFETY: no arguments.
    unsafe { real() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_yield() -> c_int {
    // SAFETY: no arguments.
    unsafe { sched_yield() }
}
