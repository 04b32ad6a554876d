//! The threads of C11. libc implements them by internal calls of pthreads, which no hook sees. Here
//! each call of C11 is the pthreads call that libc would make.

use std::ffi::{c_int, c_void};
use std::ptr;

use libc::{pthread_cond_t as Cond, pthread_mutex_t as Mutex, pthread_t, timespec};

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// Numbers of <threads.h>.
const SUCCESS: c_int = 0;
const BUSY: c_int = 1;
const ERROR: c_int = 2;
const NO_MEMORY: c_int = 3;
const TIMED_OUT: c_int = 4;

unsafe extern "C" {
    fn pthread_mutex_timedlock(mutex: *mut Mutex, limit: *const timespec) -> c_int;
    fn pthread_once(control: *mut c_int, routine: extern "C" fn()) -> c_int;
}

/// C11's result for an error number.
fn result(error: c_int) -> c_int {
    match error {
        0 => SUCCESS,
        libc::EBUSY => BUSY,
        libc::ENOMEM => NO_MEMORY,
        libc::ETIMEDOUT => TIMED_OUT,
        _ => ERROR,
    }
}

// The symbols of pthreads are this library's own, and libc uses the objects of pthreads for those
// of C11.

/// The routine returns an `int` in the register of the pointer; `thrd_join` reads no more of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_create(
    thread: *mut pthread_t,
    routine: Start,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    result(unsafe { libc::pthread_create(thread, ptr::null(), routine, argument) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_join(thread: pthread_t, place: *mut c_int) -> c_int {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's thread; a place of ours.
    let joined = unsafe { libc::pthread_join(thread, &raw mut value) };
    if joined == 0 && !place.is_null() {
        // SAFETY: the caller's place.
        unsafe { place.write(value.addr() as c_int) };
    }
    result(joined)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_detach(thread: pthread_t) -> c_int {
    // SAFETY: the caller's own argument.
    result(unsafe { libc::pthread_detach(thread) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_yield() {
    // SAFETY: no arguments.
    unsafe { libc::sched_yield() };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thrd_sleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's own arguments.
    match unsafe { libc::clock_nanosleep(libc::CLOCK_REALTIME, 0, time, left) } {
        0 => 0,
        libc::EINTR => -1,
        _ => -2,
    }
}

/// A call of one or two arguments that is the same as a call of pthreads.
macro_rules! alias {
    ($name:ident($($argument:ident: $type:ty),*) = $of:path) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            // SAFETY: the caller's own arguments.
            result(unsafe { $of($($argument),*) })
        }
    };
}

alias!(mtx_lock(mutex: *mut Mutex) = super::mutex::lock_in_full);
alias!(mtx_trylock(mutex: *mut Mutex) = libc::pthread_mutex_trylock);
alias!(mtx_timedlock(mutex: *mut Mutex, limit: *const timespec) = pthread_mutex_timedlock);
alias!(mtx_unlock(mutex: *mut Mutex) = super::mutex::unlock_in_full);
alias!(cnd_wait(cond: *mut Cond, mutex: *mut Mutex) = libc::pthread_cond_wait);
alias!(cnd_timedwait(cond: *mut Cond, mutex: *mut Mutex, limit: *const timespec)
    = libc::pthread_cond_timedwait);
alias!(cnd_signal(cond: *mut Cond) = libc::pthread_cond_signal);
alias!(cnd_broadcast(cond: *mut Cond) = libc::pthread_cond_broadcast);

#[unsafe(no_mangle)]
unsafe extern "C" fn call_once(control: *mut c_int, routine: extern "C" fn()) {
    // SAFETY: the caller's own arguments.
    unsafe { pthread_once(control, routine) };
}
