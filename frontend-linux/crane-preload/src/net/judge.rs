//! The judgement on a call that is not made by this library: by its number, its arguments, and
//! whether libc makes it.
//!
//! libc's own text makes three sorts of calls: those of functions that a hook covers (they do not
//! come here: the hook makes them itself, or lends the thread its pass), those that answer the same
//! in every replica, and those of functions that no hook covers. Only the last sort is reported, as
//! the table of calls says ([`crane_shm::table`]), unless the arguments decide otherwise.

use crane_shm::table::{self, Class, InLibc, Waits};
use libc::c_long;

/// The judgement on a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Judgement {
    /// Whether the call bypasses the hooks.
    pub is_reported: bool,
    /// The way in which the call is passed on.
    pub pass: Pass,
}

/// The way in which a call is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// The handler makes the call, which never waits.
    Here,
    /// The program makes the call again, unseen, because it may wait, be interrupted, or not
    /// return.
    Again,
}

/// Calls that change memory or the thread's own base. A program's call may change what the handler
/// runs on.
pub(super) const MEMORY: [c_long; 7] = [
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_pkey_mprotect,
    libc::SYS_arch_prctl,
];

/// Returns whether the stack may be another, or be used by two, or be gone behind a call.
pub(super) fn moves_stack(number: c_long, [start, length, ..]: [usize; 6], stack: usize) -> bool {
    /// Around the top, which a function uses that makes the call.
    const USED: usize = 4096;
    let made = [libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork];
    let has_stack = || {
        let end = start.saturating_add(length);
        start < stack.saturating_add(USED) && stack.saturating_sub(USED) < end
    };
    made.contains(&number) || number == libc::SYS_exit || MEMORY.contains(&number) && has_stack()
}

/// A call that is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trapped {
    /// The call's number.
    pub number: c_long,
    /// The call's arguments.
    pub arguments: [usize; 6],
    /// Whether the instruction lies in libc's text.
    pub is_libc: bool,
    /// Whether threads run one at a time.
    pub is_serial: bool,
    /// Whether hooks answer the calls that are caught.
    pub has_floor: bool,
    /// The thing that one of its pointers, or the stack's top, leads to, where that decides.
    pub named: Named,
}

/// The thing that a pointer of a call leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// It decides nothing.
    Nothing,
    /// An address of this family.
    Family(u16),
    /// A timer that is turned off.
    NoTime,
    /// A function of libc's, which asks for itself.
    Libc,
}

/// Returns whether an option of prctl(2) is about the signal at the end of the parent, which a hook
/// answers where children take part.
pub(crate) fn is_of_parent(option: i32) -> bool {
    [libc::PR_SET_PDEATHSIG, libc::PR_GET_PDEATHSIG].contains(&option)
}

/// Judges a call.
pub(crate) fn judge(call: &Trapped) -> Judgement {
    let Trapped { number, is_libc, .. } = *call;
    let is_prompt = table::group(number).is_some_and(|group| group.waits == Waits::Never)
        && (is_libc || !MEMORY.contains(&number));
    let pass = if is_prompt { Pass::Here } else { Pass::Again };
    let is_silent = is_libc && is_harmless(call) || call.has_floor && is_the_kernels(call);
    Judgement { is_reported: !is_silent, pass }
}

/// Returns whether the kernel's answer to a call is as good as a hook's, whoever makes it.
fn is_the_kernels(call: &Trapped) -> bool {
    let class = table::group(call.number).map(|group| group.class);
    matches!(class, Some(Class::Pure | Class::Ordered)) && !sets_filter(call)
}

/// Returns whether a call sets a filter of the program's own, which blinds the net.
fn sets_filter(call: &Trapped) -> bool {
    call.number == libc::SYS_prctl && call.arguments[0] as i32 == libc::PR_SET_SECCOMP
}

/// Returns whether nothing is said of a call of libc's.
fn is_harmless(call: &Trapped) -> bool {
    let Trapped { number, arguments, is_serial, named, .. } = *call;
    match number {
        libc::SYS_prctl => !sets_filter(call),
        // libc's own locks (allocator, streams) are taken in any order where threads run side by
        // side. One at a time, who waits here waits for a thread that waits for the turn.
        libc::SYS_futex => is_wake(arguments[1]) || !is_serial,
        libc::SYS_sendto => is_local(named),
        libc::SYS_setitimer => named == Named::NoTime,
        // qsort asks how much memory there is, for the size of its own.
        libc::SYS_sysinfo => named == Named::Libc,
        libc::SYS_alarm => arguments[0] == 0,
        // A thread's end has a hook.
        libc::SYS_exit => true,
        _ => table::group(number).is_some_and(|group| group.in_libc == InLibc::Unseen),
    }
}

fn is_wake(operation: usize) -> bool {
    let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    let operation = operation as i32 & !flags;
    matches!(operation, libc::FUTEX_WAKE | libc::FUTEX_WAKE_OP | libc::FUTEX_UNLOCK_PI)
}

fn is_local(named: Named) -> bool {
    let families = [libc::AF_UNIX, libc::AF_NETLINK];
    matches!(named, Named::Family(family) if families.contains(&i32::from(family)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: c_long, is_libc: bool) -> Trapped {
        let arguments = [0; 6];
        let (is_serial, has_floor, named) = (true, false, Named::Nothing);
        Trapped { number, arguments, is_libc, is_serial, has_floor, named }
    }

    fn is_reported(call: Trapped) -> bool {
        judge(&call).is_reported
    }

    #[test]
    fn calls_that_change_memory_never_wait() {
        let never = |number| table::group(number).expect("a row").waits == Waits::Never;
        assert!(MEMORY.into_iter().all(never));
    }

    #[test]
    fn every_call_of_a_text_that_is_not_libc_is_reported() {
        for number in 0..=1023 {
            assert!(is_reported(call(number, false)), "{number}");
        }
    }

    #[test]
    fn with_a_floor_calls_that_the_kernel_answers_alike_are_not_reported() {
        let on_floor = |number| is_reported(Trapped { has_floor: true, ..call(number, false) });
        for number in [libc::SYS_lseek, libc::SYS_gettid, libc::SYS_mkdir, libc::SYS_shmget] {
            assert!(!on_floor(number), "{number}");
        }
        for number in [libc::SYS_statfs, libc::SYS_clone, libc::SYS_signalfd4, 700] {
            assert!(on_floor(number), "{number}");
        }
        let mut filter = Trapped { has_floor: true, ..call(libc::SYS_prctl, false) };
        assert!(!is_reported(filter));
        filter.arguments[0] = libc::PR_SET_SECCOMP as usize;
        assert!(is_reported(filter));
    }

    #[test]
    fn calls_of_libc_are_reported_if_the_table_says_so() {
        for number in [libc::SYS_openat, libc::SYS_read, libc::SYS_mmap, libc::SYS_fstat] {
            assert!(!is_reported(call(number, true)), "{number}");
        }
        for number in [libc::SYS_semop, libc::SYS_getrusage, libc::SYS_clone3, libc::SYS_wait4] {
            assert!(is_reported(call(number, true)), "{number}");
        }
        assert!(is_reported(call(1024, true)), "a number that no kernel has");
    }

    #[test]
    fn arguments_decide_where_numbers_do_not() {
        let with = |number, place: usize, value: usize| {
            let mut call = call(number, true);
            call.arguments[place] = value;
            call
        };
        let naming = |number, named| Trapped { named, ..call(number, true) };
        assert!(is_reported(with(libc::SYS_prctl, 0, libc::PR_SET_SECCOMP as usize)));
        assert!(!is_reported(with(libc::SYS_prctl, 0, libc::PR_SET_NAME as usize)));
        let [wait, wake] = [libc::FUTEX_WAIT, libc::FUTEX_WAKE]
            .map(|operation| with(libc::SYS_futex, 1, (operation | 128) as usize));
        assert!(is_reported(wait) && !is_reported(wake));
        assert!(!is_reported(Trapped { is_serial: false, ..wait }));
        assert!(is_reported(naming(libc::SYS_sendto, Named::Family(libc::AF_INET as u16))));
        assert!(!is_reported(naming(libc::SYS_sendto, Named::Family(libc::AF_NETLINK as u16))));
        assert!(is_reported(naming(libc::SYS_setitimer, Named::Nothing)));
        assert!(!is_reported(naming(libc::SYS_setitimer, Named::NoTime)));
        assert!(is_reported(naming(libc::SYS_sysinfo, Named::Nothing)));
        assert!(!is_reported(naming(libc::SYS_sysinfo, Named::Libc)));
    }

    #[test]
    fn calls_that_may_wait_or_move_the_stack_are_made_by_the_program() {
        let pass = |number, is_libc| judge(&call(number, is_libc)).pass;
        for number in [libc::SYS_futex, libc::SYS_clone, libc::SYS_read] {
            assert_eq!(pass(number, true), Pass::Again, "{number}");
        }
        assert_eq!(pass(libc::SYS_munmap, false), Pass::Again);
        assert_eq!(pass(libc::SYS_munmap, true), Pass::Here);
        assert_eq!(pass(libc::SYS_mkdir, false), Pass::Here);
    }
}
