//! signalfd, inotify_init: objects of the kernel that tell of what the server itself has done. The
//! library follows them from their first moment, so that no thread waits in the kernel.

use std::ffi::c_int;

use crane_shm::sys;
use libc::sigset_t;

use super::follow::follow_in_turn;
use crate::descriptors::lookup;
use crate::errno;
use crate::numbers::is_unknown;
use crate::signals;
use crate::turn::{Call, begin};

/// Follows an object that the kernel has just made, or whose wishes it has changed.
fn follow(result: Result<usize, c_int>, signals: bool) -> c_int {
    if let Ok(descriptor) = result
        && is_unknown(descriptor as c_int)
        && let Some(mut held) = begin(Call::Channel, descriptor as u32)
    {
        let world = held.world();
        follow_in_turn(world, descriptor as c_int);
        if let Some(place) = lookup(descriptor as c_int) {
            world.descriptors.at(place).signals = signals;
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
    follow(sys::checked(unsafe { sys::syscall(libc::SYS_signalfd4, arguments) }), true)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn signalfd(descriptor: c_int, wanted: *const sigset_t, flags: c_int) -> c_int {
    // SAFETY: the caller's set.
    let wanted = unsafe { signals::mask_at(wanted) };
    let start = wanted.as_ref().map_or(0, |wanted| std::ptr::from_ref(wanted).addr());
    // SAFETY: a mask of ours, or none.
    unsafe { signalfd4(descriptor, start, size_of::<u64>(), flags) }
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
    follow(made, false)
}
