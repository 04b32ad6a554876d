//! Locks that processes share. Those that take part wait for a place in shared memory (see
//! `memory`), and wake each other. A process that takes no part and frees a lock wakes no thread of
//! the turn. Where there are such, a thread that waits for a lock therefore tries again at agreed
//! times. At which of them the lock is free depends on this host, so the library notes such a lock
//! when the program makes it.

use std::ffi::{c_int, c_uint};

use libc::{
    pthread_barrierattr_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t,
    pthread_mutexattr_t, pthread_rwlock_t, pthread_rwlockattr_t, pthread_spinlock_t, sem_t,
};

use super::time::{AGAIN, after};
use crate::execution::On;
use crate::fork;
use crate::memory;
use crate::notes::uncovered;
use crate::turn::{Held, enter};
use crate::world::World;

/// A lock or another object for which threads wait, as libc lays it out on x86-64.
pub(super) trait Shareable: Sized {
    /// Returns whether another process may use the object. `forked` says whether the server has
    /// had a child process.
    ///
    /// # Safety
    /// The object is initialised.
    unsafe fn is_shared(object: *mut Self, forked: bool) -> bool;
}

/// An object that has a word with bits for other processes.
macro_rules! shareable {
    ($type:ty, $word:literal, $bits:literal) => {
        impl Shareable for $type {
            unsafe fn is_shared(object: *mut Self, _: bool) -> bool {
                const { assert!(size_of::<$type>() > 4 * $word) };
                // SAFETY: the word lies in the object (asserted), which is aligned for an int.
                unsafe { object.cast::<c_uint>().add($word).read_volatile() & $bits != 0 }
            }
        }
    };
}

// The kind (struct __pthread_mutex_s) has one bit for it.
shareable!(pthread_mutex_t, 4, 0x80);
// The field __shared (struct __pthread_rwlock_arch_t).
shareable!(pthread_rwlock_t, 7, 0xffff_ffff);
// The field private (struct new_sem), which holds the flag of a shared futex. A named semaphore is
// always shared.
shareable!(sem_t, 2, 0xffff_ffff);
// The first bit of __wrefs (struct __pthread_cond_s).
shareable!(pthread_cond_t, 9, 1);

impl Shareable for pthread_spinlock_t {
    /// Nothing in a spin lock says who uses it.
    unsafe fn is_shared(_: *mut Self, forked: bool) -> bool {
        forked
    }
}

/// Returns the thing for which a thread waits at an address that other processes may share.
// specs: S15
pub(super) fn at(address: usize) -> On {
    let place = if fork::take_part() { memory::place_at(address) } else { None };
    place.map_or(On::Address(address), On::Shared)
}

/// Returns the thing for which a thread waits at an object.
#[inline]
pub(super) fn on<L: Shareable>(object: *mut L) -> On {
    // SAFETY: the caller of the hook gave an initialised object.
    if unsafe { L::is_shared(object, true) } {
        at(object.addr())
    } else {
        On::Address(object.addr())
    }
}

/// Returns the time at which a thread that waits for `object` until `deadline` tries again by
/// itself.
pub(super) fn next_question<L: Shareable>(held: &mut Held, object: *mut L, deadline: u64) -> u64 {
    let forked = held.world().forked;
    if fork::take_part() && !forked {
        // A thread that changes it wakes this one.
        return deadline;
    }
    // SAFETY: the caller of the hook gave an initialised object.
    if unsafe { L::is_shared(object, forked) } {
        after(held, AGAIN).min(deadline)
    } else {
        deadline
    }
}

/// Notes that another process may have a part in a lock's state.
pub(super) fn note(world: &mut World) {
    uncovered(
        world,
        "a lock that processes share (PTHREAD_PROCESS_SHARED, sem_init, sem_open): another \
         process changes it at a time of this host's: replicas may differ",
    );
}

fn note_made() {
    if !fork::take_part()
        && let Some(mut held) = enter()
    {
        note(held.world());
        held.leave();
    }
}

/// A function that makes a lock's attributes allow other processes.
macro_rules! attribute_hook {
    ($name:ident, $type:ty) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(attributes: *mut $type, shared: c_int) -> c_int {
            if shared == libc::PTHREAD_PROCESS_SHARED {
                note_made();
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
        note_made();
    }
    let real = real!(sem_init: fn(*mut sem_t, c_int, c_uint) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { real(semaphore, shared, value) }
}
