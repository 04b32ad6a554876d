//! pthread_mutex_*, pthread_spin_*.

use std::ffi::{c_int, c_void};
use std::mem;

use crane_core::execution::turn::NEVER;
use libc::{pthread_mutex_t as Mutex, pthread_spinlock_t as Spin};

use super::lock::{self, lock_hooks};
use super::shared;
use crate::execution::On;
use crate::net;
use crate::quiet;
use crate::real::Real;
use crate::turn::{Call, Held};
use crate::world::World;

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
    let words = mutex.cast::<MutexWords>();
    // SAFETY: a mutex is 40 bytes and aligned for an int.
    let (owner, kind) = unsafe { ((*words).owner, (*words).kind) };
    kind & OWNER_KINDS == libc::PTHREAD_MUTEX_ERRORCHECK && owner == crane_shm::sys::tid()
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
    lock::wake(held, shared::on(mutex), 1);
    result
}

/// The words of a mutex that are looked at here (glibc's struct __pthread_mutex_s on x86-64; static
/// initializers fix their places).
#[repr(C)]
struct MutexWords {
    lock: c_int,
    count: u32,
    owner: c_int,
    users: u32,
    kind: c_int,
}

/// The bits of a mutex's kind that say what its owner may do: normal, recursive, error-checking,
/// adaptive. The others (robust, with a priority, shared, elided) may take more than memory.
const OWNER_KINDS: c_int = 3;
/// Values of a mutex's lock: free, and taken while no thread waits in the kernel.
const FREE: c_int = 0;
const TAKEN: c_int = 1;

/// Returns whether libc's functions only write to a mutex whose lock has this value.
#[inline(always)]
fn is_plain(mutex: *mut Mutex, lock: c_int) -> bool {
    let words = mutex.cast::<MutexWords>();
    // SAFETY: the caller of the hook gave a mutex, which is 40 bytes and aligned for an int.
    unsafe { (*words).lock == lock && (*words).kind & !OWNER_KINDS == 0 }
}

/// Gives a plain mutex an owner or none, as libc's function `real` would, or calls that. It is done
/// here for a normal mutex, and with a floor: no thread runs without the turn then, so that no
/// other one looks at the mutex now.
#[inline(always)]
fn set(mutex: *mut Mutex, lock: c_int, owner: u32, users: u32, real: &Real) -> c_int {
    let words = mutex.cast::<MutexWords>();
    // SAFETY: as above; the documented prototype of both functions.
    unsafe {
        if (*words).kind != libc::PTHREAD_MUTEX_NORMAL || !net::has_floor() {
            return mem::transmute::<*mut c_void, OfMutex>(real.address())(mutex);
        }
        ((*words).lock, (*words).owner) = (lock, owner as c_int);
        (*words).users = (*words).users.wrapping_add(users);
    }
    0
}

type OfMutex = unsafe extern "C" fn(*mut Mutex) -> c_int;

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut Mutex) -> c_int {
    static LOCK: Real = Real::new(c"pthread_mutex_lock");
    match quiet::count_of_lock(Call::Lock, |_| is_plain(mutex, FREE)) {
        Some(thread) => set(mutex, TAKEN, thread, 1, &LOCK),
        // SAFETY: the caller's own argument.
        None => unsafe { lock_in_full(mutex) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut Mutex) -> c_int {
    static UNLOCK: Real = Real::new(c"pthread_mutex_unlock");
    let key = On::Address(mutex.addr()).key();
    let may = |world: &World| is_plain(mutex, TAKEN) && !world.run.turn.may_wait(key);
    match quiet::count_of_lock(Call::Unlock, may) {
        Some(_) => set(mutex, FREE, 0, u32::MAX, &UNLOCK),
        // SAFETY: the caller's own argument.
        None => unsafe { unlock_in_full(mutex) },
    }
}

lock_hooks!(Mutex, attempt_or_deadlock, wait [pub(super)] lock_in_full = pthread_mutex_lock);
lock_hooks!(Mutex, attempt, try pthread_mutex_trylock);
lock_hooks!(Mutex, attempt_or_deadlock, timed pthread_mutex_timedlock);
lock_hooks!(Mutex, attempt_or_deadlock, clock pthread_mutex_clocklock);
lock_hooks!(Mutex, 1, free [pub(super)] unlock_in_full = pthread_mutex_unlock);

fn attempt_spin(spin: *mut Spin) -> c_int {
    let real = real!(pthread_spin_trylock: fn(*mut Spin) -> c_int);
    // SAFETY: the caller of the hook gave a spin lock.
    unsafe { real(spin) }
}

lock_hooks!(Spin, attempt_spin, wait pthread_spin_lock);
lock_hooks!(Spin, attempt_spin, try pthread_spin_trylock);
lock_hooks!(Spin, lock::ALL, free pthread_spin_unlock);
