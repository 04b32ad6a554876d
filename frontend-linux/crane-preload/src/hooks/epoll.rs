//! epoll_*: the kernel's instance is only a number, and this library keeps interests and readiness.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::sys;
use libc::{epoll_event, sigset_t, timespec};

use super::follow;
use super::time::{after, duration};
use super::transfer::{begin_at, release};
use crate::descriptors::{DescriptionKind, lookup};
use crate::errno;
use crate::execution::On;
use crate::expirations;
use crate::notes::uncovered;
use crate::posting;
use crate::readiness;
use crate::signals;
use crate::turn::{Call, begin};
use crate::world::World;

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_create(size: c_int) -> c_int {
    if size <= 0 {
        return errno::answer_int(Err(libc::EINVAL));
    }
    // SAFETY: plain numbers.
    unsafe { epoll_create1(0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: epoll_create1 touches no memory.
    let result = sys::checked(unsafe {
        sys::syscall(libc::SYS_epoll_create1, [flags as usize, 0, 0, 0, 0, 0])
    });
    if let Ok(descriptor) = result
        && let Some(mut held) = begin(Call::EpollControl, 0)
    {
        let world = held.world();
        if world.descriptors.open(descriptor as c_int, DescriptionKind::Epoll, false).is_none() {
            uncovered(world, "an epoll instance beyond the descriptors that are followed");
        }
        held.end();
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(
    instance: c_int,
    operation: c_int,
    descriptor: c_int,
    event: *mut epoll_event,
) -> c_int {
    let Some((mut held, place)) = begin_at(instance, Call::EpollControl) else {
        let arguments =
            [instance as usize, operation as usize, descriptor as usize, event.addr(), 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_epoll_ctl, arguments) });
        return errno::answer_int(result);
    };
    let world = held.world();
    if operation == libc::EPOLL_CTL_ADD && lookup(descriptor).is_none() {
        // The kernel knows which objects epoll can watch. A file, for example, is none of them.
        let ask = |operation: c_int| {
            let arguments =
                [instance as usize, operation as usize, descriptor as usize, event.addr(), 0, 0];
            // SAFETY: the caller's own arguments.
            sys::checked(unsafe { sys::syscall(libc::SYS_epoll_ctl, arguments) })
        };
        if let Err(error) = ask(libc::EPOLL_CTL_ADD).and_then(|_| ask(libc::EPOLL_CTL_DEL)) {
            held.end();
            return errno::answer_int(Err(error));
        }
        follow::follow_in_turn(world, descriptor);
    }
    let World { run, descriptors, watches, .. } = world;
    // SAFETY: the caller's event, if it gave one.
    let event = unsafe { event.as_ref() };
    let result = match (operation, event) {
        _ if descriptors.at(place).kind() != DescriptionKind::Epoll => Err(libc::EINVAL),
        (libc::EPOLL_CTL_ADD, Some(event)) => watches.add(descriptors, place, descriptor, *event),
        (libc::EPOLL_CTL_MOD, Some(event)) => {
            watches.modify(descriptors, place, descriptor, *event)
        }
        (libc::EPOLL_CTL_DEL, _) => watches.delete(descriptors, place, descriptor),
        (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, None) => Err(libc::EFAULT),
        _ => Err(libc::EINVAL),
    };
    // An interest that is ready at once wakes a thread that already waits in the instance.
    if result.is_ok()
        && operation != libc::EPOLL_CTL_DEL
        && let Some(watched) = lookup(descriptor)
    {
        readiness::changed(run, descriptors, watches, watched);
    }
    held.end();
    errno::answer_int(result.map(|()| 0))
}

fn wait(
    instance: c_int,
    start: *mut epoll_event,
    room: c_int,
    timeout: Option<u64>,
    mask: Option<u64>,
) -> Option<Result<usize, c_int>> {
    let (mut held, place) = begin_at(instance, Call::Poll)?;
    if room <= 0 || held.world().descriptors.at(place).kind() != DescriptionKind::Epoll {
        held.end();
        return Some(Err(libc::EINVAL));
    }
    // SAFETY: the hook's caller gave a place for `room` events.
    let space = unsafe { std::slice::from_raw_parts_mut(start, room as usize) };
    let deadline = match timeout {
        None => NEVER,
        Some(timeout) => after(&mut held, timeout),
    };
    held.world().descriptors.hold(place);
    // Signals that the mask unblocks are posted at once, and end the wait.
    let me = held.me;
    let before = mask.map(|mask| posting::open_mask(me, mask));
    let result = loop {
        expirations::expire(held.world());
        posting::settle(held.world(), me);
        let World { run, descriptors, watches, .. } = held.world();
        let count = readiness::collect(run, descriptors, watches, place, space);
        if count > 0 || (timeout == Some(0) && !signals::waits(me)) {
            break Ok(count);
        }
        match held.wait_or_signal(On::Epoll(place), deadline) {
            Ok(Woken::Called) => {}
            Ok(Woken::Expired) => {
                let World { run, descriptors, watches, .. } = held.world();
                break Ok(readiness::collect(run, descriptors, watches, place, space));
            }
            // A handler with SA_RESTART ends the wait as well (signal(7)).
            Err(_) => break Err(libc::EINTR),
        }
    };
    if let Some(before) = before {
        signals::set_mask(before);
    }
    release(held.world(), place);
    held.end();
    Some(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    instance: c_int,
    start: *mut epoll_event,
    room: c_int,
    milliseconds: c_int,
) -> c_int {
    let timeout = u64::try_from(milliseconds).ok().map(|time| time * 1_000_000);
    let result = wait(instance, start, room, timeout, None).unwrap_or_else(|| {
        let arguments =
            [instance as usize, start.addr(), room as usize, milliseconds as usize, 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_epoll_wait, arguments) })
    });
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    instance: c_int,
    start: *mut epoll_event,
    room: c_int,
    milliseconds: c_int,
    mask: *const sigset_t,
) -> c_int {
    let timeout = u64::try_from(milliseconds).ok().map(|time| time * 1_000_000);
    // SAFETY: the caller's mask, if it gave one.
    let given = unsafe { signals::mask_at(mask) };
    if let Some(result) = wait(instance, start, room, timeout, given) {
        return errno::answer_int(result);
    }
    let real =
        real!(epoll_pwait: fn(c_int, *mut epoll_event, c_int, c_int, *const sigset_t) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { real(instance, start, room, milliseconds, mask) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait2(
    instance: c_int,
    start: *mut epoll_event,
    room: c_int,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's time, if it gave one.
    let given = unsafe { limit.as_ref() };
    let Ok(timeout) = given.map(|limit| duration(limit).ok_or(libc::EINVAL)).transpose() else {
        return errno::answer_int(Err(libc::EINVAL));
    };
    // SAFETY: the caller's mask, if it gave one.
    let given = unsafe { signals::mask_at(mask) };
    let result = wait(instance, start, room, timeout, given).unwrap_or_else(|| {
        let arguments =
            [instance as usize, start.addr(), room as usize, limit.addr(), mask.addr(), 8];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_epoll_pwait2, arguments) })
    });
    errno::answer_int(result)
}
