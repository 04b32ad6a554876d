//! timerfd_*: the kernel's timer is only a number; it expires by agreed time.

use std::ffi::c_int;

use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{clockid_t, itimerspec};

use super::follow::follow_in_turn;
use super::time::{after, deadline, duration, timespec_of};
use super::transfer::begin_at;
use crate::descriptors::{DescriptionKind, TableEntry, TimerIndex};
use crate::errno;
use crate::expirations;
use crate::notes::{full, uncovered};
use crate::timers::{Expires, TIMERS};
use crate::turn::{Call, Held, begin};
use crate::world::World;

/// The report of a table that is full.
pub(super) const FULL: &str = "the program has 1024 timers, as many as crane orders: the next is \
    the kernel's, and expires at a time of this host's; configure it for fewer";
const _: () = assert!(TIMERS == 1024);

#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_create(clock: clockid_t, flags: c_int) -> c_int {
    let arguments = [clock as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: timerfd_create touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_timerfd_create, arguments) });
    if let Ok(descriptor) = result
        && let Some(mut held) = begin(Call::Timer, 0)
    {
        let nonblocking = flags & libc::TFD_NONBLOCK != 0;
        follow(held.world(), descriptor as c_int, clock, nonblocking);
        held.end();
    }
    errno::answer_int(result)
}

fn follow(world: &mut World, descriptor: c_int, clock: clockid_t, nonblocking: bool) {
    let Some(timer) = world.timers.make(Expires::Free, clock) else {
        follow_in_turn(world, descriptor);
        return full(world, FULL);
    };
    let kind = DescriptionKind::Timer(timer);
    match world.descriptors.open(descriptor, kind, nonblocking) {
        Some(place) => world.timers.at(timer).expires = Expires::Descriptor(place),
        None => uncovered(world, "a timer beyond the descriptors that are followed"),
    }
}

/// Starts a call about a timer, or returns `None` if the real call is due.
fn begin_timer(descriptor: c_int) -> Option<(Held, TableEntry, TimerIndex)> {
    let (mut held, place) = begin_at(descriptor, Call::Timer)?;
    let DescriptionKind::Timer(timer) = held.world().descriptors.at(place).kind() else {
        held.end();
        return None;
    };
    expirations::expire(held.world());
    Some((held, place, timer))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_settime(
    descriptor: c_int,
    flags: c_int,
    wanted: *const itimerspec,
    before: *mut itimerspec,
) -> c_int {
    let Some((mut held, place, timer)) = begin_timer(descriptor) else {
        let arguments = [descriptor as usize, flags as usize, wanted.addr(), before.addr(), 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_timerfd_settime, arguments) });
        return errno::answer_int(result);
    };
    let known = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
    // SAFETY: the caller's own time.
    let wanted = unsafe { wanted.as_ref() };
    let result = match wanted {
        _ if flags & !known != 0 => Err(libc::EINVAL),
        None => Err(libc::EFAULT),
        Some(wanted) => {
            let was = remaining(held.world(), timer);
            let absolute = flags & libc::TFD_TIMER_ABSTIME != 0;
            let started = set(&mut held, timer, wanted, absolute);
            if started.is_ok() {
                held.world().descriptors.at(place).expirations = 0;
                // The time has come already.
                expirations::expire(held.world());
            }
            started.map(|()| was)
        }
    };
    held.end();
    if let Ok(was) = result
        && !before.is_null()
    {
        // SAFETY: the caller's own place.
        unsafe { before.write(was) };
    }
    errno::answer_int(result.map(|_| 0))
}

/// Starts or stops a timer as the call asks, or fails with the error of the call.
pub(super) fn set(
    held: &mut Held,
    timer: TimerIndex,
    wanted: &itimerspec,
    absolute: bool,
) -> Result<(), c_int> {
    let value = duration(&wanted.it_value).ok_or(libc::EINVAL)?;
    let interval = duration(&wanted.it_interval).ok_or(libc::EINVAL)?;
    let clock = held.world().timers.at(timer).clock;
    let next = match value {
        0 => NEVER,
        _ if absolute => deadline(held, clock, &raw const wanted.it_value),
        value => after(held, value),
    };
    match expirations::start(held.world(), timer, next, interval) {
        true => Ok(()),
        false => Err(libc::ENOMEM),
    }
}

/// Returns the time to the next expiration, and between expirations.
pub(super) fn remaining(world: &mut World, timer: TimerIndex) -> itimerspec {
    let agreed = world.run.gate.agreed();
    let timer = *world.timers.at(timer);
    let left = if timer.next == NEVER { 0 } else { timer.next - agreed };
    itimerspec { it_value: timespec_of(left), it_interval: timespec_of(timer.interval) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timerfd_gettime(descriptor: c_int, current: *mut itimerspec) -> c_int {
    let Some((mut held, _, timer)) = begin_timer(descriptor) else {
        let arguments = [descriptor as usize, current.addr(), 0, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_timerfd_gettime, arguments) });
        return errno::answer_int(result);
    };
    let left = remaining(held.world(), timer);
    held.end();
    if current.is_null() {
        return errno::answer_int(Err(libc::EFAULT));
    }
    // SAFETY: the caller's own place.
    unsafe { current.write(left) };
    0
}
