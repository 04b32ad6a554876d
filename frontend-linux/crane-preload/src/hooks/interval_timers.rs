//! alarm, ualarm, setitimer, getitimer: the interval timer of real time, by agreed time. Those of
//! processor time stay the kernel's.

use std::ffi::{c_int, c_uint};
use std::ptr;

use crane_shm::sys;
use libc::{itimerspec, itimerval, timespec, timeval, useconds_t};

use super::timer_descriptors::{FULL, remaining, set};
use crate::descriptors::TimerIndex;
use crate::errno;
use crate::expirations;
use crate::notes::{full, uncovered};
use crate::processes;
use crate::timers::Expires;
use crate::turn::{Call, Held, begin};
use crate::world::World;

const MICROSECONDS: i64 = 1_000_000;
const ZERO: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// Returns the process's timer of real time; makes it with the first call. `None`: the table is
/// full, and the real call is due.
fn interval_timer(world: &mut World) -> Option<TimerIndex> {
    let own = processes::own();
    if world.processes.frontend(own).interval_timer.is_none() {
        let made = world.timers.make(Expires::Alarm, libc::CLOCK_MONOTONIC);
        if made.is_none() {
            full(world, FULL);
        }
        world.processes.frontend(own).interval_timer = made;
    }
    world.processes.frontend(own).interval_timer
}

/// Starts a call about the timer of real time. `None`: the real call is due.
fn begin_interval(which: c_int) -> Option<(Held, TimerIndex)> {
    let mut held = begin(Call::Timer, which as u32)?;
    let timer = match which {
        libc::ITIMER_REAL => interval_timer(held.world()),
        libc::ITIMER_VIRTUAL | libc::ITIMER_PROF => {
            uncovered(held.world(), "a timer of processor time, which each host spends by itself");
            None
        }
        _ => None,
    };
    let Some(timer) = timer else {
        held.end();
        return None;
    };
    expirations::expire(held.world());
    Some((held, timer))
}

fn as_spec(value: &itimerval) -> Option<itimerspec> {
    let time = |time: &timeval| {
        let valid = (0..MICROSECONDS).contains(&time.tv_usec);
        valid.then_some(timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_usec * 1000 })
    };
    Some(itimerspec { it_interval: time(&value.it_interval)?, it_value: time(&value.it_value)? })
}

fn as_value(spec: &itimerspec) -> itimerval {
    // A timer that runs has a microsecond left at least: 0 means that it is stopped.
    let time = |time: &timespec| timeval {
        tv_sec: time.tv_sec,
        tv_usec: (time.tv_nsec / 1000).max(i64::from(time.tv_sec == 0 && time.tv_nsec > 0)),
    };
    itimerval { it_interval: time(&spec.it_interval), it_value: time(&spec.it_value) }
}

/// Sets the timer of real time, and returns what it was. `None`: the real call is due.
fn exchange(value: &itimerval) -> Option<Result<itimerval, c_int>> {
    let (mut held, timer) = begin_interval(libc::ITIMER_REAL)?;
    let before = as_value(&remaining(held.world(), timer));
    let result = match as_spec(value) {
        Some(spec) => set(&mut held, timer, &spec, false),
        None => Err(libc::EINVAL),
    };
    held.end();
    Some(result.map(|()| before))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setitimer(
    which: c_int,
    value: *const itimerval,
    before: *mut itimerval,
) -> c_int {
    let real = || {
        let arguments = [which as usize, value.addr(), before.addr(), 0, 0, 0];
        // SAFETY: the caller's own arguments.
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_setitimer, arguments) }))
    };
    if which != libc::ITIMER_REAL {
        if let Some((held, _)) = begin_interval(which) {
            held.end();
        }
        return real();
    }
    let stopped = as_value(&itimerspec { it_interval: ZERO, it_value: ZERO });
    // SAFETY: the caller's own value, if it gives one; without it, the kernel stops the timer.
    match exchange(unsafe { value.as_ref() }.unwrap_or(&stopped)) {
        None => real(),
        Some(Err(error)) => errno::answer_int(Err(error)),
        Some(Ok(was)) => {
            if !before.is_null() {
                // SAFETY: the caller's own place.
                unsafe { before.write(was) };
            }
            0
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getitimer(which: c_int, value: *mut itimerval) -> c_int {
    if which == libc::ITIMER_REAL
        && !value.is_null()
        && let Some((mut held, timer)) = begin_interval(which)
    {
        let left = as_value(&remaining(held.world(), timer));
        held.end();
        // SAFETY: the caller's own place.
        unsafe { value.write(left) };
        return 0;
    }
    let arguments = [which as usize, value.addr(), 0, 0, 0, 0];
    // SAFETY: the caller's own arguments.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_getitimer, arguments) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn alarm(seconds: c_uint) -> c_uint {
    let time = |seconds: i64| timeval { tv_sec: seconds, tv_usec: 0 };
    let value = itimerval { it_interval: time(0), it_value: time(i64::from(seconds)) };
    match exchange(&value) {
        Some(Ok(before)) => {
            // Rounded as in Linux, and never to 0 while it runs.
            let itimerval { it_value: timeval { tv_sec, tv_usec }, .. } = before;
            let up = tv_usec >= MICROSECONDS / 2 || (tv_sec == 0 && tv_usec > 0);
            (tv_sec + i64::from(up)) as c_uint
        }
        _ => {
            // SAFETY: alarm touches no memory.
            unsafe { sys::syscall(libc::SYS_alarm, [seconds as usize, 0, 0, 0, 0, 0]) as c_uint }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ualarm(value: useconds_t, interval: useconds_t) -> useconds_t {
    let time = |time: useconds_t| timeval {
        tv_sec: i64::from(time) / MICROSECONDS,
        tv_usec: i64::from(time) % MICROSECONDS,
    };
    let value = itimerval { it_interval: time(interval), it_value: time(value) };
    let mut before = itimerval { it_interval: time(0), it_value: time(0) };
    // SAFETY: values of ours; the symbol is this library's own.
    if unsafe { setitimer(libc::ITIMER_REAL, ptr::from_ref(&value), &raw mut before) } != 0 {
        return useconds_t::MAX;
    }
    (before.it_value.tv_sec * MICROSECONDS + before.it_value.tv_usec) as useconds_t
}
