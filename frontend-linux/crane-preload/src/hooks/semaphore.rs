//! sem_*: like locks, except that they report errors by errno.

use std::ffi::c_int;

use libc::{clockid_t, sem_t, timespec};

use super::lock::{self, lock_hooks, never};
use super::time::limit as until_limit;
use crate::errno;
use crate::turn::Held;

/// Calls the real trywait, and returns its error as the result.
fn attempt(semaphore: *mut sem_t) -> c_int {
    let real = real!(sem_trywait: fn(*mut sem_t) -> c_int);
    // SAFETY: the caller of the hook gave a semaphore.
    if unsafe { real(semaphore) } == 0 {
        return 0;
    }
    match errno::current() {
        libc::EAGAIN => libc::EBUSY,
        error => error,
    }
}

fn answer(result: c_int) -> c_int {
    if result == 0 { 0 } else { errno::answer_int(Err(result)) }
}

fn wait(
    semaphore: *mut sem_t,
    until: impl FnOnce(&mut Held) -> Result<u64, c_int>,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let before = errno::current();
    let until = |held: &mut Held| {
        // Unlike the locks, this is a cancellation point.
        held.cancellable = true;
        held.hears = true;
        until(held)
    };
    let Some(result) = lock::lock(semaphore, until, || attempt(semaphore)) else {
        return real();
    };
    errno::set(before);
    answer(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    let real = real!(sem_wait: fn(*mut sem_t) -> c_int);
    // SAFETY: the caller's own argument.
    wait(semaphore, never, || unsafe { real(semaphore) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sem_trywait(semaphore: *mut sem_t) -> c_int {
    match lock::attempt(|| attempt(semaphore)) {
        Some(libc::EBUSY) => answer(libc::EAGAIN),
        Some(result) => answer(result),
        None => {
            let real = real!(sem_trywait: fn(*mut sem_t) -> c_int);
            // SAFETY: the caller's own argument.
            unsafe { real(semaphore) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, limit: *const timespec) -> c_int {
    let by = |held: &mut Held| until_limit(held, libc::CLOCK_REALTIME, limit);
    let real = real!(sem_timedwait: fn(*mut sem_t, *const timespec) -> c_int);
    // SAFETY: the caller's own arguments.
    wait(semaphore, by, || unsafe { real(semaphore, limit) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sem_clockwait(
    semaphore: *mut sem_t,
    clock: clockid_t,
    limit: *const timespec,
) -> c_int {
    let by = |held: &mut Held| until_limit(held, clock, limit);
    let real = real!(sem_clockwait: fn(*mut sem_t, clockid_t, *const timespec) -> c_int);
    // SAFETY: the caller's own arguments.
    wait(semaphore, by, || unsafe { real(semaphore, clock, limit) })
}

lock_hooks!(sem_t, 1, free sem_post);
