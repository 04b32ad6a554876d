//! pthread_mutex_*, pthread_spin_*.

use std::ffi::c_int;

use crane_core::execution::turn::NEVER;
use libc::{pthread_mutex_t as Mutex, pthread_spinlock_t as Spin};

use super::lock::{self, lock_hooks};
use crate::turn::Held;

/// Calls the real trylock, which does not check whether the caller owns the mutex.
fn attempt(mutex: *mut Mutex) -> c_int {
    let real = real!(pthread_mutex_trylock: fn(*mut Mutex) -> c_int);
    // SAFETY: the caller of the hook gave a mutex.
    unsafe { real(mutex) }
}

/// Does the same as [`attempt`], for calls that would wait: an error-checking mutex refuses its
/// owner.
fn attempt_or_deadlock(mutex: *mut Mutex) -> c_int {
    match attempt(mutex) {
        libc::EBUSY if locks_itself(mutex) => libc::EDEADLK,
        result => result,
    }
}

/// Returns whether the owner of an error-checking mutex locks it again. The owner of a normal mutex
/// waits for ever in that case, as POSIX says; a recursive mutex does not come here.
fn locks_itself(mutex: *mut Mutex) -> bool {
    // Owner and kind lie at bytes 8 and 16 (glibc's struct __pthread_mutex_s on x86-64).
    // SAFETY: a mutex is 40 bytes and aligned for an int.
    let (owner, kind) = unsafe {
        let words = mutex.cast::<c_int>();
        (words.add(2).read(), words.add(4).read())
    };
    kind & 3 == libc::PTHREAD_MUTEX_ERRORCHECK && owner == crane_shm::sys::tid()
}

/// Takes a mutex in the turn, for condition variables.
pub(super) fn acquire(held: &mut Held, mutex: *mut Mutex) -> c_int {
    lock::acquire(held, mutex, Ok(NEVER), || attempt(mutex))
}

/// Frees a mutex in the turn, and wakes the first thread that waits for it.
pub(super) fn release(held: &mut Held, mutex: *mut Mutex) -> c_int {
    let real = real!(pthread_mutex_unlock: fn(*mut Mutex) -> c_int);
    // SAFETY: the caller of the hook gave a mutex.
    let result = unsafe { real(mutex) };
    lock::wake(held, mutex.cast(), 1);
    result
}

lock_hooks!(Mutex, attempt_or_deadlock, wait pthread_mutex_lock);
lock_hooks!(Mutex, attempt, try pthread_mutex_trylock);
lock_hooks!(Mutex, attempt_or_deadlock, timed pthread_mutex_timedlock);
lock_hooks!(Mutex, attempt_or_deadlock, clock pthread_mutex_clocklock);
lock_hooks!(Mutex, 1, free pthread_mutex_unlock);

fn attempt_spin(spin: *mut Spin) -> c_int {
    let real = real!(pthread_spin_trylock: fn(*mut Spin) -> c_int);
    // SAFETY: the caller of the hook gave a spin lock.
    unsafe { real(spin) }
}

lock_hooks!(Spin, attempt_spin, wait pthread_spin_lock);
lock_hooks!(Spin, attempt_spin, try pthread_spin_trylock);
lock_hooks!(Spin, 1, free pthread_spin_unlock);
