//! poll, ppoll, select, pselect: readiness from admitted state.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::sys;
use libc::{fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use super::time::{after, duration};
use super::{follow, open_files};
use crate::errno;
use crate::execution::On;
use crate::expirations;
use crate::posting;
use crate::readiness;
use crate::signals;
use crate::turn::{Call, Held, begin};
use crate::watch::PollSet;
use crate::world::World;

/// The number of descriptors that select(2) can name.
const SELECTABLE: usize = libc::FD_SETSIZE;
/// A number of descriptors for which a small stack has room.
const FEW: usize = 32;

/// Waits until an entry is ready, at most `timeout` nanoseconds, with another signal mask if one is
/// given. Returns the number of ready entries, or `EINTR` if a handler ran, even with SA_RESTART
/// (signal(7)).
fn poll_in_turn(
    mut held: Held,
    entries: &mut [pollfd],
    timeout: Option<u64>,
    mask: Option<u64>,
) -> Result<usize, c_int> {
    // Signals that the mask unblocks are posted at once, and end the wait.
    let me = held.me;
    let before = mask.map(|mask| posting::open_mask(me, mask));
    let deadline = match timeout {
        None => NEVER,
        Some(timeout) => after(&mut held, timeout),
    };
    let ready = loop {
        expirations::expire(held.world());
        posting::settle(held.world(), me);
        let World { run, descriptors, watches, .. } = held.world();
        let ready = readiness::scan(run, descriptors, watches, entries);
        if ready > 0 || (timeout == Some(0) && !signals::waits(me)) {
            break Ok(ready);
        }
        for entry in entries.iter().filter(|entry| entry.fd >= 0) {
            // The kernel has just called the object not ready, so it is no file.
            follow::follow_in_turn(held.world(), entry.fd);
        }
        *held.world().watches.set_of(me.0 as usize) = PollSet::new(entries);
        let woken = held.wait_or_signal(On::Any, deadline);
        *held.world().watches.set_of(me.0 as usize) = PollSet::EMPTY;
        if woken.is_err() {
            break Err(libc::EINTR);
        }
        if woken == Ok(Woken::Expired) {
            let World { run, descriptors, watches, .. } = held.world();
            break Ok(readiness::scan(run, descriptors, watches, entries));
        }
    };
    if let Some(before) = before {
        signals::set_mask(before);
    }
    held.end();
    ready
}

/// Returns the caller's entries.
///
/// # Safety
/// `start` leads to `count` entries that no other code uses during the call.
unsafe fn entries<'a>(start: *mut pollfd, count: nfds_t) -> &'a mut [pollfd] {
    if start.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's duty.
    unsafe { std::slice::from_raw_parts_mut(start, count as usize) }
}

/// Returns a number of entries as the kernel takes it, which has half of the bits of libc's.
fn as_the_kernel_counts(count: nfds_t) -> nfds_t {
    nfds_t::from(count as u32)
}

/// Fails where poll(2) refuses as many entries, and touches none of them: more than the limit of
/// open files.
fn refuse_too_many(count: nfds_t) -> Result<(), c_int> {
    if count > open_files::soft() { Err(libc::EINVAL) } else { Ok(()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(start: *mut pollfd, count: nfds_t, milliseconds: c_int) -> c_int {
    let count = as_the_kernel_counts(count);
    let Some(held) = begin(Call::Poll, count as u32) else {
        let arguments = [start.addr(), count as usize, milliseconds as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_poll, arguments) });
        return errno::answer_int(result);
    };
    if let Err(error) = refuse_too_many(count) {
        held.end();
        return errno::answer_int(Err(error));
    }
    let timeout = u64::try_from(milliseconds).ok().map(|time| time * 1_000_000);
    // SAFETY: the caller's own entries.
    errno::answer_int(poll_in_turn(held, unsafe { entries(start, count) }, timeout, None))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(
    start: *mut pollfd,
    count: nfds_t,
    milliseconds: c_int,
    _space: usize,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { poll(start, count, milliseconds) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    start: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let count = as_the_kernel_counts(count);
    let Some(held) = begin(Call::Poll, count as u32) else {
        let real = real!(ppoll: fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(start, count, limit, mask) };
    };
    if let Err(error) = refuse_too_many(count) {
        held.end();
        return errno::answer_int(Err(error));
    }
    // SAFETY: the caller's own time and entries.
    let (limit, entries) = unsafe { (limit.as_ref(), entries(start, count)) };
    let Ok(timeout) = limit.map(|limit| duration(limit).ok_or(libc::EINVAL)).transpose() else {
        held.end();
        return errno::answer_int(Err(libc::EINVAL));
    };
    // SAFETY: the caller's mask, if it gave one.
    let mask = unsafe { signals::mask_at(mask) };
    errno::answer_int(poll_in_turn(held, entries, timeout, mask))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    start: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
    _space: usize,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { ppoll(start, count, limit, mask) }
}

/// The three sets of select(2): reading, writing, exceptions.
type Sets = [*mut fd_set; 3];

/// The conditions for which select's sets ask, as the flags of poll.
const ASKED: [i16; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];

/// The conditions that answer select's sets. As in the kernel's select, an end or an error answers
/// them as well.
const ANSWERED: [i16; 3] =
    [libc::POLLIN | libc::POLLHUP | libc::POLLERR, libc::POLLOUT | libc::POLLERR, libc::POLLPRI];

/// Returns a duration in the form of select(2) in nanoseconds, or `None` if it is invalid. The
/// microseconds may exceed a second.
fn microseconds(time: &timeval) -> Option<u64> {
    let (seconds, rest) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_usec).ok()?);
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(rest.saturating_mul(1000)))
}

/// Returns the events that the sets ask of a descriptor below [`SELECTABLE`].
fn asked_of(descriptor: c_int, sets: &Sets) -> i16 {
    let mut events = 0;
    for (set, asked) in sets.iter().zip(ASKED) {
        // SAFETY: the caller's set, of the size that the type has; the number is in its range.
        if !set.is_null() && unsafe { libc::FD_ISSET(descriptor, *set) } {
            events |= asked;
        }
    }
    events
}

fn select_in_turn(
    held: Held,
    count: c_int,
    sets: Sets,
    timeout: Result<Option<u64>, c_int>,
    mask: Option<u64>,
) -> Result<usize, c_int> {
    let timeout = match timeout {
        Ok(timeout) if count >= 0 => timeout,
        _ => {
            held.end();
            return Err(libc::EINVAL);
        }
    };
    let count = count.clamp(0, SELECTABLE as c_int);
    // The program's stack may be small: that of a signal handler has a few KiB.
    let named = || (0..count).filter(|descriptor| asked_of(*descriptor, &sets) != 0).count();
    if count as usize <= FEW || named() <= FEW {
        return select_among::<FEW>(held, count, sets, timeout, mask);
    }
    select_among::<SELECTABLE>(held, count, sets, timeout, mask)
}

/// Waits for the descriptors of the sets, which are at most `MANY`.
#[inline(never)]
fn select_among<const MANY: usize>(
    held: Held,
    count: c_int,
    sets: Sets,
    timeout: Option<u64>,
    mask: Option<u64>,
) -> Result<usize, c_int> {
    let mut entries = [pollfd { fd: -1, events: 0, revents: 0 }; MANY];
    let named = (0..count).map(|fd| pollfd { fd, events: asked_of(fd, &sets), revents: 0 });
    let mut used = 0;
    for (entry, named) in entries.iter_mut().zip(named.filter(|named| named.events != 0)) {
        *entry = named;
        used += 1;
    }
    poll_in_turn(held, &mut entries[..used], timeout, mask)?;
    if entries[..used].iter().any(|entry| entry.revents & libc::POLLNVAL != 0) {
        return Err(libc::EBADF);
    }
    let mut ready = 0;
    for entry in &entries[..used] {
        for ((set, asked), answered) in sets.iter().zip(ASKED).zip(ANSWERED) {
            if entry.events & asked == 0 {
                continue;
            }
            if entry.revents & answered != 0 {
                ready += 1;
            } else {
                // SAFETY: the set asked for this number (see above).
                unsafe { libc::FD_CLR(entry.fd, *set) };
            }
        }
    }
    Ok(ready)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    count: c_int,
    reading: *mut fd_set,
    writing: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *mut timeval,
) -> c_int {
    let Some(held) = begin(Call::Poll, count as u32) else {
        let (r, w, e) = (reading.addr(), writing.addr(), exceptions.addr());
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe {
            sys::syscall(libc::SYS_select, [count as usize, r, w, e, limit.addr(), 0])
        });
        return errno::answer_int(result);
    };
    // SAFETY: the caller's time, if it gave one.
    let limit = unsafe { limit.as_ref() };
    let timeout = limit.map(|limit| microseconds(limit).ok_or(libc::EINVAL)).transpose();
    let sets = [reading, writing, exceptions];
    errno::answer_int(select_in_turn(held, count, sets, timeout, None))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    count: c_int,
    reading: *mut fd_set,
    writing: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let Some(held) = begin(Call::Poll, count as u32) else {
        let real = real!(
            pselect: fn(
                c_int,
                *mut fd_set,
                *mut fd_set,
                *mut fd_set,
                *const timespec,
                *const sigset_t
            )
                -> c_int
        );
        // SAFETY: the caller's own arguments.
        return unsafe { real(count, reading, writing, exceptions, limit, mask) };
    };
    // SAFETY: the caller's time, if it gave one.
    let limit = unsafe { limit.as_ref() };
    let timeout = limit.map(|limit| duration(limit).ok_or(libc::EINVAL)).transpose();
    // SAFETY: the caller's mask, if it gave one.
    let mask = unsafe { signals::mask_at(mask) };
    let sets = [reading, writing, exceptions];
    errno::answer_int(select_in_turn(held, count, sets, timeout, mask))
}
