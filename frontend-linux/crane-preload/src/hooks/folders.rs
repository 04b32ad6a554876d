//! opendir, closedir: the calls that libc makes in them are silent, for nothing waits at a folder.

use std::ffi::{c_char, c_int};

use libc::DIR;

use super::file_locks;
use crate::descriptors::{forget_plain, lookup};
use crate::errno;
use crate::file_kind;

#[unsafe(no_mangle)]
unsafe extern "C" fn opendir(path: *const c_char) -> *mut DIR {
    let real = real!(opendir: fn(*const c_char) -> *mut DIR);
    // SAFETY: the caller's own argument.
    unsafe { real(path) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closedir(folder: *mut DIR) -> c_int {
    let before = errno::current();
    // SAFETY: the caller's own folder, which is open.
    let descriptor = if folder.is_null() { -1 } else { unsafe { libc::dirfd(folder) } };
    errno::set(before);
    if lookup(descriptor).is_some() || file_kind::of(descriptor) != Some(libc::S_IFDIR) {
        let real = real_watched!(closedir: fn(*mut DIR) -> c_int);
        // SAFETY: as above.
        return unsafe { real(folder) };
    }
    let real = real!(closedir: fn(*mut DIR) -> c_int);
    // SAFETY: as above.
    let result = unsafe { real(folder) };
    forget_plain(descriptor);
    file_locks::freed();
    result
}
