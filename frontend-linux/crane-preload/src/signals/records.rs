//! Records of signals (`siginfo_t` of sigaction(2)) that the library makes.

use std::ffi::c_int;
use std::ptr;

use crane_shm::sys;
use libc::siginfo_t;

/// The fields of `siginfo_t` for `SI_TIMER`.
#[repr(C)]
#[derive(Clone, Copy)]
struct TimerRecord {
    signal: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    timer: c_int,
    overrun: c_int,
    value: usize,
    /// The kernel's own records have zero here, and no program looks.
    is_own: usize,
}

/// Returns whether the record of a signal of a timer is one of the library's.
///
/// # Safety
/// The record is of a timer (`SI_TIMER`).
pub(super) unsafe fn is_own_timer(info: &siginfo_t) -> bool {
    // SAFETY: the caller's duty. The kernel's own record is no shorter than ours.
    unsafe { *ptr::from_ref(info).cast::<TimerRecord>() }.is_own != 0
}

/// Returns the record of a signal that a timer of the program's sends.
pub(crate) fn sent_by_timer(
    signal: c_int,
    timer: c_int,
    overrun: c_int,
    value: usize,
) -> siginfo_t {
    let (error, code, padding, is_own) = (0, libc::SI_TIMER, 0, 1);
    // SAFETY: all fields are integers, for which zero is a value; the record is longer than the
    // fields, which are those of the kernel's for this code (sigaction(2)).
    unsafe {
        let mut info: siginfo_t = std::mem::zeroed();
        let sent = TimerRecord { signal, error, code, padding, timer, overrun, value, is_own };
        (&raw mut info).cast::<TimerRecord>().write(sent);
        info
    }
}

/// Returns the record of a signal that this process sends, by kill(2) or tgkill(2).
pub(crate) fn sent_by_self(signal: c_int, code: c_int) -> siginfo_t {
    /// The fields of `siginfo_t` for the codes of sent signals.
    #[repr(C)]
    struct Sent {
        signal: c_int,
        error: c_int,
        code: c_int,
        padding: c_int,
        process: libc::pid_t,
        user: libc::uid_t,
    }
    // SAFETY: all fields are integers, for which zero is a value; the record is longer than the
    // fields, which are those of the kernel's for these codes (sigaction(2)).
    unsafe {
        let mut info: siginfo_t = std::mem::zeroed();
        let user = rustix::process::getuid().as_raw();
        let sent = Sent { signal, error: 0, code, padding: 0, process: sys::pid(), user };
        (&raw mut info).cast::<Sent>().write(sent);
        info
    }
}
