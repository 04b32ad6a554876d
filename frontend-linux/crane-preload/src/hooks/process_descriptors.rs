//! pidfd_open and its family: processes by descriptors.
//!
//! A descriptor of a process that takes part is ready once that has ended in the turn. The kernel's
//! object behind it is only a number: when the kernel ends the real process is seen by nobody.

use std::ffi::{c_int, c_uint};

use crane_core::execution::processes::Existence;
use crane_shm::sys;
use libc::{id_t, idtype_t, pid_t, siginfo_t};

use super::follow::follow_in_turn;
use super::signals::{kill, queue_by_number};
use crate::descriptors::{OfProcess, lookup};
use crate::errno;
use crate::fork;
use crate::membership::takes_part;
use crate::net;
use crate::numbers::lookup_in;
use crate::posting;
use crate::processes::knows_all;
use crate::service;
use crate::turn::{Call, begin, enter};

/// `PIDFD_NONBLOCK`.
const NONBLOCK: c_uint = libc::O_NONBLOCK as c_uint;

/// Returns the process that a descriptor stands for, if that takes part or has done so.
fn process_at(descriptor: c_int) -> Option<OfProcess> {
    let place = lookup(descriptor)?;
    let mut held = enter()?;
    let found = held.world().descriptors.at(place).process();
    held.leave();
    found
}

/// pidfd_open(2), by its number. Returns `None` if the kernel must answer: for a process that takes
/// no part.
// specs: S16
pub(super) fn open_by_number(number: pid_t, flags: c_uint) -> Option<c_int> {
    if !fork::take_part() || !takes_part() {
        return None;
    }
    let mut held = begin(Call::Child, 1)?;
    let world = held.world();
    let is_thread = posting::find_by_tid(world, number).is_some();
    let knows_all = knows_all(&world.processes, world.forked);
    let existence = match world.processes.existence(number, knows_all) {
        _ if flags & !NONBLOCK != 0 || number <= 0 => Err(libc::EINVAL),
        Existence::Gone if is_thread => Err(libc::EINVAL),
        Existence::Gone => Err(libc::ESRCH),
        other => Ok(other),
    };
    let ended = match existence {
        Ok(Existence::Runs) => false,
        Ok(Existence::Ended) => true,
        Err(error) => {
            held.end();
            return Some(errno::answer_int(Err(error)));
        }
        _ => {
            held.leave();
            return None;
        }
    };
    // The kernel may have forgotten a process that has ended.
    let made = make(number, flags).or_else(|error| match ended {
        true => make(sys::pid(), flags),
        false => Err(error),
    });
    if let Ok(descriptor) = made {
        follow_in_turn(world, descriptor as c_int);
        if let Some(place) = lookup(descriptor as c_int) {
            world.descriptors.set_process(place, OfProcess { number, ended });
        }
    }
    held.end();
    Some(errno::answer_int(made))
}

fn make(number: pid_t, flags: c_uint) -> Result<usize, c_int> {
    let arguments = [number as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: pidfd_open touches no memory.
    sys::checked(unsafe { sys::syscall(libc::SYS_pidfd_open, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pidfd_open(number: pid_t, flags: c_uint) -> c_int {
    open_by_number(number, flags).unwrap_or_else(|| errno::answer_int(make(number, flags)))
}

/// pidfd_send_signal(2), by its number. Returns `None` if the kernel must answer: for a process
/// that takes no part.
pub(super) fn send_by_number(
    descriptor: c_int,
    signal: c_int,
    record: usize,
    flags: c_uint,
) -> Option<c_int> {
    let process = process_at(descriptor)?;
    if flags != 0 {
        return Some(errno::answer_int(Err(libc::EINVAL)));
    }
    if record == 0 {
        // SAFETY: plain numbers; the symbol is this library's own.
        return Some(unsafe { kill(process.number, signal) });
    }
    let given: Option<[u64; size_of::<siginfo_t>() / 8]> = net::read(record);
    let result = match given {
        None => Err(libc::EFAULT),
        // The number of the signal, and the code, with which a record begins.
        Some([first, ..]) if first as c_int != signal => Err(libc::EINVAL),
        Some([_, second, ..]) => {
            let is_foreign = process.number != sys::pid();
            let code = second as c_int;
            let is_forged = code >= 0 || code == libc::SI_TKILL;
            if is_foreign && is_forged { Err(libc::EPERM) } else { Ok(()) }
        }
    };
    match result {
        Err(error) => Some(errno::answer_int(Err(error))),
        Ok(()) => queue_by_number(process.number, None, signal, record),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pidfd_send_signal(
    descriptor: c_int,
    signal: c_int,
    record: *mut siginfo_t,
    flags: c_uint,
) -> c_int {
    send_by_number(descriptor, signal, record.addr(), flags).unwrap_or_else(|| {
        let arguments = [descriptor as usize, signal as usize, record.addr(), flags as usize, 0, 0];
        // SAFETY: the caller's own arguments.
        errno::answer_int(sys::checked(unsafe {
            sys::syscall(libc::SYS_pidfd_send_signal, arguments)
        }))
    })
}

/// pidfd_getfd(2), by its number: another number for what a process has open. Returns `None` if the
/// kernel must answer: for a process that takes no part.
pub(super) fn take_by_number(descriptor: c_int, wanted: c_int, flags: c_uint) -> Option<c_int> {
    let of = process_at(descriptor)?;
    let mut held = begin(Call::Child, 2)?;
    let process = held.world().processes.find(of.number);
    let result = match process {
        _ if flags != 0 => Err(libc::EINVAL),
        None => Err(libc::ESRCH),
        // The library's own descriptors are closed to the program.
        Some(_) if crate::inherited::is_own(wanted) => Err(libc::EBADF),
        Some(_) => take(descriptor, wanted),
    };
    if let (Ok(number), Some(process)) = (result, process)
        && let Some(place) = lookup_in(service::numbers(process.0.into()), wanted)
    {
        held.world().descriptors.share(place, number as c_int);
    }
    held.end();
    Some(errno::answer_int(result))
}

fn take(descriptor: c_int, wanted: c_int) -> Result<usize, c_int> {
    let arguments = [descriptor as usize, wanted as usize, 0, 0, 0, 0];
    // SAFETY: pidfd_getfd touches no memory.
    sys::checked(unsafe { sys::syscall(libc::SYS_pidfd_getfd, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pidfd_getfd(descriptor: c_int, wanted: c_int, flags: c_uint) -> c_int {
    take_by_number(descriptor, wanted, flags).unwrap_or_else(|| {
        let arguments = [descriptor as usize, wanted as usize, flags as usize, 0, 0, 0];
        // SAFETY: pidfd_getfd touches no memory.
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_pidfd_getfd, arguments) }))
    })
}

/// The child that a call means by a descriptor.
#[derive(Clone, Copy)]
pub(super) struct MeantChild {
    pub number: pid_t,
    /// Whether a call may wait for it, which the descriptor says.
    pub waits: bool,
}

/// Returns the child that waitid(2) means by a descriptor.
pub(super) fn meant(kind: idtype_t, id: id_t) -> Option<MeantChild> {
    if kind != libc::P_PIDFD {
        return None;
    }
    let descriptor = id.cast_signed();
    let process = process_at(descriptor)?;
    let flags = super::parts::flags_of(descriptor)?;
    Some(MeantChild { number: process.number, waits: flags & libc::O_NONBLOCK == 0 })
}
