//! pthread_rwlock_*.

use std::ffi::c_int;

use libc::pthread_rwlock_t as Rwlock;

use super::lock::{ALL, lock_hooks};

fn attempt_read(rwlock: *mut Rwlock) -> c_int {
    let real = real!(pthread_rwlock_tryrdlock: fn(*mut Rwlock) -> c_int);
    // SAFETY: the caller of the hook gave a lock.
    unsafe { real(rwlock) }
}

fn attempt_write(rwlock: *mut Rwlock) -> c_int {
    let real = real!(pthread_rwlock_trywrlock: fn(*mut Rwlock) -> c_int);
    // SAFETY: the caller of the hook gave a lock.
    unsafe { real(rwlock) }
}

/// Returns whether the caller holds the lock for writing, and would wait for itself.
fn locks_itself(rwlock: *mut Rwlock) -> bool {
    // The writer lies at byte 24 (glibc's struct __pthread_rwlock_arch_t on x86-64).
    // SAFETY: a lock is 56 bytes and aligned for an int.
    let writer = unsafe { rwlock.cast::<c_int>().add(6).read() };
    writer == crane_shm::sys::tid()
}

fn read_or_deadlock(rwlock: *mut Rwlock) -> c_int {
    match attempt_read(rwlock) {
        libc::EBUSY if locks_itself(rwlock) => libc::EDEADLK,
        result => result,
    }
}

fn write_or_deadlock(rwlock: *mut Rwlock) -> c_int {
    match attempt_write(rwlock) {
        libc::EBUSY if locks_itself(rwlock) => libc::EDEADLK,
        result => result,
    }
}

lock_hooks!(Rwlock, read_or_deadlock, wait pthread_rwlock_rdlock);
lock_hooks!(Rwlock, attempt_read, try pthread_rwlock_tryrdlock);
lock_hooks!(Rwlock, read_or_deadlock, timed pthread_rwlock_timedrdlock);
lock_hooks!(Rwlock, read_or_deadlock, clock pthread_rwlock_clockrdlock);
lock_hooks!(Rwlock, write_or_deadlock, wait pthread_rwlock_wrlock);
lock_hooks!(Rwlock, attempt_write, try pthread_rwlock_trywrlock);
lock_hooks!(Rwlock, write_or_deadlock, timed pthread_rwlock_timedwrlock);
lock_hooks!(Rwlock, write_or_deadlock, clock pthread_rwlock_clockwrlock);
// Several readers may enter at once, so all waiting threads try again, in their order.
lock_hooks!(Rwlock, ALL, free pthread_rwlock_unlock);
