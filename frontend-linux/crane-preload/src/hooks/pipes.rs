//! pipe, socketpair, eventfd: the kernel's objects, which the library follows so that no thread
//! waits in the kernel.

use std::ffi::{c_int, c_uint};

use crane_shm::sys;

use crate::descriptors::DescriptionKind;
use crate::errno;
use crate::notes::uncovered;
use crate::turn::{Call, begin};

/// Follows both ends of an object that the kernel has just made.
fn follow(ends: [c_int; 2], nonblocking: bool) {
    let Some(mut held) = begin(Call::Channel, ends[0] as u32) else { return };
    let world = held.world();
    let first = world.descriptors.open(ends[0], DescriptionKind::Kernel, nonblocking);
    let second = match ends[0] == ends[1] {
        true => first,
        false => world.descriptors.open(ends[1], DescriptionKind::Kernel, nonblocking),
    };
    match (first, second) {
        (Some(first), Some(second)) => world.descriptors.pair(first, second),
        _ => uncovered(world, "a pipe beyond the descriptors that are followed"),
    }
    held.end();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pipe(ends: *mut c_int) -> c_int {
    // SAFETY: the caller's own argument.
    unsafe { pipe2(ends, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    let arguments = [ends.addr(), flags as usize, 0, 0, 0, 0];
    // SAFETY: the caller's place for two numbers.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_pipe2, arguments) });
    if result.is_ok() {
        // SAFETY: the kernel has written both.
        follow(unsafe { [*ends, *ends.add(1)] }, flags & libc::O_NONBLOCK != 0);
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    ends: *mut c_int,
) -> c_int {
    let arguments = [domain as usize, kind as usize, protocol as usize, ends.addr(), 0, 0];
    // SAFETY: the caller's place for two numbers.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_socketpair, arguments) });
    if result.is_ok() {
        // SAFETY: the kernel has written both.
        follow(unsafe { [*ends, *ends.add(1)] }, kind & libc::SOCK_NONBLOCK != 0);
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd(initial: c_uint, flags: c_int) -> c_int {
    let arguments = [initial as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: eventfd2 touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_eventfd2, arguments) });
    if let Ok(descriptor) = result {
        follow([descriptor as c_int; 2], flags & libc::EFD_NONBLOCK != 0);
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_read(descriptor: c_int, value: *mut u64) -> c_int {
    // SAFETY: the caller's place for 8 bytes; the symbol is this library's own.
    if unsafe { libc::read(descriptor, value.cast(), 8) } == 8 { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd_write(descriptor: c_int, value: u64) -> c_int {
    // SAFETY: 8 bytes of ours; the symbol is this library's own.
    if unsafe { libc::write(descriptor, (&raw const value).cast(), 8) } == 8 { 0 } else { -1 }
}
