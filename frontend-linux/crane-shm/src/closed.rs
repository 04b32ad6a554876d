//! The calls that no process of the cell may make, whatever their arguments are. The cell's filter
//! refuses them, and the library answers the same before it (specs/CLOSED.md has them for people).

use libc::c_long;

/// Calls of optional features: a kernel built without them answers the same, and programs fall
/// back.
pub const ABSENT: [c_long; 18] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_getevents,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
    IO_PGETEVENTS,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    // A filter cannot see its flags, and libc falls back to `clone`.
    libc::SYS_clone3,
];
/// Calls that need a privilege: the kernel answers the same to a process without it.
pub const FORBIDDEN: [c_long; 19] = [
    libc::SYS_ptrace,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
];
/// `libc` has no names for these.
const IO_PGETEVENTS: c_long = 333;
const OPEN_TREE_ATTR: c_long = 467;

/// Returns the error number of a call that is refused always.
#[must_use]
pub fn refusal(number: c_long) -> Option<i32> {
    match () {
        () if ABSENT.contains(&number) => Some(libc::ENOSYS),
        () if FORBIDDEN.contains(&number) => Some(libc::EPERM),
        () => None,
    }
}
