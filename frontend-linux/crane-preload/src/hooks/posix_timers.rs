//! timer_create and its family: timers that send a signal, call a function in a thread of their
//! own, or only count, by agreed time. Those of processor time stay the kernel's.

use std::ffi::{c_int, c_void};
use std::ptr;

use crane_core::execution::turn::NEVER;
use libc::{clockid_t, itimerspec, sigevent, sigval, timer_t};

use super::timer_descriptors::{FULL, remaining, set};
use crate::descriptors::TimerIndex;
use crate::errno;
use crate::execution::On;
use crate::expirations;
use crate::notes::{full, uncovered};
use crate::posting::find_by_tid;
use crate::signals;
use crate::timers::{Expires, Signal, TIMERS};
use crate::turn::{Call, Held, begin};
use crate::world::World;

/// The first of this library's handles: above the kernel's numbers, and below libc's, which are
/// addresses.
const HANDLES: usize = 0x4000_0000;

/// Clocks that advance with agreed time.
const CLOCKS: [clockid_t; 4] =
    [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI];

type Function = extern "C" fn(sigval);

/// `struct sigevent` for `SIGEV_THREAD`.
#[repr(C)]
struct ByThread {
    value: sigval,
    signal: c_int,
    notify: c_int,
    function: Option<Function>,
    attributes: *mut libc::pthread_attr_t,
}

/// Starts a call about a timer of ours. `None`: the real call is due.
fn begin_timer(handle: timer_t) -> Option<(Held, TimerIndex)> {
    let index = handle.addr().checked_sub(HANDLES).filter(|index| *index < TIMERS)?;
    let mut held = begin(Call::Timer, index as u32)?;
    expirations::expire(held.world());
    Some((held, TimerIndex(index as u16)))
}

/// Returns whether the place has a timer of this family.
fn exists(world: &mut World, timer: TimerIndex) -> bool {
    let expires = world.timers.at(timer).expires;
    matches!(expires, Expires::Signal(_) | Expires::Count | Expires::Thread)
}

/// Returns what an expiration does, for all but threads.
fn expires(world: &World, event: &sigevent, timer: TimerIndex) -> Result<Expires, c_int> {
    let signal = Signal {
        number: event.sigev_signo,
        thread: None,
        value: event.sigev_value.sival_ptr.addr(),
        timer: i32::from(timer.0),
    };
    match event.sigev_notify {
        libc::SIGEV_NONE => Ok(Expires::Count),
        libc::SIGEV_SIGNAL | libc::SIGEV_THREAD_ID if signals::bit(signal.number) == 0 => {
            Err(libc::EINVAL)
        }
        libc::SIGEV_SIGNAL => Ok(Expires::Signal(signal)),
        libc::SIGEV_THREAD_ID => {
            let thread = find_by_tid(world, event.sigev_notify_thread_id).ok_or(libc::EINVAL)?;
            Ok(Expires::Signal(Signal { thread: Some(thread), ..signal }))
        }
        _ => Err(libc::EINVAL),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timer_create(
    clock: clockid_t,
    event: *mut sigevent,
    handle: *mut timer_t,
) -> c_int {
    let real = || {
        let real = real!(timer_create: fn(clockid_t, *mut sigevent, *mut timer_t) -> c_int);
        // SAFETY: the caller's own arguments.
        unsafe { real(clock, event, handle) }
    };
    let Some(mut held) = begin(Call::Timer, 0) else { return real() };
    let world = held.world();
    if !CLOCKS.contains(&clock) {
        uncovered(world, "a timer of processor time, which each host spends by itself");
        held.end();
        return real();
    }
    let Some(timer) = world.timers.make(Expires::Count, clock) else {
        full(world, FULL);
        held.end();
        return real();
    };
    // SAFETY: the caller's own event, if it gave one.
    let event = unsafe { event.as_ref() };
    let by_thread = event.filter(|event| event.sigev_notify == libc::SIGEV_THREAD);
    // SAFETY: an event for a thread has these fields.
    let by_thread = by_thread.map(|event| unsafe { &*ptr::from_ref(event).cast::<ByThread>() });
    let result = match event {
        None => Ok(Expires::Signal(Signal {
            number: libc::SIGALRM,
            thread: None,
            value: usize::from(timer.0) + HANDLES,
            timer: i32::from(timer.0),
        })),
        Some(_) if by_thread.is_some_and(|by_thread| by_thread.function.is_none()) => {
            Err(libc::EINVAL)
        }
        Some(_) if by_thread.is_some() => Ok(Expires::Thread),
        Some(event) => expires(world, event, timer),
    };
    match result {
        Ok(expires) => world.timers.at(timer).expires = expires,
        Err(_) => world.timers.free(timer),
    }
    held.end();
    let result = match (result, by_thread) {
        (Ok(_), Some(by_thread)) => start_thread(timer, by_thread),
        (result, _) => result.map(|_| 0),
    };
    if result.is_ok() {
        // SAFETY: the caller's own place.
        unsafe { handle.write(ptr::without_provenance_mut(HANDLES + usize::from(timer.0))) };
    }
    errno::answer_int(result)
}

/// Returns whether a number is a handle of ours, as the kernel's own calls have it.
pub(super) fn is_ours(handle: usize) -> bool {
    handle.checked_sub(HANDLES).is_some_and(|index| index < TIMERS)
}

/// timer_create(2), by its number: a handle has 4 bytes there. Returns `None` for what stays the
/// kernel's: processor time, and an event that only libc knows.
///
/// # Safety
/// As unsafe as the call.
pub(super) unsafe fn create_by_number(
    clock: clockid_t,
    event: *mut sigevent,
    handle: *mut c_int,
) -> Option<c_int> {
    // SAFETY: the caller's own event, if it gave one.
    let notify = unsafe { event.as_ref() }.map(|event| event.sigev_notify);
    if !CLOCKS.contains(&clock) || notify == Some(libc::SIGEV_THREAD) || handle.is_null() {
        return None;
    }
    let mut ours: timer_t = ptr::null_mut();
    // SAFETY: as above, and a place of ours; the symbol is this library's own.
    let result = unsafe { timer_create(clock, event, &raw mut ours) };
    if result == 0 {
        // SAFETY: the caller's place.
        unsafe { handle.write(ours.addr() as c_int) };
    }
    Some(result)
}

/// The work of a thread that calls the function of a timer.
struct Work {
    timer: TimerIndex,
    function: Function,
    value: sigval,
}

/// Makes the thread of a timer. Each expiration calls the function there, one after the other.
fn start_thread(timer: TimerIndex, event: &ByThread) -> Result<usize, c_int> {
    let Some(function) = event.function else { return Err(libc::EINVAL) };
    // Outside of the turn's hooks, an allocation is the program's own.
    let work = Box::into_raw(Box::new(Work { timer, function, value: event.value }));
    let mut thread: libc::pthread_t = 0;
    // SAFETY: the routine takes the work over; the symbol is this library's own.
    let error =
        unsafe { libc::pthread_create(&raw mut thread, event.attributes, serve, work.cast()) };
    if error == 0 {
        return Ok(0);
    }
    // SAFETY: no thread has taken it over.
    drop(unsafe { Box::from_raw(work) });
    if let Some(mut held) = begin(Call::Timer, 0) {
        held.world().timers.free(timer);
        held.end();
    }
    Err(libc::EAGAIN)
}

extern "C" fn serve(work: *mut c_void) -> *mut c_void {
    // SAFETY: the work that `start_thread` gave away.
    let Work { timer, function, value } = *unsafe { Box::from_raw(work.cast::<Work>()) };
    // SAFETY: the calling thread's own handle; one that is detached already has an error.
    unsafe { libc::pthread_detach(libc::pthread_self()) };
    while await_expiration(timer) {
        function(value);
    }
    ptr::null_mut()
}

/// Waits until the timer has expired once more. False: it is deleted.
fn await_expiration(timer: TimerIndex) -> bool {
    let Some(mut held) = begin(Call::Timer, u32::from(timer.0)) else { return false };
    let goes_on = loop {
        let timer_now = held.world().timers.at(timer);
        if timer_now.expires == Expires::Deleted {
            held.world().timers.free(timer);
            break false;
        }
        if timer_now.unserved > 0 {
            timer_now.unserved -= 1;
            break true;
        }
        held.wait(On::Expiration(timer), NEVER);
    };
    held.end();
    goes_on
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timer_settime(
    handle: timer_t,
    flags: c_int,
    wanted: *const itimerspec,
    before: *mut itimerspec,
) -> c_int {
    let Some((mut held, timer)) = begin_timer(handle) else {
        let real = real!(
            timer_settime: fn(timer_t, c_int, *const itimerspec, *mut itimerspec) -> c_int
        );
        // SAFETY: the caller's own arguments.
        return unsafe { real(handle, flags, wanted, before) };
    };
    // SAFETY: the caller's own time.
    let result = match unsafe { wanted.as_ref() } {
        Some(wanted) if exists(held.world(), timer) => {
            let was = remaining(held.world(), timer);
            set(&mut held, timer, wanted, flags & libc::TIMER_ABSTIME != 0).map(|()| was)
        }
        _ => Err(libc::EINVAL),
    };
    expirations::expire(held.world());
    held.end();
    if let Ok(was) = result
        && !before.is_null()
    {
        // SAFETY: the caller's own place.
        unsafe { before.write(was) };
    }
    errno::answer_int(result.map(|_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timer_gettime(handle: timer_t, current: *mut itimerspec) -> c_int {
    let Some((mut held, timer)) = begin_timer(handle) else {
        let real = real!(timer_gettime: fn(timer_t, *mut itimerspec) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(handle, current) };
    };
    let result = match exists(held.world(), timer) {
        true => Ok(remaining(held.world(), timer)),
        false => Err(libc::EINVAL),
    };
    held.end();
    if let Ok(left) = result {
        // SAFETY: the caller's own place.
        unsafe { current.write(left) };
    }
    errno::answer_int(result.map(|_| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timer_getoverrun(handle: timer_t) -> c_int {
    let Some((mut held, timer)) = begin_timer(handle) else {
        let real = real!(timer_getoverrun: fn(timer_t) -> c_int);
        // SAFETY: the caller's own argument.
        return unsafe { real(handle) };
    };
    let result = match exists(held.world(), timer) {
        true => Ok(held.world().timers.at(timer).overrun as usize),
        false => Err(libc::EINVAL),
    };
    held.end();
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timer_delete(handle: timer_t) -> c_int {
    let Some((mut held, timer)) = begin_timer(handle) else {
        let real = real!(timer_delete: fn(timer_t) -> c_int);
        // SAFETY: the caller's own argument.
        return unsafe { real(handle) };
    };
    let world = held.world();
    let result = match exists(world, timer) {
        false => Err(libc::EINVAL),
        true if world.timers.at(timer).expires == Expires::Thread => {
            // Its thread frees the place.
            expirations::stop(world, timer);
            world.timers.at(timer).expires = Expires::Deleted;
            world.run.turn.wake(On::Expiration(timer).key(), u32::MAX);
            Ok(0)
        }
        true => {
            expirations::end(world, timer);
            Ok(0)
        }
    };
    held.end();
    errno::answer_int(result)
}
