//! The end of the net's watch over a held server: an image of a thread whose calls raise SIGSYS
//! (Syscall User Dispatch) cannot be taken. A server that goes on is watched again from the next
//! round of the net.

use std::fs;
use std::io;

use libc::{c_long, c_uint, pid_t};

/// ptrace(2): sets Syscall User Dispatch of another thread (Linux 6.4).
const SET_DISPATCH: c_uint = 0x4210;

/// `struct ptrace_sud_config` (linux/ptrace.h); zeros turn it off.
#[repr(C)]
#[derive(Default)]
struct Dispatch {
    mode: u64,
    selector: u64,
    offset: u64,
    length: u64,
}

/// Turns Syscall User Dispatch off for all threads of a process, and of all below it.
///
/// # Errors
/// Returns what the kernel refused, with the thread.
pub(super) fn unwatch(process: u32) -> Result<(), String> {
    unwatch_process(process)?;
    children_of(process).into_iter().try_for_each(unwatch)
}

/// Returns the children of a process.
pub(crate) fn children_of(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let mut children = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    children
}

fn unwatch_process(process: u32) -> Result<(), String> {
    let path = format!("/proc/{process}/task");
    let threads = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
    for thread in threads.flatten() {
        let Some(number) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match unwatch_one(number) {
            // One that has ended makes no calls.
            Err(_) if has_ended(number) => {}
            outcome => outcome.map_err(|error| format!("thread {number}: {error}"))?,
        }
    }
    Ok(())
}

/// Returns whether a thread has ended, and only waits to be forgotten.
fn has_ended(thread: pid_t) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{thread}/stat")) else { return true };
    let state = text.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

fn unwatch_one(thread: pid_t) -> io::Result<()> {
    trace(libc::PTRACE_SEIZE, thread, 0, 0)?;
    let off = Dispatch::default();
    let outcome = trace(libc::PTRACE_INTERRUPT, thread, 0, 0)
        .and_then(|()| await_stop(thread))
        .and_then(|()| trace(SET_DISPATCH, thread, size_of::<Dispatch>(), (&raw const off).addr()));
    trace(libc::PTRACE_DETACH, thread, 0, 0).and(outcome)
}

fn await_stop(thread: pid_t) -> io::Result<()> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes to a live integer.
        if unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) } == thread {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn trace(request: c_uint, thread: pid_t, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: of the four requests, one reads a live structure of the size that is given; the
    // others touch no memory of this process.
    let result: c_long = unsafe { libc::ptrace(request, thread, address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
