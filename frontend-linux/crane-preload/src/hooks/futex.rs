//! futex(2) by its number: standard libraries and allocators build their locks on it.
//!
//! A thread waits for a word in the turn, by the word's address. The kernel wakes waiters in the
//! kernel (threads that take no part, a child), after the threads of the turn.

use std::ffi::c_int;
use std::sync::atomic::Ordering;

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::sys;
use libc::timespec;

use super::futex_inheriting::{self as inheriting, FutexWord};
use super::shared;
use super::time::{after, deadline, duration};
use crate::clone;
use crate::execution::On;
use crate::notes::uncovered;
use crate::turn::{Call, Held, begin};

/// All bits: those of a plain wait and of a plain wake.
const ANY: u32 = u32::MAX;

/// Answers the call with these arguments, or returns `None` if the kernel must answer it.
pub(super) fn futex(arguments: [usize; 6]) -> Option<Result<usize, c_int>> {
    let [word, operation, value, limit, other, last] = arguments;
    let operation = operation as c_int;
    let realtime = operation & libc::FUTEX_CLOCK_REALTIME != 0;
    let command = operation & libc::FUTEX_CMD_MASK;
    let known = [
        libc::FUTEX_WAIT,
        libc::FUTEX_WAIT_BITSET,
        libc::FUTEX_WAKE,
        libc::FUTEX_WAKE_BITSET,
        libc::FUTEX_REQUEUE,
        libc::FUTEX_CMP_REQUEUE,
        libc::FUTEX_LOCK_PI,
        inheriting::LOCK_PI2,
        libc::FUTEX_TRYLOCK_PI,
        libc::FUTEX_UNLOCK_PI,
    ];
    if !known.contains(&command) || word == 0 {
        return None;
    }
    let mut held = begin(Call::Futex, 0)?;
    let may_be_shared = operation & libc::FUTEX_PRIVATE_FLAG == 0 && !clone::is_end(word);
    if may_be_shared && held.world().forked {
        uncovered(held.world(), "a futex that a child process may share: mark it as private");
        held.end();
        return None;
    }
    // A process that shares it takes part.
    let at = |place: usize| FutexWord {
        place,
        on: if may_be_shared { shared::at(place) } else { On::Address(place) },
    };
    let (value, bits, limit) = (value as u32, last as u32, limit as *const timespec);
    let result = if !word.is_multiple_of(size_of::<u32>()) {
        Err(libc::EINVAL)
    } else {
        match command {
            libc::FUTEX_WAIT => {
                let until = relative(&mut held, limit);
                until.and_then(|until| wait(&mut held, at(word), value, ANY, until))
            }
            libc::FUTEX_WAIT_BITSET => {
                let until = absolute(&mut held, realtime, limit);
                until.and_then(|until| wait(&mut held, at(word), value, bits, until))
            }
            libc::FUTEX_WAKE => wake(&mut held, at(word), value, ANY),
            libc::FUTEX_WAKE_BITSET => wake(&mut held, at(word), value, bits),
            libc::FUTEX_LOCK_PI | inheriting::LOCK_PI2 => {
                // The older call's limit is of the clock that people set.
                let realtime = realtime || command == libc::FUTEX_LOCK_PI;
                let until = absolute(&mut held, realtime, limit);
                until.and_then(|until| inheriting::lock(&mut held, at(word), until))
            }
            libc::FUTEX_TRYLOCK_PI => inheriting::try_lock(&mut held, at(word)),
            libc::FUTEX_UNLOCK_PI => inheriting::unlock(&mut held, at(word)),
            command => {
                let expected = (command == libc::FUTEX_CMP_REQUEUE).then_some(last as u32);
                let counts = [value, limit.addr() as u32];
                requeue(&mut held, at(word), counts, at(other), expected)
            }
        }
    };
    held.end();
    Some(result)
}

/// Returns the value of the caller's word.
fn value_at(word: usize) -> u32 {
    inheriting::word_at(word).load(Ordering::SeqCst)
}

fn relative(held: &mut Held, limit: *const timespec) -> Result<u64, c_int> {
    // SAFETY: the caller's time, if it gave one.
    match unsafe { limit.as_ref() }.map(duration) {
        None => Ok(NEVER),
        Some(None) => Err(libc::EINVAL),
        Some(Some(nanoseconds)) => Ok(after(held, nanoseconds)),
    }
}

fn absolute(held: &mut Held, realtime: bool, limit: *const timespec) -> Result<u64, c_int> {
    let clock = if realtime { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
    // SAFETY: the caller's time, if it gave one.
    if unsafe { limit.as_ref() }.is_some_and(|limit| duration(limit).is_none()) {
        return Err(libc::EINVAL);
    }
    Ok(deadline(held, clock, limit))
}

fn wait(
    held: &mut Held,
    word: FutexWord,
    value: u32,
    bits: u32,
    until: u64,
) -> Result<usize, c_int> {
    if bits == 0 {
        return Err(libc::EINVAL);
    }
    let me = held.me.0 as usize;
    loop {
        if value_at(word.place) != value {
            return Err(libc::EAGAIN);
        }
        held.world().threads[me].futex_bits = bits;
        match held.wait_or_signal(word.on, until) {
            Ok(Woken::Expired) => return Err(libc::ETIMEDOUT),
            Ok(Woken::Called) => return Ok(0),
            // A call without a limit begins again (signal(7)).
            Err(interrupted) if interrupted.restarts_until(until) => {}
            Err(_) => return Err(libc::EINTR),
        }
    }
}

/// Wakes up to `count` waiters for any of `bits`, the longest waiting first.
fn wake(held: &mut Held, word: FutexWord, count: u32, bits: u32) -> Result<usize, c_int> {
    if bits == 0 {
        return Err(libc::EINVAL);
    }
    // As in Linux, a count below one wakes one.
    let count = if count as i32 > 0 { count } else { 1 };
    let woken = wake_here(held, word, count, bits);
    let command = libc::FUTEX_WAKE_BITSET as usize;
    let left = (count - woken) as usize;
    if left == 0 {
        return Ok(woken as usize);
    }
    let arguments = [word.place, command, left, 0, 0, bits as usize];
    // SAFETY: FUTEX_WAKE touches no memory.
    let others = sys::checked(unsafe { sys::syscall(libc::SYS_futex, arguments) })?;
    Ok(woken as usize + others)
}

fn wake_here(held: &mut Held, word: FutexWord, count: u32, bits: u32) -> u32 {
    let world = held.world();
    let key = word.on.key();
    let mut woken = 0;
    let mut waiter = world.run.turn.waiter(key, None);
    while let Some(thread) = waiter
        && woken < count
    {
        waiter = world.run.turn.waiter(key, Some(thread));
        if world.threads[thread.0 as usize].futex_bits & bits != 0 {
            world.run.turn.wake_thread(thread, Woken::Called);
            woken += 1;
        }
    }
    woken
}

/// Wakes up to the first of `counts` waiters, and makes up to the second of `counts` wait for
/// `other` instead.
fn requeue(
    held: &mut Held,
    word: FutexWord,
    [woken, moved]: [u32; 2],
    other: FutexWord,
    expected: Option<u32>,
) -> Result<usize, c_int> {
    if !other.place.is_multiple_of(size_of::<u32>()) || (woken as i32) < 0 || (moved as i32) < 0 {
        return Err(libc::EINVAL);
    }
    if expected.is_some_and(|expected| value_at(word.place) != expected) {
        return Err(libc::EAGAIN);
    }
    let mut count = wake_here(held, word, woken, ANY);
    let turn = &mut held.world().run.turn;
    let most = count + moved;
    while count < most
        && word.place != other.place
        && let Some(thread) = turn.waiter(word.on.key(), None)
    {
        turn.requeue(thread, other.on.key());
        count += 1;
    }
    Ok(count as usize)
}
