//! signalfd, inotify_init: objects of the kernel that tell of what the server itself has done. The
//! library follows them from their first moment, so that no thread waits in the kernel.
//!
//! A signalfd tells of signals that its reader's threads block, which the kernel keeps (see
//! `signals::kept`): it is ready when one of them is, and what is read at it is what the program
//! would get by its sender's word.

use std::ffi::c_int;

use crane_shm::sys;
use libc::{iovec, signalfd_siginfo, sigset_t};

use super::follow::follow_in_turn;
use super::parts::{at_once, flags_of, length, space_of};
use crate::descriptors::lookup;
use crate::errno;
use crate::execution::On;
use crate::net;
use crate::numbers::is_unknown;
use crate::posting;
use crate::readiness;
use crate::signals::{self, kept};
use crate::turn::{Call, Held, begin};
use crate::world::World;

/// The size of what is read of a signal.
const RECORD: usize = size_of::<signalfd_siginfo>();

/// Follows an object that the kernel has just made, or a signalfd whose wishes it has changed to
/// these.
fn follow(result: Result<usize, c_int>, signals: Option<u64>) -> c_int {
    if let Ok(descriptor) = result
        && (signals.is_some() || is_unknown(descriptor as c_int))
        && let Some(mut held) = begin(Call::Channel, descriptor as u32)
    {
        let world = held.world();
        follow_in_turn(world, descriptor as c_int);
        if let Some(place) = lookup(descriptor as c_int) {
            let World { run, descriptors, watches, .. } = world;
            descriptors.at(place).signals = signals;
            run.turn.wake(On::Read(place).key(), u32::MAX);
            readiness::suspect(run, descriptors, watches, place);
        }
        held.end();
    }
    errno::answer_int(result)
}

/// signalfd4(2): `wanted` leads to a mask of the kernel's, of this size. No wish holds the net's
/// own signals.
///
/// # Safety
/// As unsafe as the call.
pub(super) unsafe fn signalfd4(
    descriptor: c_int,
    wanted: usize,
    size: usize,
    flags: c_int,
) -> c_int {
    let arguments = [descriptor as usize, wanted, size, flags as usize, 0, 0];
    // SAFETY: the caller's own arguments.
    let made = sys::checked(unsafe { sys::syscall(libc::SYS_signalfd4, arguments) });
    follow(made, Some(net::read(wanted).unwrap_or(0)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd(descriptor: c_int, wanted: *const sigset_t, flags: c_int) -> c_int {
    // SAFETY: the caller's set.
    let wanted = unsafe { signals::mask_at(wanted) };
    let start = wanted.as_ref().map_or(0, |wanted| std::ptr::from_ref(wanted).addr());
    // SAFETY: a mask of ours, or none.
    unsafe { signalfd4(descriptor, start, size_of::<u64>(), flags) }
}

/// Reads signals at a signalfd, as many as there are and as the spaces hold, without waiting.
pub(super) fn read_signals(
    held: &mut Held,
    descriptor: c_int,
    spaces: &[iovec],
) -> Result<usize, c_int> {
    let me = held.me;
    posting::settle(held.world(), me);
    let is_nonblocking = flags_of(descriptor).is_some_and(|flags| flags & libc::O_NONBLOCK != 0);
    let room = length(spaces) / RECORD * RECORD;
    if room == 0 {
        return Err(libc::EINVAL);
    }
    let mut read = 0;
    while read < room {
        match read_signal(descriptor, is_nonblocking) {
            Ok(Some(bytes)) => put(spaces, read, &bytes),
            // The kernel's own word of a child's end.
            Ok(None) => continue,
            Err(_) if read > 0 => break,
            Err(error) => return Err(error),
        }
        read += RECORD;
    }
    Ok(read)
}

/// Reads one signal. Returns nothing if it is none of the program's.
fn read_signal(descriptor: c_int, is_nonblocking: bool) -> Result<Option<[u8; RECORD]>, c_int> {
    let mut bytes = [0; RECORD];
    let read = match is_nonblocking {
        true => sys::read(descriptor, &mut bytes),
        false => at_once(descriptor, || sys::read(descriptor, &mut bytes)),
    }?;
    if read != RECORD {
        return Err(libc::EAGAIN);
    }
    // SAFETY: as many bytes; all fields are integers.
    let mut record: signalfd_siginfo = unsafe { std::mem::transmute(bytes) };
    let is_programs = kept::receive_read(&mut record);
    // SAFETY: as above; the record has no padding.
    Ok(is_programs
        .then(|| unsafe { std::mem::transmute::<signalfd_siginfo, [u8; RECORD]>(record) }))
}

/// Copies bytes to the spaces, behind the first `skip` bytes of them.
fn put(spaces: &[iovec], mut skip: usize, mut bytes: &[u8]) {
    for piece in spaces {
        let space = space_of(piece);
        let from = skip.min(space.len());
        skip -= from;
        let count = bytes.len().min(space.len() - from);
        let (here, rest) = bytes.split_at(count);
        space[from..from + count].copy_from_slice(here);
        bytes = rest;
    }
}

#[unsafe(no_mangle)]
extern "C" fn inotify_init() -> c_int {
    inotify_init1(0)
}

#[unsafe(no_mangle)]
extern "C" fn inotify_init1(flags: c_int) -> c_int {
    // SAFETY: inotify_init1 touches no memory.
    let made = sys::checked(unsafe {
        sys::syscall(libc::SYS_inotify_init1, [flags as usize, 0, 0, 0, 0, 0])
    });
    follow(made, None)
}
