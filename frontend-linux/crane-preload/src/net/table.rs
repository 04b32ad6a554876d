//! The judgement on a call that is not made by this library: by its number, its arguments, and
//! whether libc makes it.
//!
//! libc's own text makes three sorts of calls: those of functions that a hook covers (they do not
//! come here: the hook makes them itself, or lends the thread its pass), those that answer the same
//! in every replica, and those of functions that no hook covers. Only the last sort is reported.
//! The lists below are the second one: a number that is on none is reported.

use std::ops::RangeInclusive;

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

/// Calls that change this process alone, or to which the kernel gives every replica the same
/// answer.
pub(crate) const OWN_PROCESS: [c_long; 64] = [
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_mlockall,
    libc::SYS_munlockall,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_memfd_create,
    libc::SYS_pkey_mprotect,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_arch_prctl,
    libc::SYS_prctl,
    libc::SYS_personality,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpgrp,
    libc::SYS_getsid,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_uname,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
];

/// Calls for files and their descriptors. Every replica's server has its own copies of the same
/// files. Their differences (inode numbers, times) are a limit of their own.
pub(crate) const FILES: [c_long; 61] = [
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
];

/// Calls for files in which a thread may wait. Streams of libc (stdio) read and write files and
/// pipes.
///
/// The alternate stack is among them because the handler's own end puts it back as it was.
const MAY_WAIT: [c_long; 20] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_creat,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_sched_yield,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sigaltstack,
];

/// Look-ups by which libc asks what the cell has: the kernel's table of addresses, which of several
/// addresses of a host can be reached, and a name service of this host, which is not there. What
/// is sent to others is reported.
const LOOKUPS: [c_long; 7] = [
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_recvmsg,
];

/// Calls that make or change objects of the kernel that hooks follow from their first use on. A
/// cell has such objects of its own, so their numbers are alike.
const OBJECTS: [c_long; 6] = [
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
];

/// Calls that answer at once, but not alike on every replica, or that make what no hook knows.
const ANSWERS: [c_long; 22] = [
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    libc::SYS_sysinfo,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_mincore,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_timerfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_pidfd_open,
];

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

/// Numbers of 64-bit calls. Those of other architectures are never libc's.
const NUMBERS: RangeInclusive<c_long> = 0..=1023;

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

/// Judges a call.
pub(crate) fn judge(call: &Trapped) -> Judgement {
    let Trapped { number, is_libc, .. } = *call;
    let is_harmless = is_libc && NUMBERS.contains(&number) && is_harmless(call);
    let is_prompt = is_prompt(number) && (is_libc || !MEMORY.contains(&number));
    let pass = if is_prompt { Pass::Here } else { Pass::Again };
    Judgement { is_reported: !is_harmless, pass }
}

/// Returns whether a call never waits, and returns.
fn is_prompt(number: c_long) -> bool {
    let lists = [&OWN_PROCESS[..], &FILES, &ANSWERS];
    NUMBERS.contains(&number) && lists.iter().any(|list| list.contains(&number))
}

fn is_harmless(call: &Trapped) -> bool {
    let Trapped { number, arguments, is_serial, named, .. } = *call;
    match number {
        // A filter of the program's own blinds the net.
        libc::SYS_prctl => arguments[0] as i32 != libc::PR_SET_SECCOMP,
        // libc's own locks (allocator, streams) are taken in any order where threads run side by
        // side. One at a time, who waits here waits for a thread that waits for the turn.
        libc::SYS_futex => is_wake(arguments[1]) || !is_serial,
        libc::SYS_sendto => is_local(named),
        libc::SYS_setitimer => named == Named::NoTime,
        // qsort asks how much memory there is, for the size of its own.
        libc::SYS_sysinfo => named == Named::Libc,
        libc::SYS_alarm => arguments[0] == 0,
        _ => [&OWN_PROCESS[..], &FILES, &LOOKUPS, &OBJECTS, &MAY_WAIT]
            .iter()
            .any(|list| list.contains(&number)),
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
        Trapped { number, arguments, is_libc, is_serial: true, named: Named::Nothing }
    }

    fn is_reported(call: Trapped) -> bool {
        judge(&call).is_reported
    }

    #[test]
    fn no_number_is_on_two_lists() {
        let lists = [&OWN_PROCESS[..], &FILES, &MAY_WAIT, &LOOKUPS, &OBJECTS];
        let all = lists.concat();
        for number in &all {
            assert_eq!(all.iter().filter(|other| *other == number).count(), 1, "{number}");
        }
        assert!(MAY_WAIT.iter().all(|number| !ANSWERS.contains(number)));
        assert!(MEMORY.iter().all(|number| OWN_PROCESS.contains(number)));
    }

    #[test]
    fn every_call_of_a_text_that_is_not_libc_is_reported() {
        for number in 0..=1023 {
            assert!(is_reported(call(number, false)), "{number}");
        }
    }

    #[test]
    fn calls_of_libc_are_reported_unless_a_list_has_them() {
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
        for number in [libc::SYS_futex, libc::SYS_clone, libc::SYS_sigaltstack, libc::SYS_read] {
            assert_eq!(pass(number, true), Pass::Again, "{number}");
        }
        assert_eq!(pass(libc::SYS_munmap, false), Pass::Again);
        assert_eq!(pass(libc::SYS_munmap, true), Pass::Here);
        assert_eq!(pass(libc::SYS_mkdir, false), Pass::Here);
    }
}
