//! Calls that change the calling process alone, or that the kernel answers alike in every replica.

use super::{Class::Pure, Group, rows};

pub(super) const GROUPS: &[Group] = &[
    rows!(Pure, Unseen, Never,
        "memory of the process: where the kernel puts it is agreed by turning randomness off",
        "programs/odd/calls-process.c",
        SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_mremap SYS_madvise SYS_mlock SYS_mlock2
        SYS_munlock SYS_mlockall SYS_munlockall SYS_memfd_create SYS_pkey_mprotect SYS_pkey_alloc
        SYS_pkey_free SYS_membarrier),
    rows!(Pure, Unseen, Never,
        "wishes about memory and disks that change the speed of the process alone",
        "programs/odd/scheduling.c",
        SYS_mbind SYS_set_mempolicy SYS_get_mempolicy SYS_ioprio_get SYS_ioprio_set),
    rows!(Pure, Unseen, Never,
        "what the kernel keeps of a thread for libc and the compiler",
        "programs/odd/thread-many.c",
        SYS_rseq SYS_set_robust_list SYS_get_robust_list SYS_set_tid_address SYS_arch_prctl),
    rows!(Pure, Unseen, Never,
        "numbers of processes and threads, which a cell counts for itself",
        "programs/odd/values-of-process.c",
        SYS_getpid SYS_gettid SYS_getpgid SYS_getpgrp SYS_getsid SYS_setsid
        SYS_setpgid),
    rows!(Pure, Unseen, Never,
        "users and groups: the server's are the group's, and every replica changes its own alike",
        "programs/odd/values-of-process.c",
        SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups
        SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups
        SYS_setfsuid SYS_setfsgid SYS_capget SYS_capset),
    rows!(Pure, Unseen, Never,
        "options of the process; a filter of its own for calls blinds the net, and is told",
        "programs/odd/seccomp-own.c",
        SYS_prctl SYS_personality),
    rows!(
        Pure,
        Unseen,
        Never,
        "the kernel's name and version: the cell's names are the group's",
        "programs/odd/machine-names.c",
        SYS_uname
    ),
    rows!(Pure, Unseen, Never,
        "priorities, which have no effect on the order of the calls",
        "programs/odd/scheduling.c",
        SYS_getpriority SYS_setpriority SYS_sched_getparam SYS_sched_setparam
        SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval),
    rows!(
        Pure,
        Unseen,
        Never,
        "the steps of the kernel's clocks, which are alike",
        "programs/odd/clock-ids.c",
        SYS_clock_getres
    ),
];
