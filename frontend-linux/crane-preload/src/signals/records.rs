//! Records of signals (`siginfo_t` of sigaction(2)) that the library makes.

use std::ffi::c_int;
use std::ptr;

use crane_shm::sys;
use libc::siginfo_t;

use crate::processes;

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

/// The fields of `siginfo_t` for the codes of sent signals, and of those that tell of a child.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sent {
    signal: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    process: libc::pid_t,
    user: libc::uid_t,
    /// Of a child: its exit code, or the signal that has ended it.
    status: c_int,
    /// The value of sigqueue(3), and the times of a child.
    rest: [u32; 3],
    /// [`OWN`]. The kernel's own records of sent signals have zero here, those of children a time,
    /// and no program looks.
    is_own: u64,
}

/// Marks the library's records.
pub(super) const OWN: u64 = u64::from_le_bytes(*b"crane\0\0\0");

/// Returns whether the record of a sent signal, or of the end of a child, is one of the library's.
///
/// # Safety
/// The record is of such a signal (`SI_USER`, `SI_QUEUE`, `SI_TKILL`, `CLD_EXITED` …).
pub(super) unsafe fn is_own_sent(info: &siginfo_t) -> bool {
    // SAFETY: the caller's duty. The kernel's own record is no shorter than ours.
    unsafe { *ptr::from_ref(info).cast::<Sent>() }.is_own == OWN
}

/// The codes that tell of a child: of its end, or that a person has stopped it or lets it go on,
/// which is none of the program's business.
pub(super) const CHANGES: std::ops::RangeInclusive<c_int> = libc::CLD_EXITED..=libc::CLD_CONTINUED;

/// Marks a record of the program's own making as one of a signal that the library sends.
pub(crate) fn mark_own(info: &mut siginfo_t) {
    if [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&info.si_code) {
        // SAFETY: the record of a sent signal, which is longer than the fields.
        unsafe { (*ptr::from_mut(info).cast::<Sent>()).is_own = OWN };
    }
}

/// Returns whether a signal is the kernel's own word of the end of a child that takes part: this
/// library sends the program another one, in the turn. The kernel sends one for a child that has
/// executed a program.
pub(crate) fn is_kernels_of_child(info: &siginfo_t) -> bool {
    let is_of_child = info.si_signo == libc::SIGCHLD && CHANGES.contains(&info.si_code);
    processes::has_made() && is_of_child && !is_own_of_child(info)
}

/// Returns whether the record of the end of a child is one of the library's.
pub(super) fn is_own_of_child(info: &siginfo_t) -> bool {
    // SAFETY: the record of such a signal.
    info.si_signo == libc::SIGCHLD && unsafe { is_own_sent(info) }
}

/// Returns the record of the end of a child, or another change, which has a status as wait(2)
/// returns it.
pub(crate) fn of_child(number: libc::pid_t, status: c_int) -> siginfo_t {
    let (code, status) = if libc::WIFEXITED(status) {
        (libc::CLD_EXITED, libc::WEXITSTATUS(status))
    } else if libc::WIFCONTINUED(status) {
        (libc::CLD_CONTINUED, libc::SIGCONT)
    } else if libc::WIFSTOPPED(status) {
        (libc::CLD_STOPPED, libc::WSTOPSIG(status))
    } else if libc::WCOREDUMP(status) {
        (libc::CLD_DUMPED, libc::WTERMSIG(status))
    } else {
        (libc::CLD_KILLED, libc::WTERMSIG(status))
    };
    of_change(number, code, status)
}

/// Returns the record of the end of a child, with this code, or of another change of it.
pub(crate) fn of_change(number: libc::pid_t, code: c_int, status: c_int) -> siginfo_t {
    let mut info = sent_by_self(libc::SIGCHLD, code);
    // SAFETY: as in `sent_by`.
    let record = unsafe { &mut *(&raw mut info).cast::<Sent>() };
    (record.process, record.status) = (number, status);
    info
}

/// Returns the record of a signal that this process sends, by kill(2) or tgkill(2).
pub(crate) fn sent_by_self(signal: c_int, code: c_int) -> siginfo_t {
    sent_by(sys::pid(), signal, code)
}

/// Returns the record of a signal that nobody sends.
pub(crate) fn sent_by_kernel(signal: c_int) -> siginfo_t {
    let mut info = sent_by(0, signal, libc::SI_KERNEL);
    // SAFETY: as in `sent_by`.
    unsafe { (*(&raw mut info).cast::<Sent>()).user = 0 };
    info
}

/// Returns the record of a signal that tells of a descriptor (`F_SETSIG` of fcntl(2)).
pub(crate) fn of_descriptor(
    signal: c_int,
    code: c_int,
    band: c_int,
    descriptor: c_int,
) -> siginfo_t {
    /// Those whose codes have meanings of their own.
    const SPECIFIC: [c_int; 7] = [
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGTRAP,
        libc::SIGCHLD,
        libc::SIGSYS,
    ];
    let code = if SPECIFIC.contains(&signal) { libc::SI_SIGIO } else { code };
    let mut info = sent_by(0, signal, code);
    // SAFETY: as in `sent_by`: band and descriptor lie where others have sender and status.
    let record = unsafe { &mut *(&raw mut info).cast::<Sent>() };
    (record.process, record.user, record.status) = (band, 0, descriptor);
    info
}

/// Does the same for a signal of another process of the program.
pub(crate) fn sent_by(process: libc::pid_t, signal: c_int, code: c_int) -> siginfo_t {
    // SAFETY: all fields are integers, for which zero is a value; the record is longer than the
    // fields, which are those of the kernel's for these codes (sigaction(2)).
    unsafe {
        let mut info: siginfo_t = std::mem::zeroed();
        let user = rustix::process::getuid().as_raw();
        let (padding, status, rest) = (0, 0, [0; 3]);
        let sent =
            Sent { signal, error: 0, code, padding, process, user, status, rest, is_own: OWN };
        (&raw mut info).cast::<Sent>().write(sent);
        info
    }
}
