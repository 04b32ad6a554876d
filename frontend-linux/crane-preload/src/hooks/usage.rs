//! getrusage, times: what the server has used, in agreed time. As for the clocks of processor time,
//! the server has used all time since its start, itself and none of it in the kernel. Its children
//! have used nothing.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use crane_shm::sys;
use libc::{clock_t, rusage, timespec, timeval, tms};

use super::time::{SECOND, UPTIME, nanoseconds, read};
use crate::errno;

/// The number of nanoseconds in one of the parts of a second that times(2) counts.
pub(super) const CLOCK_STEP: u64 = SECOND / 100;

/// The largest number of KiB that the server has had in memory, as it sees it.
const RESIDENT: i64 = 16 * 1024;

/// A usage of nothing.
pub(super) const NOTHING: rusage = {
    // SAFETY: all fields are integers, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
};

/// Returns the usage of a process or a thread that has run for this time.
fn usage(time: &timespec) -> rusage {
    rusage {
        ru_utime: timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 },
        ru_maxrss: RESIDENT,
        ..NOTHING
    }
}

/// Returns whether there is a usage of this kind.
pub(super) fn exists(who: c_int) -> bool {
    [libc::RUSAGE_SELF, libc::RUSAGE_THREAD, libc::RUSAGE_CHILDREN].contains(&who)
}

// specs: S13
#[unsafe(no_mangle)]
unsafe extern "C" fn getrusage(who: c_int, to: *mut rusage) -> c_int {
    if !exists(who) {
        return errno::answer_int(Err(libc::EINVAL));
    }
    let Some(time) = read(libc::CLOCK_PROCESS_CPUTIME_ID) else {
        let arguments = [who as usize, to.addr(), 0, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_getrusage, arguments) });
        return errno::answer_int(result);
    };
    if to.is_null() {
        return errno::answer_int(Err(libc::EFAULT));
    }
    let usage = if who == libc::RUSAGE_CHILDREN { NOTHING } else { usage(&time) };
    // SAFETY: the caller's place.
    unsafe { to.write(usage) };
    0
}

// specs: S13
#[unsafe(no_mangle)]
unsafe extern "C" fn times(to: *mut tms) -> clock_t {
    let Some(now) = read(libc::CLOCK_MONOTONIC).as_ref().map(nanoseconds) else {
        let real = real!(times: fn(*mut tms) -> clock_t);
        // SAFETY: the caller's own argument.
        return unsafe { real(to) };
    };
    if !to.is_null() {
        let used = ((now - UPTIME) / CLOCK_STEP) as clock_t;
        // SAFETY: the caller's place.
        unsafe { to.write(tms { tms_utime: used, tms_stime: 0, tms_cutime: 0, tms_cstime: 0 }) };
    }
    (now / CLOCK_STEP) as clock_t
}
