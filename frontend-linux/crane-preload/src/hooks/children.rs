//! wait, waitpid, wait3, wait4, waitid: a thread waits for a child in the turn. A child that takes
//! part has ended at a clock value, and its status is in the table of processes. About others the
//! library asks the kernel (see `outside`): the moment of their end is particular to this host.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use crane_core::execution::processes::FoundChild;
use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

use super::process_descriptors;
use super::usage::NOTHING;
use crate::errno;
use crate::execution::On;
use crate::notes::uncovered;
use crate::outside;
use crate::processes::{self, Child};
use crate::signals;
use crate::stops;
use crate::turn::{Call, Held, begin, enter};

/// A child that takes part and has stopped or gone on, or has taken part and has ended.
struct EndedChild {
    number: pid_t,
    /// As wait(2) returns it.
    status: c_int,
}

/// Looks for an ended child among those that take part, or for one that has stopped or gone on, if
/// the options ask for that. It is forgotten, unless they say otherwise.
// specs: S16
fn look(held: &mut Held, child: Child) -> Result<EndedChild, FoundChild> {
    let own = processes::own();
    let group = rustix::process::getpgrp().as_raw_nonzero().get();
    let world = held.world();
    let found = processes::look_for(&world.processes, own, child, group);
    let process = match found {
        FoundChild::Ended(process) if child.options & libc::WEXITED != 0 => process,
        FoundChild::Nothing => return Err(found),
        _ => {
            // It may have stopped, or gone on.
            let changed = stops::changed_child(world, own, child, group);
            let changed = changed.map(|(number, status)| EndedChild { number, status });
            return changed.ok_or(FoundChild::Running);
        }
    };
    let processes = &mut world.processes;
    let ended = processes.get(process);
    let (number, status) = (ended.number(), ended.status());
    if child.options & libc::WNOWAIT == 0 {
        processes.forget(process);
        if !held.world().forked {
            processes::reap_all();
        }
    }
    Ok(EndedChild { number, status })
}

/// Starts a call about children. For those that take part it is one of the schedule. For others it
/// is none: how often a program asks for them depends on when they end, and shells ask in the
/// handler of SIGCHLD.
fn begin_wait() -> Option<Held> {
    let mut held = enter()?;
    if !held.world().processes.has_children(processes::own()) {
        return Some(held);
    }
    held.leave();
    begin(Call::Child, 0)
}

/// Waits until a child that takes part has ended, or the kernel's call has an answer. `report`
/// makes the answer for such a child; `call` makes the kernel's call without waiting, and returns
/// `None` if there is no answer yet. Returns `None` if the real call is due.
fn wait_in_turn(
    child: Child,
    report: impl Fn(EndedChild) -> usize,
    call: impl Fn() -> Result<Option<usize>, c_int>,
) -> Option<Result<usize, c_int>> {
    let mut held = begin_wait()?;
    held.cancellable = true;
    let waits = child.options & libc::WNOHANG == 0;
    let mut waited = false;
    let result = loop {
        let has_members = match look(&mut held, child) {
            Ok(ended) => break Ok(report(ended)),
            Err(found) => found == FoundChild::Running,
        };
        if waits && !has_members && !waited && !held.world().outside.in_vain {
            held.world().outside.in_vain = !outside::await_child(child);
        }
        // The kernel has those that take part, too, and those whose parents have ended.
        let asks = held.world().forked || !processes::has_made();
        let has_others = match if asks { call() } else { Err(libc::ECHILD) } {
            Ok(Some(answer)) => break Ok(answer),
            Ok(None) => true,
            Err(libc::ECHILD) if has_members => false,
            Err(error) => break Err(error),
        };
        if !waits {
            break Ok(0);
        }
        waited |= has_others;
        let me = held.me.0 as usize;
        held.world().threads[me].child = has_others.then_some(child);
        let on = if has_others { On::Child } else { On::Member(processes::own()) };
        let woken = held.wait_or_signal(on, NEVER);
        held.world().threads[me].child = None;
        if woken.is_err_and(|by| !by.restarts) {
            // The signal may say that the child has ended: its answer comes first.
            break match look(&mut held, child) {
                Ok(ended) => Ok(report(ended)),
                Err(_) if !asks => Err(libc::EINTR),
                Err(_) => match call() {
                    Ok(Some(answer)) => Ok(answer),
                    Err(error) if !has_members => Err(error),
                    _ => Err(libc::EINTR),
                },
            };
        }
        if held.cancelled {
            break Ok(0);
        }
    };
    if waited {
        uncovered(
            held.world(),
            "a child process ended at a time of this host's: replicas may differ",
        );
    }
    held.end_uncounted();
    Some(result)
}

/// Returns the child of wait4(2), as waitid(2) names it.
fn child_of(pid: pid_t, options: c_int) -> Child {
    let (kind, id) = match pid {
        -1 => (libc::P_ALL, 0),
        0 => (libc::P_PGID, 0),
        ..-1 => (libc::P_PGID, pid.unsigned_abs()),
        1.. => (libc::P_PID, pid.unsigned_abs()),
    };
    Child { kind, id, options: options | libc::WEXITED }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait4(
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    let kernel = |options: c_int| {
        let arguments = [pid as usize, status.addr(), options as usize, usage.addr(), 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_wait4, arguments) })
    };
    let once = || kernel(options | libc::WNOHANG).map(|pid| (pid != 0).then_some(pid));
    let report = |ended: EndedChild| {
        if !status.is_null() {
            // SAFETY: the caller's place.
            unsafe { status.write(ended.status) };
        }
        ended.number as usize
    };
    let Some(result) = wait_in_turn(child_of(pid, options), report, once) else {
        return errno::answer_int(kernel(options));
    };
    if matches!(result, Ok(1..)) && !usage.is_null() {
        // SAFETY: the caller's place, which the kernel has written to.
        unsafe { usage.write(NOTHING) };
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller's own arguments.
    unsafe { wait4(-1, status, options, usage) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's own arguments.
    unsafe { wait4(pid, status, options, ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's own argument.
    unsafe { wait4(-1, status, 0, ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn waitid(
    kind: idtype_t,
    id: id_t,
    info: *mut siginfo_t,
    options: c_int,
) -> c_int {
    let kernel = |place: *mut siginfo_t, options: c_int| {
        let arguments = [kind as usize, id as usize, place.addr(), options as usize, 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_waitid, arguments) })
    };
    let given = options;
    let once = || {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut own: siginfo_t = unsafe { std::mem::zeroed() };
        let place = if info.is_null() { &raw mut own } else { info };
        // SAFETY: the caller's place, or ours. Zero says that no child has changed.
        unsafe { (*place).si_signo = 0 };
        kernel(place, options | libc::WNOHANG)?;
        // SAFETY: as above.
        Ok((unsafe { (*place).si_signo } != 0).then_some(0))
    };
    let report = |ended: EndedChild| {
        if !info.is_null() {
            // SAFETY: the caller's place.
            unsafe { info.write(signals::of_child(ended.number, ended.status)) };
        }
        0
    };
    if let Some(meant) = process_descriptors::meant(kind, id) {
        let options = if meant.waits { options } else { options | libc::WNOHANG };
        let child = Child { kind: libc::P_PID, id: meant.number.cast_unsigned(), options };
        let found = Cell::new(false);
        let report = |ended: EndedChild| {
            found.set(true);
            report(ended)
        };
        if let Some(result) = wait_in_turn(child, report, once) {
            let is_early = !meant.waits && given & libc::WNOHANG == 0 && !found.get();
            let result = if is_early { result.and(Err(libc::EAGAIN)) } else { result };
            return errno::answer_int(result);
        }
    }
    let result = wait_in_turn(Child { kind, id, options }, report, once);
    errno::answer_int(result.unwrap_or_else(|| kernel(info, options)))
}
