//! splice, tee, vmsplice: bytes between descriptors inside the kernel.
//!
//! A connection's stand-in has no bytes to move, so the answer for one is EINVAL, as for files that
//! cannot be spliced, and programs then read and write. Followed pipes are tried without waiting in
//! the kernel.

use std::ffi::{c_int, c_uint};

use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{iovec, off_t};

use super::transfer::used;
use crate::descriptors::{DescriptionKind, TableEntry, lookup};
use crate::errno;
use crate::execution::On;
use crate::notices::DueNotice;
use crate::outside;
use crate::readiness::kernel_readiness;
use crate::turn::{Call, Held, begin};
use crate::watch;

/// Returns the description behind a number, if the number is followed, and its other end if it is a
/// channel.
fn end(held: &mut Held, descriptor: c_int) -> Option<(DescriptionKind, TableEntry)> {
    let place = lookup(descriptor)?;
    Some((held.world().descriptors.at(place).kind(), place))
}

/// Makes the call, which moves bytes from the first of `ends` to the second, by `real` with flags.
fn moved(
    [from, to]: [c_int; 2],
    flags: c_uint,
    real: impl Fn(c_uint) -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    if lookup(from).is_none() && lookup(to).is_none() {
        return real(flags);
    }
    let Some(mut held) = begin(Call::Splice, from as u32) else { return real(flags) };
    let ends = [from, to].map(|descriptor| end(&mut held, descriptor));
    let result = if ends.iter().flatten().any(|(kind, _)| is_stand_in(*kind)) {
        Err(libc::EINVAL)
    } else if ends.iter().flatten().any(|(kind, _)| is_channel(*kind)) {
        between_channels(&mut held, [from, to], flags, real)
    } else {
        real(flags)
    };
    held.end();
    result
}

fn is_stand_in(kind: DescriptionKind) -> bool {
    use DescriptionKind::{Conn, Epoll, Listener, Random, Socket, Timer};
    matches!(kind, Conn(_) | Listener(_) | Socket | Epoll | Random | Timer(_))
}

fn is_channel(kind: DescriptionKind) -> bool {
    matches!(kind, DescriptionKind::Channel { .. } | DescriptionKind::Kernel)
}

fn between_channels(
    held: &mut Held,
    ends: [c_int; 2],
    flags: c_uint,
    real: impl Fn(c_uint) -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let at_once = flags & libc::SPLICE_F_NONBLOCK != 0;
    loop {
        let result = real(flags | libc::SPLICE_F_NONBLOCK);
        if result != Err(libc::EAGAIN) {
            for descriptor in ends {
                match end(held, descriptor) {
                    Some((DescriptionKind::Channel { peer }, place)) => {
                        // One of both numbers is read, and the other is written.
                        let due = match descriptor == ends[0] {
                            true => DueNotice::by_read(held.world(), peer),
                            false => DueNotice::by_write(held.world(), peer),
                        };
                        used(held.world(), place, peer);
                        due.send(held.world());
                    }
                    Some((DescriptionKind::Kernel, place)) => outside::touch(held.world(), place),
                    _ => {}
                }
            }
            return result;
        }
        let channel = |held: &mut Held, descriptor| {
            end(held, descriptor).filter(|(kind, _)| is_channel(*kind)).map(|(_, place)| place)
        };
        let [from, to] = ends.map(|descriptor| channel(held, descriptor));
        let empty = kernel_readiness(ends[0]) & !watch::OUT == 0;
        let on = match (from, to) {
            _ if at_once => return result,
            (Some(from), _) if empty => number(held, from, ends[0], On::Read(from)),
            (_, Some(to)) => number(held, to, ends[1], On::Write(to)),
            // The other side is not followed, and the call would wait for it in the kernel.
            _ => return real(flags),
        };
        held.wait(on, NEVER);
    }
}

/// Records the number by which a thread waits `on` a description, and returns `on`.
fn number(held: &mut Held, place: TableEntry, descriptor: c_int, on: On) -> On {
    held.world().descriptors.at(place).number = descriptor;
    on
}

fn kernel(number: i64, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: the hook's caller gave the arguments.
    sys::checked(unsafe { sys::syscall(number, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut off_t,
    to: c_int,
    to_offset: *mut off_t,
    length: usize,
    flags: c_uint,
) -> isize {
    errno::answer(moved([from, to], flags, |flags| {
        let (f, t) = (from_offset.addr(), to_offset.addr());
        kernel(libc::SYS_splice, [from as usize, f, to as usize, t, length, flags as usize])
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tee(from: c_int, to: c_int, length: usize, flags: c_uint) -> isize {
    errno::answer(moved([from, to], flags, |flags| {
        kernel(libc::SYS_tee, [from as usize, to as usize, length, flags as usize, 0, 0])
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn vmsplice(
    pipe: c_int,
    start: *const iovec,
    count: usize,
    flags: c_uint,
) -> isize {
    errno::answer(moved([pipe, pipe], flags, |flags| {
        let arguments = [pipe as usize, start.addr(), count, flags as usize, 0, 0];
        kernel(libc::SYS_vmsplice, arguments)
    }))
}
