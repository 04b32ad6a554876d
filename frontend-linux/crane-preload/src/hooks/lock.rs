//! The common part of all locks. A hook tries the real lock and never waits for it; a thread that
//! does not get the lock waits in the queue of its address. libc therefore keeps everything that
//! POSIX says about a lock's own state (recursive, error-checking, robust, owner).

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};

use super::shared::{self, Shareable};
use crate::execution::On;
use crate::turn::{Call, Held, begin};

/// The number that wakes all waiting threads.
pub(super) const ALL: u32 = u32::MAX;

/// Takes a lock in the turn. `attempt` is the real, non-waiting call; `deadline` is in agreed
/// nanoseconds, or the answer to give instead of waiting.
pub(super) fn acquire<L: Shareable>(
    held: &mut Held,
    lock: *mut L,
    deadline: Result<u64, c_int>,
    mut attempt: impl FnMut() -> c_int,
) -> c_int {
    let mut asks_again = false;
    loop {
        let result = attempt();
        if result != libc::EBUSY {
            if asks_again {
                shared::note(held.world());
            }
            return result;
        }
        let deadline = match deadline {
            Ok(deadline) => deadline,
            Err(error) => return error,
        };
        let on = shared::on(lock);
        let next = shared::next_question(held, lock, deadline);
        let woken =
            if held.hears { held.wait_or_signal(on, next) } else { Ok(held.wait(on, next)) };
        if woken.is_err_and(|by| !by.restarts_until(deadline)) {
            return libc::EINTR;
        }
        asks_again = woken == Ok(Woken::Expired) && next != deadline && !held.cancelled;
        if woken == Ok(Woken::Expired) && !asks_again {
            // The lock may have been freed exactly at the deadline. A thread that has got it is not
            // cancelled here, because no other thread would free it.
            let last = attempt();
            held.cancelled &= last == libc::EBUSY;
            return if last == libc::EBUSY { libc::ETIMEDOUT } else { last };
        }
    }
}

/// Carries out a call that may take a lock. Returns `None` if the real call is due.
#[inline]
pub(super) fn lock<L: Shareable>(
    lock: *mut L,
    deadline: impl FnOnce(&mut Held) -> Result<u64, c_int>,
    attempt: impl FnMut() -> c_int,
) -> Option<c_int> {
    let mut held = begin(Call::Lock, 0)?;
    let deadline = deadline(&mut held);
    let result = acquire(&mut held, lock, deadline, attempt);
    if result == 0 {
        held.end_of_lock(true);
    } else {
        held.end();
    }
    Some(result)
}

/// Carries out a call that never waits. Returns `None` if the real call is due.
#[inline]
pub(super) fn attempt(attempt: impl FnOnce() -> c_int) -> Option<c_int> {
    let held = begin(Call::TryLock, 0)?;
    let result = attempt();
    if result == 0 {
        held.end_of_lock(true);
    } else {
        // A thread that tries again and again lets the owner run.
        held.end();
    }
    Some(result)
}

/// Carries out a call that frees a lock, and wakes up to `count` threads that wait for it. Returns
/// `None` if the real call is due.
#[inline]
pub(super) fn unlock<L: Shareable>(
    lock: *mut L,
    count: u32,
    release: impl FnOnce() -> c_int,
) -> Option<c_int> {
    let mut held = begin(Call::Unlock, 0)?;
    let result = release();
    wake(&mut held, shared::on(lock), count);
    held.end_of_lock(false);
    Some(result)
}

/// Wakes up to `count` threads that wait for something.
#[inline]
pub(super) fn wake(held: &mut Held, on: On, count: u32) {
    let key = on.key();
    let turn = &mut held.world().run.turn;
    if turn.may_wait(key) {
        turn.wake(key, count);
    }
}

/// Returns the deadline of a call without one.
pub(super) fn never(_: &mut Held) -> Result<u64, c_int> {
    Ok(NEVER)
}

/// The hooks of one kind of lock: waiting, with a deadline, and not waiting.
macro_rules! lock_hooks {
    ($type:ty, $attempt:ident, wait $wait:ident) => {
        lock_hooks!($type, $attempt, wait [#[unsafe(no_mangle)]] $wait = $wait);
    };
    ($type:ty, $attempt:ident, wait [$($form:tt)*] $name:ident = $wait:ident) => {
        $($form)*
        unsafe extern "C" fn $name(object: *mut $type) -> std::ffi::c_int {
            let never = $crate::hooks::lock::never;
            $crate::hooks::lock::lock(object, never, || $attempt(object))
                .unwrap_or_else(|| {
                    let real = real!($wait: fn(*mut $type) -> std::ffi::c_int);
                    // SAFETY: the caller's own argument.
                    unsafe { real(object) }
                })
        }
    };
    ($type:ty, $attempt:ident, try $name:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(object: *mut $type) -> std::ffi::c_int {
            $crate::hooks::lock::attempt(|| $attempt(object)).unwrap_or_else(|| $attempt(object))
        }
    };
    ($type:ty, $attempt:ident, timed $name:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            object: *mut $type,
            limit: *const libc::timespec,
        ) -> std::ffi::c_int {
            let by = |held: &mut $crate::turn::Held| {
                $crate::hooks::time::limit(held, libc::CLOCK_REALTIME, limit)
            };
            $crate::hooks::lock::lock(object, by, || $attempt(object)).unwrap_or_else(|| {
                let real =
                    real!($name: fn(*mut $type, *const libc::timespec) -> std::ffi::c_int);
                // SAFETY: the caller's own arguments.
                unsafe { real(object, limit) }
            })
        }
    };
    ($type:ty, $attempt:ident, clock $name:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            object: *mut $type,
            clock: libc::clockid_t,
            limit: *const libc::timespec,
        ) -> std::ffi::c_int {
            let by = |held: &mut $crate::turn::Held| {
                $crate::hooks::time::limit(held, clock, limit)
            };
            $crate::hooks::lock::lock(object, by, || $attempt(object)).unwrap_or_else(|| {
                let real = real!(
                    $name: fn(*mut $type, libc::clockid_t, *const libc::timespec)
                        -> std::ffi::c_int
                );
                // SAFETY: the caller's own arguments.
                unsafe { real(object, clock, limit) }
            })
        }
    };
    ($type:ty, $count:expr, free $free:ident) => {
        lock_hooks!($type, $count, free [#[unsafe(no_mangle)]] $free = $free);
    };
    ($type:ty, $count:expr, free [$($form:tt)*] $name:ident = $free:ident) => {
        $($form)*
        unsafe extern "C" fn $name(object: *mut $type) -> std::ffi::c_int {
            let real = real!($free: fn(*mut $type) -> std::ffi::c_int);
            // SAFETY: the caller's own argument.
            let release = || unsafe { real(object) };
            $crate::hooks::lock::unlock(object, $count, release).unwrap_or_else(release)
        }
    };
}
pub(super) use lock_hooks;
