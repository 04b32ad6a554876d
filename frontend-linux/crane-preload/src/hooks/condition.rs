//! pthread_cond_*: wholly virtual, so that the order of waiting, not the kernel, decides which
//! thread is woken. The hooks read only the clock that an attribute chose from libc's own
//! structure.
//!
//! Another process that signals a shared condition variable wakes no thread of the turn. A wait for
//! such a variable therefore ends now and then as if it had been signalled, which POSIX allows, so
//! that the program looks again; and a signal also goes to the kernel's waiters.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};
use libc::{clockid_t, pthread_cond_t as Cond, pthread_mutex_t as Mutex, timespec};

use super::lock::ALL;
use super::mutex;
use super::shared::{self, Shareable, next_question};
use super::time::limit as until_limit;
use crate::fork;
use crate::turn::{Call, Held, begin};

/// Returns the clock of a condition variable: the second bit of `__wrefs`, at byte 36 since glibc
/// 2.25.
fn clock_of(cond: *mut Cond) -> clockid_t {
    // SAFETY: a condition variable is 48 bytes and aligned for an int.
    let flags = unsafe { cond.cast::<u32>().add(9).read() };
    if flags & 2 != 0 { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME }
}

fn wait(mut held: Held, cond: *mut Cond, mutex: *mut Mutex, deadline: Result<u64, c_int>) -> c_int {
    let deadline = deadline.and_then(|deadline| match mutex::release(&mut held, mutex) {
        0 => Ok(deadline),
        error => Err(error),
    });
    let deadline = match deadline {
        Ok(deadline) => deadline,
        Err(error) => {
            held.end();
            return error;
        }
    };
    let next = next_question(&mut held, cond, deadline);
    let woken = held.wait(shared::on(cond), next);
    let looks_again = woken == Woken::Expired && next != deadline;
    if looks_again {
        shared::note(held.world());
    }
    // A thread that is cancelled here has the mutex when its cleanup handlers run.
    held.cancellable = false;
    let locked = mutex::acquire(&mut held, mutex);
    held.end();
    match (locked, woken) {
        (0, Woken::Expired) if !looks_again => libc::ETIMEDOUT,
        (result, _) => result,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_wait(cond: *mut Cond, mutex: *mut Mutex) -> c_int {
    let Some(held) = begin(Call::Wait, 0) else {
        let real = real!(pthread_cond_wait: fn(*mut Cond, *mut Mutex) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(cond, mutex) };
    };
    wait(held, cond, mutex, Ok(NEVER))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_timedwait(
    cond: *mut Cond,
    mutex: *mut Mutex,
    limit: *const timespec,
) -> c_int {
    let Some(mut held) = begin(Call::Wait, 0) else {
        let real =
            real!(pthread_cond_timedwait: fn(*mut Cond, *mut Mutex, *const timespec) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(cond, mutex, limit) };
    };
    let until = until_limit(&mut held, clock_of(cond), limit);
    wait(held, cond, mutex, until)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_clockwait(
    cond: *mut Cond,
    mutex: *mut Mutex,
    clock: clockid_t,
    limit: *const timespec,
) -> c_int {
    let Some(mut held) = begin(Call::Wait, 0) else {
        let real = real!(
            pthread_cond_clockwait: fn(*mut Cond, *mut Mutex, clockid_t, *const timespec) -> c_int
        );
        // SAFETY: the caller's own arguments.
        return unsafe { real(cond, mutex, clock, limit) };
    };
    let until = until_limit(&mut held, clock, limit);
    wait(held, cond, mutex, until)
}

/// Wakes up to `count` waiting threads. Returns whether the real call is due, which reaches threads
/// of other processes.
fn wake(cond: *mut Cond, count: u32) -> bool {
    let Some(mut held) = begin(Call::Wake, count.min(2)) else { return true };
    held.world().run.turn.wake(shared::on(cond).key(), count);
    // SAFETY: the caller of the hook gave a condition variable.
    let shared = unsafe { Cond::is_shared(cond, false) } && !fork::take_part();
    held.end();
    shared
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_signal(cond: *mut Cond) -> c_int {
    if !wake(cond, 1) {
        return 0;
    }
    let real = real!(pthread_cond_signal: fn(*mut Cond) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(cond) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_broadcast(cond: *mut Cond) -> c_int {
    if !wake(cond, ALL) {
        return 0;
    }
    let real = real!(pthread_cond_broadcast: fn(*mut Cond) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(cond) }
}
