//! sleep, usleep, nanosleep, clock_nanosleep, sched_yield: waiting for agreed time.

use std::ffi::{c_int, c_uint};

use libc::{clockid_t, timespec};

use super::time::{after, deadline, duration};
use crate::errno;
use crate::turn::{Call, begin};

/// The clocks by which one can sleep; for others the kernel has the error.
const SLEEPS_BY: [clockid_t; 5] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_BOOTTIME,
    libc::CLOCK_TAI,
    libc::CLOCK_PROCESS_CPUTIME_ID,
];

/// Sleeps for nanoseconds; false: the real call is due.
fn sleep_for(nanoseconds: u64) -> bool {
    let Some(mut held) = begin(Call::Sleep, 0) else { return false };
    let until = after(&mut held, nanoseconds);
    held.sleep(until);
    held.end();
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's time.
    match unsafe { time.as_ref() }.map(duration) {
        Some(Some(nanoseconds)) if sleep_for(nanoseconds) => 0,
        Some(None) => errno::answer_int(Err(libc::EINVAL)),
        _ => {
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
    if until > held.world().run.gate.agreed() {
        held.sleep(until);
    }
    held.end();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(microseconds: c_uint) -> c_int {
    if sleep_for(u64::from(microseconds) * 1000) {
        return 0;
    }
    let real = real!(usleep: fn(c_uint) -> c_int);
    // SAFETY: plain numbers.
    unsafe { real(microseconds) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if sleep_for(u64::from(seconds) * 1_000_000_000) {
        return 0;
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
