//! Calls that the kernel answers from what earlier calls of the server have made.

use super::{Class::Ordered, Group, rows};

pub(super) const GROUPS: &[Group] = &[
    rows!(Ordered, Unseen, Never,
        "what is known of files; their numbers and times differ between hosts (LIMITS)",
        "programs/odd/files-listed.c",
        SYS_stat SYS_fstat SYS_lstat SYS_newfstatat SYS_statx SYS_access SYS_faccessat
        SYS_faccessat2 SYS_getcwd SYS_getdents SYS_getdents64),
    rows!(Ordered, Unseen, Never,
        "names and folders: each server has a copy of its own",
        "programs/odd/folders.c",
        SYS_chdir SYS_fchdir SYS_chroot SYS_rename SYS_renameat SYS_renameat2 SYS_mkdir SYS_mkdirat
        SYS_rmdir SYS_link SYS_linkat SYS_unlink SYS_unlinkat SYS_symlink SYS_symlinkat SYS_mknod
        SYS_mknodat),
    rows!(Ordered, Unseen, Never,
        "owners, modes and times of files",
        "programs/odd/calls-process.c",
        SYS_chmod SYS_fchmod SYS_fchmodat SYS_chown SYS_fchown SYS_lchown SYS_fchownat SYS_umask
        SYS_utime SYS_utimes SYS_futimesat SYS_utimensat),
    rows!(Ordered, Unseen, Never,
        "attributes of files",
        "programs/odd/calls-process.c",
        SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
        SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr
        SYS_fremovexattr),
    rows!(Ordered, Unseen, Never,
        "places in files and their lengths; holes are refused",
        "programs/odd/file-descriptions.c",
        SYS_lseek SYS_truncate SYS_ftruncate SYS_fallocate SYS_fadvise64 SYS_readahead),
    rows!(Ordered, Unseen, MayWait,
        "bytes of files at a place; on what has no places they fail",
        "programs/odd/file-vectors.c",
        SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2),
    rows!(
        Ordered,
        Told,
        MayWait,
        "bytes from file to file",
        "programs/odd/copy-range.c",
        SYS_copy_file_range
    ),
    rows!(Ordered, Unseen, MayWait,
        "objects of the cell, which hooks follow from their first use on",
        "programs/odd/system-five.c",
        SYS_mq_open SYS_mq_unlink SYS_msgget SYS_semget SYS_inotify_add_watch
        SYS_inotify_rm_watch),
    rows!(Ordered, Told, Never,
        "memory that processes share, in the cell alone",
        "programs/odd/shared-memory.c",
        SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt),
    rows!(
        Ordered,
        Unseen,
        Never,
        "the properties of a queue of the cell",
        "programs/odd/calls-signals.c",
        SYS_mq_getsetattr
    ),
];
