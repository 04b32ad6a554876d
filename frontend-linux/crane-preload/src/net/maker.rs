//! The judgement on clone(2): what makes the thread or the process that a program asks for.

use std::ffi::c_int;

/// The one that answers a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Maker {
    /// This library, which makes a thread.
    Thread,
    /// This library, which makes a child process as fork(2) does.
    Process,
    /// The kernel: what the call makes is outside of the schedule.
    Kernel,
}

/// The signal that the kernel sends to the parent at the child's end, and what changes nothing in
/// the child but where it finds its number, or its parent a descriptor of it.
const OF_FORK: c_int = 0xff
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_PIDFD;

/// Judges a call with these flags. `is_libc` is whether libc makes it, which shares its data with
/// this library; `may_set_bases` is whether threads may have bases of their own.
// specs: S12
pub(crate) fn maker(flags: usize, is_libc: bool, may_set_bases: bool) -> Maker {
    let flags = flags as c_int;
    if flags & libc::CLONE_THREAD != 0 {
        // A thread that libc makes for itself begins in libc, which prepares the kernel's thread.
        let may_have_base = may_set_bases && !is_libc;
        let is_made = may_have_base || flags & libc::CLONE_SETTLS == 0;
        return if is_made { Maker::Thread } else { Maker::Kernel };
    }
    // The parent waits until the child has executed a program, so a copy of its memory serves as
    // well, unless the child leaves something there for it, as that of libc's functions does.
    let of_vfork = libc::CLONE_VFORK | libc::CLONE_VM;
    let is_vfork = flags & libc::CLONE_VFORK != 0 && !is_libc;
    let allowed = if is_vfork { OF_FORK | of_vfork } else { OF_FORK };
    if flags & !allowed == 0 { Maker::Process } else { Maker::Kernel }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{CLONE_FILES, CLONE_NEWNET, CLONE_SETTLS, CLONE_THREAD, CLONE_VFORK, CLONE_VM};

    fn of(flags: c_int) -> [Maker; 2] {
        [false, true].map(|is_libc| maker((flags | libc::SIGCHLD) as usize, is_libc, true))
    }

    #[test]
    fn threads_are_the_librarys_if_their_bases_can_be_set() {
        assert_eq!(of(CLONE_THREAD | CLONE_VM), [Maker::Thread; 2]);
        let with_base = CLONE_THREAD | CLONE_VM | CLONE_SETTLS;
        assert_eq!(of(with_base), [Maker::Thread, Maker::Kernel]);
        assert_eq!(maker(with_base as usize, false, false), Maker::Kernel);
    }

    #[test]
    fn processes_are_the_librarys_if_they_are_like_forks() {
        assert_eq!(of(0), [Maker::Process; 2]);
        assert_eq!(of(CLONE_VFORK | CLONE_VM), [Maker::Process, Maker::Kernel]);
        for shared in [CLONE_VM, CLONE_FILES, CLONE_NEWNET] {
            assert_eq!(of(shared), [Maker::Kernel; 2]);
        }
    }
}
