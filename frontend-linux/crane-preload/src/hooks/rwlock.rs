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

lock_hooks!(Rwlock, attempt_read, wait pthread_rwlock_rdlock);
lock_hooks!(Rwlock, attempt_read, try pthread_rwlock_tryrdlock);
lock_hooks!(Rwlock, attempt_read, timed pthread_rwlock_timedrdlock);
lock_hooks!(Rwlock, attempt_read, clock pthread_rwlock_clockrdlock);
lock_hooks!(Rwlock, attempt_write, wait pthread_rwlock_wrlock);
lock_hooks!(Rwlock, attempt_write, try pthread_rwlock_trywrlock);
lock_hooks!(Rwlock, attempt_write, timed pthread_rwlock_timedwrlock);
lock_hooks!(Rwlock, attempt_write, clock pthread_rwlock_clockwrlock);
// Several readers may get in at once: all who wait try again, in their order.
lock_hooks!(Rwlock, ALL, free pthread_rwlock_unlock);
