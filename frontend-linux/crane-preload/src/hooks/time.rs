//! time, gettimeofday, clock_gettime: agreed time.
//!
//! Reading the clock is a call, because time must pass for a program that reads the clock until it
//! does.

use std::ffi::{c_int, c_void};

use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{clockid_t, time_t, timespec, timeval};

use crate::quiet::{self, CallTime};
use crate::turn::{Call, Held, begin};

/// Nanoseconds in a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// The nanoseconds after which a call is tried again where another process may have made it
/// possible.
pub(super) const AGAIN: u64 = 10_000_000;

/// The value of the monotonic clocks at the program's start, as on a machine that was started a
/// while ago.
pub(super) const UPTIME: u64 = 1_000 * SECOND;

/// An unused number between those of clocks, where an old architecture had a clock.
const GONE: clockid_t = 10;

/// The lower bits of the number of a device's clock (the kernel's `CLOCKFD`).
const DEVICE: clockid_t = 3;

/// Returns a time in nanoseconds, where negative times become 0.
pub(super) fn nanoseconds(time: &timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns a number of nanoseconds as a time.
pub(super) fn timespec_of(nanoseconds: u64) -> timespec {
    timespec { tv_sec: (nanoseconds / SECOND) as i64, tv_nsec: (nanoseconds % SECOND) as i64 }
}

/// Returns the caller's duration, or `None` if it is invalid.
pub(super) fn duration(time: &timespec) -> Option<u64> {
    let valid = time.tv_sec >= 0 && (0..SECOND as i64).contains(&time.tv_nsec);
    valid.then(|| nanoseconds(time))
}

/// Returns whether a clock counts from the start rather than from 1970.
fn is_monotonic(clock: clockid_t) -> bool {
    let since_1970 = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE, libc::CLOCK_TAI];
    !since_1970.contains(&clock)
}

/// Returns a clock's value in nanoseconds. Clocks of processor time count agreed time as well.
fn value(clock: clockid_t, CallTime { now, start }: CallTime) -> u64 {
    match clock {
        libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => now - start,
        clock if clock < 0 => now - start,
        clock if is_monotonic(clock) => now - start + UPTIME,
        _ => now,
    }
}

/// Returns a clock's value in nanoseconds, in a call at a place of the program that is over at
/// once, or `None` if it must be made in full.
pub(crate) fn read_quietly(clock: clockid_t, address: u64) -> Option<u64> {
    let is_of_kernel = clock < 0 || !exists(clock);
    if is_of_kernel {
        return None;
    }
    quiet::call(Call::Time, address).map(|time| value(clock, time))
}

/// Returns whether agreed time is the answer, because the clock exists and belongs to no device.
pub(super) fn exists(clock: clockid_t) -> bool {
    match clock {
        // Processor times of processes and threads, by their numbers; the kernel knows which live.
        // The number of a device's clock holds a descriptor instead.
        ..0 => {
            let arguments = [clock as usize, 0, 0, 0, 0, 0];
            let device = clock & 7 == DEVICE;
            // SAFETY: without a place for the result, clock_getres only looks for the clock.
            !device && unsafe { sys::syscall(libc::SYS_clock_getres, arguments) } == 0
        }
        GONE => false,
        clock => clock <= libc::CLOCK_TAI,
    }
}

/// Does the same as [`deadline`], for locks, which know two clocks and refuse an invalid time
/// (`EINVAL`).
pub(super) fn limit(
    held: &mut Held,
    clock: clockid_t,
    limit: *const timespec,
) -> Result<u64, c_int> {
    // SAFETY: the caller's time, if it gave one.
    let within =
        unsafe { limit.as_ref() }.is_none_or(|limit| (0..SECOND as i64).contains(&limit.tv_nsec));
    if !within || ![libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC].contains(&clock) {
        return Err(libc::EINVAL);
    }
    Ok(deadline(held, clock, limit))
}

/// Returns the agreed time at which a clock reaches `limit`, where no limit means never.
pub(super) fn deadline(held: &mut Held, clock: clockid_t, limit: *const timespec) -> u64 {
    // SAFETY: the caller's time, if it gave one.
    let Some(limit) = (unsafe { limit.as_ref() }) else { return NEVER };
    let limit = nanoseconds(limit);
    let agreed = if is_monotonic(clock) {
        limit.saturating_sub(UPTIME).saturating_add(held.world().start)
    } else {
        limit
    };
    agreed.min(NEVER - 1)
}

/// Returns the agreed time `duration` nanoseconds from now.
pub(super) fn after(held: &mut Held, duration: u64) -> u64 {
    held.world().run.gate.agreed().saturating_add(duration).min(NEVER - 1)
}

/// Returns a clock's value in a call of its own, or `None` if the real call is due.
pub(super) fn read(clock: clockid_t) -> Option<timespec> {
    if !exists(clock) {
        return None;
    }
    let mut held = begin(Call::Time, 0)?;
    let world = held.world();
    let now = value(clock, CallTime { now: world.run.gate.agreed(), start: world.start });
    held.end();
    Some(timespec { tv_sec: (now / SECOND) as i64, tv_nsec: (now % SECOND) as i64 })
}

/// Returns the nanoseconds of the monotonic clock, as a call of the thread.
pub(crate) fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC).map_or(0, |now| nanoseconds(&now))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, result: *mut timespec) -> c_int {
    let Some(now) = read(clock) else {
        let real = real!(clock_gettime: fn(clockid_t, *mut timespec) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(clock, result) };
    };
    // SAFETY: the caller's place for the result.
    unsafe { *result = now };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(result: *mut timeval, zone: *mut c_void) -> c_int {
    match read(libc::CLOCK_REALTIME) {
        Some(now) if !result.is_null() => {
            // SAFETY: the caller's place for the result.
            unsafe { *result = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 } };
            0
        }
        _ => {
            let real = real!(gettimeofday: fn(*mut timeval, *mut c_void) -> c_int);
            // SAFETY: the caller's own arguments.
            unsafe { real(result, zone) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(result: *mut time_t) -> time_t {
    let Some(now) = read(libc::CLOCK_REALTIME) else {
        let real = real!(time: fn(*mut time_t) -> time_t);
        // SAFETY: the caller's own argument.
        return unsafe { real(result) };
    };
    if !result.is_null() {
        // SAFETY: the caller's place for the result.
        unsafe { *result = now.tv_sec };
    }
    now.tv_sec
}

#[unsafe(no_mangle)]
unsafe extern "C" fn timespec_get(result: *mut timespec, base: c_int) -> c_int {
    match read(libc::CLOCK_REALTIME) {
        Some(now) if base == 1 => {
            // SAFETY: the caller's place for the result.
            unsafe { *result = now };
            base
        }
        Some(_) => 0,
        None => {
            let real = real!(timespec_get: fn(*mut timespec, c_int) -> c_int);
            // SAFETY: the caller's own arguments.
            unsafe { real(result, base) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock() -> libc::clock_t {
    let Some(now) = read(libc::CLOCK_PROCESS_CPUTIME_ID) else {
        let real = real!(clock: fn() -> libc::clock_t);
        // SAFETY: no arguments.
        return unsafe { real() };
    };
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}
