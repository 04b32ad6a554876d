//! Locks of futex(2) with priority inheritance (`FUTEX_LOCK_PI`): the word has the number of the
//! thread that holds the lock, and threads wait in the turn. Who gives it back makes the longest
//! waiting its next holder. A thread that holds the turn runs, so priorities decide nothing.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use crane_core::execution::turn::Woken;
use libc::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};

use crate::execution::On;
use crate::turn::Held;
use crate::world::World;

/// `FUTEX_LOCK_PI2` (linux/futex.h): its limit is of the monotonic clock, unless a flag says else.
pub(super) const LOCK_PI2: c_int = 13;

/// A word, and what threads wait for that wait for it.
#[derive(Clone, Copy)]
pub(super) struct FutexWord {
    /// Its address.
    pub place: usize,
    /// The thing for which they wait.
    pub on: On,
}

/// Returns the caller's word.
pub(super) fn word_at(word: usize) -> &'static AtomicU32 {
    // SAFETY: the hook's caller gave a place, which it has looked at, that is aligned for the word.
    unsafe { AtomicU32::from_ptr(word as *mut u32) }
}

/// Takes a lock that nobody holds. Returns whether it did.
///
/// # Errors
/// `EDEADLK` if the thread holds it already.
fn take(held: &mut Held, word: FutexWord) -> Result<bool, c_int> {
    let (me, key) = (held.me, word.on.key());
    let world = held.world();
    let mine = world.threads[me.0 as usize].tid;
    let has_waiters = world.run.turn.waiter(key, None).is_some();
    let taken = |value: u32| {
        let waiters = if has_waiters { FUTEX_WAITERS } else { 0 };
        (value & FUTEX_TID_MASK == 0).then_some(value & FUTEX_OWNER_DIED | mine | waiters)
    };
    match word_at(word.place).fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken) {
        Ok(_) => Ok(true),
        Err(value) if value & FUTEX_TID_MASK == mine => Err(libc::EDEADLK),
        Err(_) => Ok(false),
    }
}

/// Takes a lock if nobody holds it.
pub(super) fn try_lock(held: &mut Held, word: FutexWord) -> Result<usize, c_int> {
    if take(held, word)? { Ok(0) } else { Err(libc::EAGAIN) }
}

/// Takes a lock, and waits for it until a deadline. No handler ends the wait.
pub(super) fn lock(held: &mut Held, word: FutexWord, until: u64) -> Result<usize, c_int> {
    let me = held.me.0 as usize;
    while !take(held, word)? {
        let value = word_at(word.place).fetch_or(FUTEX_WAITERS, Ordering::SeqCst);
        if !is_known(held.world(), value & FUTEX_TID_MASK) {
            return Err(libc::ESRCH);
        }
        // A plain wake does not wake it.
        held.world().threads[me].futex_bits = 0;
        let woken = held.wait_or_signal(word.on, until);
        let mine = held.world().threads[me].tid;
        if word_at(word.place).load(Ordering::SeqCst) & FUTEX_TID_MASK == mine {
            return Ok(0);
        }
        if woken == Ok(Woken::Expired) {
            return Err(libc::ETIMEDOUT);
        }
    }
    Ok(0)
}

/// Gives a lock back, to the thread that waits longest for it.
pub(super) fn unlock(held: &mut Held, word: FutexWord) -> Result<usize, c_int> {
    let me = held.me.0 as usize;
    let world = held.world();
    let value = word_at(word.place).load(Ordering::SeqCst);
    if value & FUTEX_TID_MASK != world.threads[me].tid {
        return Err(libc::EPERM);
    }
    let next = world.run.turn.waiter(word.on.key(), None);
    let number = next.map_or(0, |next| world.threads[next.0 as usize].tid | FUTEX_WAITERS);
    word_at(word.place).store(number, Ordering::SeqCst);
    if let Some(next) = next {
        world.run.turn.wake_thread(next, Woken::Called);
    }
    Ok(0)
}

/// Returns whether a thread that has not ended has this number of the kernel's.
fn is_known(world: &World, number: u32) -> bool {
    world.threads.iter().any(|thread| thread.tid == number && !thread.ended)
}
