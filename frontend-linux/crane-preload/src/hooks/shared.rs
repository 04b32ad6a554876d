//! Locks that processes share. In the turn a thread waits for an address of its own process, so an
//! unlock by a child wakes no thread. The library therefore notes such a lock when the program
//! makes it.

use std::ffi::{c_int, c_uint};

use libc::{
    pthread_barrierattr_t, pthread_condattr_t, pthread_mutexattr_t, pthread_rwlockattr_t, sem_t,
};

use crate::notes::uncovered;
use crate::turn::enter;

const SHARED: &str = "a lock that processes share (PTHREAD_PROCESS_SHARED, sem_init): what a \
    child process does with it wakes no thread of the server";

fn note() {
    if let Some(mut held) = enter() {
        uncovered(held.world(), SHARED);
        held.leave();
    }
}

/// A function that makes a lock's attributes allow other processes.
macro_rules! attribute_hook {
    ($name:ident, $type:ty) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(attributes: *mut $type, shared: c_int) -> c_int {
            if shared == libc::PTHREAD_PROCESS_SHARED {
                note();
            }
            let real = real!($name: fn(*mut $type, c_int) -> c_int);
            // SAFETY: the caller's own arguments.
            unsafe { real(attributes, shared) }
        }
    };
}

attribute_hook!(pthread_mutexattr_setpshared, pthread_mutexattr_t);
attribute_hook!(pthread_condattr_setpshared, pthread_condattr_t);
attribute_hook!(pthread_rwlockattr_setpshared, pthread_rwlockattr_t);
attribute_hook!(pthread_barrierattr_setpshared, pthread_barrierattr_t);

#[unsafe(no_mangle)]
unsafe extern "C" fn sem_init(semaphore: *mut sem_t, shared: c_int, value: c_uint) -> c_int {
    if shared != 0 {
        note();
    }
    let real = real!(sem_init: fn(*mut sem_t, c_int, c_uint) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { real(semaphore, shared, value) }
}
