//! wait, waitpid, wait3, wait4, waitid: a thread waits for a child in the turn, and the library
//! asks the kernel (see `outside`). The moment at which a child ends is particular to this host.

use std::ffi::c_int;
use std::ptr;

use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

use super::usage::NOTHING;
use crate::errno;
use crate::execution::On;
use crate::notes::uncovered;
use crate::outside;
use crate::turn::enter;
use crate::world::Child;

/// Waits until the kernel's call has an answer. `call` makes that call without waiting, and returns
/// 0 if there is no answer yet. Returns `None` if the real call is due.
fn wait_in_turn(
    child: Child,
    call: impl Fn() -> Result<Option<usize>, c_int>,
) -> Option<Result<usize, c_int>> {
    // Not a call of the schedule: how often a program asks for its children depends on when they
    // end, and shells ask in the handler of SIGCHLD.
    let mut held = enter()?;
    held.cancellable = true;
    if child.options & libc::WNOHANG == 0 && !held.world().outside.in_vain {
        held.world().outside.in_vain = !outside::await_child(child);
    }
    let mut waited = false;
    let result = loop {
        match call() {
            Ok(Some(answer)) => break Ok(answer),
            Ok(None) if child.options & libc::WNOHANG != 0 => break Ok(0),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
        waited = true;
        let me = held.me.0 as usize;
        let world = held.world();
        world.threads[me].child = Some(child);
        let woken = held.wait_or_signal(On::Child, NEVER);
        held.world().threads[me].child = None;
        if woken.is_err_and(|by| !by.restarts) {
            // The signal may say that the child has ended: its answer comes first.
            break call().map_or_else(Err, |answer| answer.ok_or(libc::EINTR));
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
    let Some(result) = wait_in_turn(child_of(pid, options), once) else {
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
    let result = wait_in_turn(Child { kind, id, options }, once);
    errno::answer_int(result.unwrap_or_else(|| kernel(info, options)))
}
