//! Signals that the program sends to its own threads.
//!
//! A thread that waits in the turn sits in a futex of this library: a handler that ran there would
//! run beside the holder of the turn, and would not end the wait. So the sender notes the signal
//! and ends the wait; the thread sends the signal to itself in its own turn, out of any hook. The
//! handler then runs at the same logical time in every replica, and its calls are hooked.

use std::ptr;

use crane_shm::sys;

/// The highest signal number.
const LAST: u32 = 64;

/// The size of the kernel's signal mask in bytes.
const MASK: usize = 8;

/// `struct kernel_sigaction`, as rt_sigaction(2) gives it.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// The fate of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    /// The kernel ignores it, or does what it does by default.
    Kernel,
    /// A handler of the program runs.
    Handler {
        /// The call that it interrupts starts again (`SA_RESTART`).
        restarts: bool,
    },
}

/// Returns the bit of a signal in a mask; 0: not a signal.
pub(crate) fn bit(signal: i32) -> u64 {
    match u32::try_from(signal) {
        Ok(signal @ 1..=LAST) => 1 << (signal - 1),
        _ => 0,
    }
}

/// Returns the signals of a mask, lowest first, as the kernel delivers them.
pub(crate) fn each(mask: u64) -> impl Iterator<Item = i32> {
    (1..=LAST as i32).filter(move |signal| mask & bit(*signal) != 0)
}

/// Returns what becomes of a signal of this process.
pub(crate) fn disposition(signal: i32) -> Disposition {
    let mut action = Action { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    let arguments = [signal as usize, 0, (&raw mut action).addr(), MASK, 0, 0];
    // SAFETY: a place of ours, of the kernel's size, that lives for the call.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_rt_sigaction, arguments) });
    let by_kernel = action.handler == libc::SIG_DFL || action.handler == libc::SIG_IGN;
    if result.is_err() || by_kernel {
        return Disposition::Kernel;
    }
    Disposition::Handler { restarts: action.flags & libc::SA_RESTART as usize != 0 }
}

/// Returns the signals that the calling thread blocks.
pub(crate) fn blocked() -> u64 {
    let mut mask = 0_u64;
    let null = ptr::null::<u64>().addr();
    let arguments = [libc::SIG_BLOCK as usize, null, (&raw mut mask).addr(), MASK, 0, 0];
    // SAFETY: a place of 8 bytes that lives for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigprocmask, arguments) };
    mask
}

/// Sends a signal to the calling thread: a handler runs before this returns, unless the signal is
/// blocked.
pub(crate) fn send_to_self(signal: i32) {
    let arguments = [sys::pid() as usize, sys::tid() as usize, signal as usize, 0, 0, 0];
    // SAFETY: tgkill touches no memory.
    unsafe { sys::syscall(libc::SYS_tgkill, arguments) };
}
