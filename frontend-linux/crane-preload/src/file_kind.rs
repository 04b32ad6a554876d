//! The kinds of files (`S_IFMT` of inode(7)).

use std::ffi::c_int;

use crane_shm::sys;

/// Returns the kind of the file at a path, or `None` if there is none. The path is relative to a
/// directory, as in openat(2).
pub(crate) fn at(directory: usize, path: usize, flags: c_int) -> Option<u32> {
    // SAFETY: all-zero bytes are a valid record.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let arguments = [directory, path, (&raw mut stat).addr(), flags as usize, 0, 0];
    // SAFETY: the kernel reads the path, and writes to a record of ours.
    let found = sys::checked(unsafe { sys::syscall(libc::SYS_newfstatat, arguments) });
    found.ok().map(|_| stat.st_mode & libc::S_IFMT)
}

/// Returns the kind of the file to which a number leads, or `None` if it leads nowhere.
pub(crate) fn of(descriptor: c_int) -> Option<u32> {
    at(descriptor as usize, c"".as_ptr().addr(), libc::AT_EMPTY_PATH)
}
