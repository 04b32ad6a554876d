//! Calls that lead out of what the replicas agree on. Each is told.

use super::{Class::Foreign, Group, rows};

/// Their telling.
const TOLD: &str = "tests/e2e/net.rs calls_that_bypass_the_hooks_are_named_with_symbol_and_library";

pub(super) const GROUPS: &[Group] = &[
    rows!(
        Foreign,
        Told,
        MayWait,
        "a thread or process that no hook has made runs beside the schedule; libc's own are made \
         by hooks, and on a floor the library makes those of which it can",
        "programs/odd/clone-threads.c",
        SYS_clone
    ),
    rows!(
        Foreign,
        Told,
        MayWait,
        "a thread ends without its hook; on a floor the library ends it",
        "programs/odd/clone-threads.c",
        SYS_exit
    ),
    rows!(Foreign, Told, MayWait, "what a process shares with others", TOLD, SYS_unshare),
    rows!(Foreign, Told, MayWait,
        "what all processes do with files; a cell has no capability for it",
        "programs/escapes.c",
        SYS_fanotify_init SYS_fanotify_mark),
    rows!(
        Foreign,
        Told,
        MayWait,
        "a queue's news reach a thread by the kernel",
        "programs/odd/message-queues.c",
        SYS_mq_notify
    ),
    rows!(Foreign, Told, MayWait,
        "memory of other processes",
        "programs/escapes.c",
        SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise
        SYS_process_mrelease SYS_kcmp SYS_move_pages SYS_migrate_pages),
    rows!(Foreign, Told, Never,
        "how much of the host's disks and memory is in use",
        TOLD,
        SYS_statfs SYS_fstatfs SYS_mincore),
    rows!(Foreign, Told, MayWait,
        "the host's file systems",
        TOLD,
        SYS_ustat SYS_sysfs),
    rows!(Foreign, Told, MayWait,
        "files in ways that no hook looks at",
        TOLD,
        SYS_openat2 SYS_name_to_handle_at SYS_open_by_handle_at),
    rows!(Foreign, Told, MayWait,
        "what a server may do no more; hooks may need it",
        "programs/odd/seccomp-own.c",
        SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self),
    rows!(Foreign, Told, MayWait,
        "memory that an image does not hold, or that changes under the processor",
        TOLD,
        SYS_memfd_secret SYS_remap_file_pages SYS_modify_ldt SYS_set_thread_area
        SYS_get_thread_area),
    rows!(Foreign, Told, MayWait,
        "the host's clock, names, disks and power: a cell has no capability for them",
        "programs/escapes.c",
        SYS_adjtimex SYS_clock_adjtime SYS_clock_settime SYS_settimeofday SYS_sethostname
        SYS_setdomainname SYS_swapon SYS_swapoff SYS_reboot SYS_acct SYS_iopl SYS_ioperm
        SYS_vhangup),
    rows!(Foreign, Told, MayWait,
        "no kernel has them any more, or they are its own",
        TOLD,
        SYS_uselib SYS__sysctl SYS_create_module SYS_get_kernel_syms SYS_query_module
        SYS_nfsservctl SYS_getpmsg SYS_putpmsg SYS_afs_syscall SYS_tuxcall SYS_security
        SYS_lookup_dcookie SYS_epoll_ctl_old SYS_epoll_wait_old SYS_vserver SYS_restart_syscall),
];
