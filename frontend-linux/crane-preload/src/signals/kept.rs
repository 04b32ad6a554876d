//! Signals that all threads of a process block: the kernel keeps them until one unblocks them, or
//! waits for them, or reads them at a descriptor.
//!
//! The kernel takes no record from a thread that says that a person or the kernel has sent it. Such
//! a record is *disguised* as one with a value (sigqueue(3)), and *revealed* where the program gets
//! it. For the end of a child the kernel sends a signal of its own, at a time of this host's,
//! beside the library's; of either only one can be kept. So this module remembers whose end the
//! kept one tells of, whichever that is.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{siginfo_t, signalfd_siginfo};

use super::masks::{self, bit};
use super::records::{CHANGES, OWN, is_kernels_of_child, is_own_of_child, of_change};
use crate::processes;

/// The code of a disguised record. Programs have no use for it.
const DISGUISED: c_int = -0x6372;

/// The fields of `siginfo_t` for a signal with a value. The kernel keeps those up to `value` also
/// where a descriptor tells of the signal (signalfd(2)).
#[repr(C)]
#[derive(Clone, Copy)]
struct Valued {
    signal: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    /// Of the program's record, unchanged: process and user, or the band.
    sender: u64,
    value: u64,
    times: u64,
    is_own: u64,
}

/// Returns the value of a disguised record: its code, and what lies where the value lies.
fn packed(code: c_int, number: u32) -> u64 {
    u64::from(code as i16 as u16) << 32 | u64::from(number)
}

/// Returns both.
fn unpacked(value: u64) -> (c_int, u32) {
    (c_int::from((value >> 32) as u16 as i16), value as u32)
}

/// Returns a record as the kernel takes it from any thread of this process.
pub(crate) fn disguise(info: &siginfo_t) -> siginfo_t {
    if info.si_code < 0 && info.si_code != libc::SI_TKILL {
        return *info;
    }
    let mut disguised = *info;
    // SAFETY: the record is longer than the fields, all of which are integers.
    let fields = unsafe { &mut *(&raw mut disguised).cast::<Valued>() };
    fields.value = packed(fields.code, fields.value as u32);
    fields.code = DISGUISED;
    disguised
}

/// Gives the program the record that it would have got from its sender.
pub(crate) fn reveal(info: &mut siginfo_t) {
    if info.si_code != DISGUISED {
        return;
    }
    // SAFETY: as in `disguise`.
    let fields = unsafe { &mut *ptr::from_mut(info).cast::<Valued>() };
    let (code, number) = unpacked(fields.value);
    (fields.code, fields.value, fields.is_own) = (code, number.into(), OWN);
}

/// The child of whose end the kept SIGCHLD tells: its number and its status, or 0.
static OWED: AtomicU64 = AtomicU64::new(0);
/// Marks a value as one.
const IS_OWED: u64 = 1 << 63;

/// Records that the kernel keeps this signal from now on, if it tells of a child.
pub(crate) fn owe(info: &siginfo_t) {
    // Of several that nobody takes, the first stays (signal(7)).
    let is_taken = || masks::pending() & bit(libc::SIGCHLD) == 0;
    let is_kept = OWED.load(Ordering::SeqCst) != 0 && !is_taken();
    if is_own_of_child(info) && !is_kept {
        // SAFETY: the record of a child has both.
        let (number, status) = unsafe { (info.si_pid(), info.si_status()) };
        let code = u64::from(info.si_code as u8) << 56 & !IS_OWED;
        let status = u64::from(status as u8) << 32;
        OWED.store(IS_OWED | code | status | u64::from(number.cast_unsigned()), Ordering::SeqCst);
    }
}

/// Forgets a signal that is kept no more: the kernel has dropped it, because the program ignored
/// it.
pub(crate) fn check() {
    if masks::pending() & bit(libc::SIGCHLD) == 0 {
        forget_owed();
    }
}

/// Returns what the next program of this process has to know of the kept signal: that stays.
pub(crate) fn owed() -> u64 {
    OWED.load(Ordering::SeqCst)
}

/// Takes that over from the program before.
pub(crate) fn take_over(owed: u64) {
    OWED.store(owed, Ordering::SeqCst);
    check();
}

/// Records that nothing is kept.
pub(crate) fn forget_owed() {
    OWED.store(0, Ordering::SeqCst);
}

/// Makes the record of a signal that the kernel has given what the program gets, or returns `false`
/// if the program gets nothing: it is the kernel's own word of a child's end.
pub(crate) fn receive(info: &mut siginfo_t) -> bool {
    reveal(info);
    if is_own_of_child(info) {
        forget_owed();
    } else if is_kernels_of_child(info) {
        let owed = OWED.swap(0, Ordering::SeqCst);
        if owed & IS_OWED == 0 {
            return false;
        }
        let (code, status) = ((owed >> 56 & 0x7f) as c_int, (owed >> 32) as u8);
        *info = of_change(owed as u32 as libc::pid_t, code, status.into());
    }
    true
}

/// Does the same as [`receive`], for a record that was read at a descriptor.
pub(crate) fn receive_read(read: &mut signalfd_siginfo) -> bool {
    let is_of_child = read.ssi_signo == libc::SIGCHLD as u32;
    if read.ssi_code == DISGUISED {
        let (code, number) = unpacked(read.ssi_ptr);
        (read.ssi_code, read.ssi_ptr, read.ssi_int) = (code, 0, 0);
        if is_of_child && code > 0 {
            read.ssi_status = number.cast_signed();
        } else if code > 0 {
            // The band, and the descriptor that is ready.
            (read.ssi_band, read.ssi_fd) = (read.ssi_pid, number.cast_signed());
            (read.ssi_pid, read.ssi_uid) = (0, 0);
        }
    } else if is_of_child && processes::has_made() && CHANGES.contains(&read.ssi_code) {
        let owed = OWED.load(Ordering::SeqCst);
        if owed & IS_OWED == 0 {
            return false;
        }
        (read.ssi_code, read.ssi_status) =
            ((owed >> 56 & 0x7f) as c_int, (owed >> 32) as u8 as i32);
        (read.ssi_pid, read.ssi_utime, read.ssi_stime) = (owed as u32, 0, 0);
    }
    if is_of_child {
        forget_owed();
    }
    true
}

/// Returns the signals that the kernel keeps for the calling thread or the process, as the program
/// sees them.
pub(crate) fn pending() -> u64 {
    let mut pending = masks::pending();
    if pending & bit(libc::SIGCHLD) == 0 {
        return pending;
    }
    if processes::has_made() && OWED.load(Ordering::SeqCst) == 0 {
        pending &= !bit(libc::SIGCHLD);
    }
    pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{sent_by, sent_by_self};

    #[test]
    fn a_record_is_the_same_behind_its_disguise() {
        let records = [
            sent_by(7, libc::SIGUSR1, libc::SI_USER),
            sent_by_self(libc::SIGHUP, libc::SI_TKILL),
            of_change(9, libc::CLD_EXITED, 3),
            of_change(10, libc::CLD_KILLED, libc::SIGKILL),
        ];
        for record in records {
            let mut given = disguise(&record);
            assert!(given.si_code < 0 && given.si_code != libc::SI_TKILL);
            reveal(&mut given);
            assert_eq!((given.si_signo, given.si_code), (record.si_signo, record.si_code));
            // SAFETY: records of senders and children.
            unsafe {
                assert_eq!(given.si_pid(), record.si_pid());
                assert_eq!(given.si_status(), record.si_status());
            }
        }
        let valued = sent_by_self(libc::SIGUSR1, libc::SI_QUEUE);
        assert_eq!(disguise(&valued).si_code, libc::SI_QUEUE);
    }

    #[test]
    fn numbers_below_zero_are_packed() {
        for (code, number) in [(libc::SI_TKILL, u32::MAX), (0, 0), (6, 1 << 31)] {
            assert_eq!(unpacked(packed(code, number)), (code, number));
        }
    }
}
