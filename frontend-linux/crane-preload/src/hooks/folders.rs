//! opendir, closedir: the calls that libc makes in them are silent, for nothing waits at a folder.

use std::ffi::{c_char, c_int};

use libc::DIR;

use super::closing::close_plain;
use crate::errno;

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
    let plain = real!(closedir: fn(*mut DIR) -> c_int);
    let real = real_watched!(closedir: fn(*mut DIR) -> c_int);
    // SAFETY: as above.
    close_plain(descriptor, libc::S_IFDIR, || unsafe { plain(folder) })
        // SAFETY: as above.
        .unwrap_or_else(|| unsafe { real(folder) })
}
