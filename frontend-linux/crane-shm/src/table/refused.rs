//! Calls that no process of the cell may make, whatever their arguments are. The cell's filter
//! refuses them, and the library answers the same before it (specs/CLOSED.md has them for people).

use super::{Class, Group, rows};

/// Calls of optional features: a kernel built without them answers the same, and programs fall
/// back.
const ABSENT: Class = Class::Refused(libc::ENOSYS);
/// Calls that need a privilege: the kernel answers the same to a process without it.
const FORBIDDEN: Class = Class::Refused(libc::EPERM);
/// All of them are tried there.
const TEST: &str = "tests/e2e/wall.rs calls_of_the_closed_list_are_refused_with_their_errors";

pub(super) const GROUPS: &[Group] = &[
    rows!(ABSENT, Told, MayWait, "completes calls in the kernel, unseen", TEST,
        SYS_io_setup SYS_io_destroy SYS_io_getevents SYS_io_submit SYS_io_cancel SYS_io_pgetevents
        SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register),
    rows!(ABSENT, Told, MayWait, "replaces the kernel", TEST,
        SYS_kexec_load SYS_kexec_file_load),
    rows!(ABSENT, Told, MayWait, "keyrings are shared with the host", TEST,
        SYS_add_key SYS_request_key SYS_keyctl),
    rows!(ABSENT, Told, MayWait, "counts and samples the host", TEST, SYS_perf_event_open),
    rows!(ABSENT, Told, MayWait, "loads code into the kernel", TEST, SYS_bpf),
    rows!(
        ABSENT,
        Told,
        MayWait,
        "handles faults of memory on other threads",
        TEST,
        SYS_userfaultfd
    ),
    rows!(
        ABSENT,
        Told,
        MayWait,
        "hides from a filter which namespaces it makes; libc falls back to `clone`",
        TEST,
        SYS_clone3
    ),
    rows!(FORBIDDEN, Told, MayWait, "changes other processes", TEST, SYS_ptrace),
    rows!(FORBIDDEN, Told, MayWait, "shows and empties the kernel's log", TEST, SYS_syslog),
    rows!(FORBIDDEN, Told, MayWait, "changes what the server sees", TEST,
        SYS_pivot_root SYS_mount SYS_umount2 SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
        SYS_fsmount SYS_fspick SYS_mount_setattr),
    rows!(FORBIDDEN, Told, MayWait, "enters other namespaces", TEST, SYS_setns),
    rows!(FORBIDDEN, Told, MayWait, "changes the code of the kernel", TEST,
        SYS_init_module SYS_finit_module SYS_delete_module),
    rows!(FORBIDDEN, Told, MayWait, "changes what users may store on the host's disks", TEST,
        SYS_quotactl SYS_quotactl_fd),
];
