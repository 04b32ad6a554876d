//! Masks of signals, as the kernel has them: one bit for each.

use std::ffi::c_int;
use std::io::Write;

use crane_shm::sys;
use libc::ucontext_t;

/// The highest signal number.
pub(crate) const LAST: c_int = 64;

/// The size of the kernel's signal mask in bytes.
pub(crate) const MASK: usize = 8;

/// The signals of the net's (see [`crate::net`]), which stay out of all masks.
pub(crate) const OWN: u64 = 1 << (libc::SIGSYS - 1) | 1 << (libc::SIGSEGV - 1);

/// The mask of a thread that blocks all signals, as it is read: two cannot be blocked.
pub(crate) const ALL: u64 = !(OWN | 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

/// Returns the bit of a signal in a mask, or 0 if the number is not a signal.
pub(crate) fn bit(signal: c_int) -> u64 {
    match u32::try_from(signal) {
        Ok(signal) if (1..=LAST as u32).contains(&signal) => 1 << (signal - 1),
        _ => 0,
    }
}

/// Returns the signals of a mask, lowest first.
pub(crate) fn each(mask: u64) -> impl Iterator<Item = c_int> {
    (1..=LAST).filter(move |signal| mask & bit(*signal) != 0)
}

/// Changes the calling thread's mask, and returns the previous mask. The net's signals stay out of
/// it.
fn change_mask(how: c_int, mask: u64) -> u64 {
    let mask = mask & !OWN;
    let mut before = 0_u64;
    let arguments = [how as usize, (&raw const mask).addr(), (&raw mut before).addr(), MASK, 0, 0];
    // SAFETY: both masks are 8 bytes, alive for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigprocmask, arguments) };
    before
}

/// Returns the signals that the calling thread blocks.
pub(crate) fn blocked() -> u64 {
    change_mask(libc::SIG_BLOCK, 0)
}

/// Blocks all signals of the thread, and returns the previous mask. A handler must not run in a
/// thread whose thread-local state is not set.
pub(crate) fn block_all() -> u64 {
    change_mask(libc::SIG_SETMASK, u64::MAX)
}

/// Makes the calling thread block one more signal, and returns the previous mask.
pub(crate) fn block_one(signal: c_int) -> u64 {
    change_mask(libc::SIG_BLOCK, bit(signal))
}

/// Sets the thread's mask, and returns the previous mask.
pub(crate) fn set_mask(mask: u64) -> u64 {
    change_mask(libc::SIG_SETMASK, mask)
}

/// Returns the first 64 signals of libc's set, which are all signals.
///
/// # Safety
/// `set` is null or leads to a set.
pub(crate) unsafe fn mask_at(set: *const libc::sigset_t) -> Option<u64> {
    // SAFETY: the caller's duty; a set is 128 bytes.
    unsafe { set.cast::<u64>().as_ref() }.copied()
}

/// Returns the signals that a thread of the program blocks (proc(5), `SigBlk`), or none if they
/// cannot be read.
pub(crate) fn blocked_of(tid: u32) -> u64 {
    let mut path = [0_u8; 48];
    // The number is short, and the rest of the array is zero.
    let _ = write!(&mut path[..], "/proc/{tid}/status");
    let arguments = [
        libc::AT_FDCWD as usize,
        path.as_ptr().addr(),
        (libc::O_RDONLY | libc::O_CLOEXEC) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a path of ours that ends with a zero byte.
    let file = sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) });
    let Ok(file) = file else { return 0 };
    let mut text = [0; 2048];
    let length = sys::read(file as c_int, &mut text).unwrap_or(0);
    let _ = sys::close(file as c_int);
    blocked_in(&text[..length])
}

/// Reads the mask of blocked signals from a thread's status.
fn blocked_in(status: &[u8]) -> u64 {
    let mut lines = status.split(|byte| *byte == b'\n');
    let mask = lines.find_map(|line| line.strip_prefix(b"SigBlk:\t")).unwrap_or_default();
    let digits = mask.iter().map_while(|byte| char::from(*byte).to_digit(16));
    digits.fold(0, |sum, digit| sum << 4 | u64::from(digit))
}

/// Returns the mask that the context's thread gets.
pub(crate) fn mask_of(context: &mut ucontext_t) -> &mut u64 {
    // SAFETY: the kernel's mask of 8 bytes is the beginning of libc's, which is longer.
    unsafe { &mut *(&raw mut context.uc_sigmask).cast::<u64>() }
}

/// Returns the signals that the kernel keeps for the calling thread or the process.
pub(crate) fn pending() -> u64 {
    let mut mask = 0_u64;
    let arguments = [(&raw mut mask).addr(), MASK, 0, 0, 0, 0];
    // SAFETY: a place of 8 bytes that lives for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigpending, arguments) };
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_a_thread_is_read() {
        assert_eq!(blocked_in(b"Name:\tx\nSigBlk:\t0000000000004002\nSigIgn:\t0\n"), 0x4002);
        assert_eq!(blocked_in(b"Name:\tx\n"), 0);
        let before = set_mask(bit(libc::SIGUSR1) | bit(libc::SIGWINCH));
        assert_eq!(blocked_of(sys::tid() as u32), blocked());
        assert!(blocked() & bit(libc::SIGWINCH) != 0);
        block_all();
        assert_eq!(blocked(), ALL);
        set_mask(before);
    }
}
