//! Errors that this host makes where others make none: a disk that fails, a full table of the
//! kernel's, want of memory. The program never sees one, because it would do something else than on
//! the other hosts: its server ends instead, and the daemon builds it again. (For a full disk see
//! `hooks::room`.)
//!
//! Where a limit of the program's own, or something that is the same everywhere, may be the cause,
//! the program gets the error.

use std::fmt::{Arguments, Write};

use crane_shm::{EndReason, sys};
use libc::{c_int, c_long};

use crate::figures;
use crate::trouble::{self, NO_WAKE, Text};
use crate::world;

/// The exit status of a process whose host has failed: `EX_OSERR` of sysexits(3).
const HOST_FAILED: u8 = 71;
/// Limits of processes below this number are a program's own.
const FEW_PROCESSES: u64 = 1024;
/// The kernel's limit of mappings (proc(5), `max_map_count`), less those of one call.
const MAPPINGS: usize = 65_530 - 16;

/// Ends the server, because this host has failed at a call.
#[cold]
fn end_server(call: &str, file: &[u8], error: &str, remedy: &str) {
    let told = format_args!(": {error}; {remedy}");
    end_server_for(EndReason::HostFault, HOST_FAILED, call, file, told);
}

/// Ends the server for a reason of this host's, which is told behind the call and the name of its
/// file, if it has one.
#[cold]
pub(crate) fn end_server_for(
    why: EndReason,
    status: u8,
    call: &str,
    file: &[u8],
    told: Arguments<'_>,
) {
    // A program that takes no part has its own host.
    if world::region().is_none() {
        return;
    }
    let mut text = Text::new();
    // A text that is cut is better than no text.
    let _ = match str::from_utf8(file) {
        Ok(file) if !file.is_empty() => write!(text, "{call} of {file}{told}"),
        _ => write!(text, "{call}{told}"),
    };
    trouble::end_server(why, status, text.as_str(), NO_WAKE);
}

/// Ends the server if a call about a file of a disk has failed because of the disk. The kernel's
/// own file systems give this error to all alike.
#[cold]
pub(crate) fn disk(call: &str, file: &[u8], on_disk: bool, error: c_int) {
    if error == libc::EIO && on_disk {
        let remedy = "the disk of the server's files fails: look at the kernel's log";
        end_server(call, file, "the disk reports an error (EIO)", remedy);
    }
}

/// Ends the server if a call has failed because the kernel's table of open files is full, which no
/// limit of a process leads to.
#[inline]
pub(crate) fn table(error: c_int) {
    if error == libc::ENFILE {
        let remedy = "end other programs of this host, or raise fs.file-max (sysctl)";
        end_server("a call", b"", "this host has as many open files as it can (ENFILE)", remedy);
    }
}

/// The remedy for want of memory.
const MEMORY: &str = "give this host more memory, or end other programs";

/// The end of a process's addresses.
const ADDRESSES: usize = 1 << 47;

/// Ends the server if a call that maps memory has failed for want of this host's memory.
#[cold]
pub(crate) fn mapping(number: c_long, arguments: [usize; 6], error: c_int) {
    let [address, length, new_length, flags, ..] = arguments;
    let flags = flags as c_int;
    // Whether there are huge pages, or room behind a mapping, says nothing about memory: programs
    // ask, and do without.
    let (call, length, asks) = match number {
        libc::SYS_mremap => ("mremap", new_length, flags & libc::MREMAP_MAYMOVE == 0),
        _ => ("mmap", length, flags & libc::MAP_HUGETLB != 0),
    };
    let fits = address.checked_add(length).is_some_and(|end| end <= ADDRESSES);
    if error == libc::ENOMEM && !asks && fits && !is_too_much(length) && !has_many_mappings() {
        end_server(call, b"", "this host has no memory for it (ENOMEM)", MEMORY);
    }
}

/// Ends the server if a call that makes a process or a thread has failed although the program may
/// have more of them. A thread has a stack of so many bytes.
#[cold]
pub(crate) fn making(call: &str, stack: usize, error: c_int) {
    match error {
        libc::ENOMEM if !is_too_much(stack) => {
            end_server(call, b"", "this host has no memory for it (ENOMEM)", MEMORY);
        }
        libc::EAGAIN
            if !is_too_much(stack) && limit(libc::RLIMIT_NPROC as c_int) >= FEW_PROCESSES =>
        {
            let remedy = "end other programs of this host, or raise its limits of processes \
                          (ulimit -u, pids.max, kernel.pid_max)";
            end_server(call, b"", "this host makes no more processes (EAGAIN)", remedy);
        }
        _ => {}
    }
}

/// Returns whether bytes are more than the program may have on any host.
fn is_too_much(length: usize) -> bool {
    let is_limited = |resource| limit(resource) != libc::RLIM_INFINITY;
    figures::memory().is_none_or(|memory| length as u64 > memory.all)
        || is_limited(libc::RLIMIT_AS as c_int)
        || is_limited(libc::RLIMIT_DATA as c_int)
}

/// Returns the limit that this process has of something.
pub(crate) fn limit(resource: c_int) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: 0 };
    let arguments = [0, resource as usize, 0, (&raw mut limit).addr(), 0, 0];
    // SAFETY: the kernel writes to a record of ours.
    unsafe { sys::syscall(libc::SYS_prlimit64, arguments) };
    limit.rlim_cur
}

/// Returns whether this process has as many mappings as the kernel lets any process have.
fn has_many_mappings() -> bool {
    let call = |number: c_long, arguments: [usize; 3]| {
        let [a, b, c] = arguments;
        // SAFETY: a path of ours that ends with a zero byte, or a space of ours.
        sys::checked(unsafe { sys::syscall(number, [a, b, c, 0, 0, 0]) })
    };
    let path = c"/proc/self/maps".as_ptr().addr();
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let Ok(file) = call(libc::SYS_open, [path, flags as usize, 0]) else { return false };
    let mut space = [0_u8; 4096];
    let mut lines = 0;
    while let Ok(length @ 1..) =
        call(libc::SYS_read, [file, space.as_mut_ptr().addr(), space.len()])
    {
        lines += space[..length].iter().filter(|byte| **byte == b'\n').count();
    }
    let _ = call(libc::SYS_close, [file, 0, 0]);
    lines >= MAPPINGS
}
