//! The name and the file of a program that is linked statically, which the kernel takes for this
//! library's.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crane_shm::sys;

use crate::net;

/// The path of the program, once it is mapped: a string that stays.
static PROGRAM_PATH: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// Returns the path of the program that this library has started.
pub(crate) fn program() -> Option<&'static CStr> {
    let path = PROGRAM_PATH.load(Ordering::Relaxed);
    // SAFETY: a string that stays.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })
}

/// Returns whether the program is linked statically, so that this library has started it.
pub(crate) fn is_image() -> bool {
    !PROGRAM_PATH.load(Ordering::Relaxed).is_null()
}

/// Records that this library has started the program of this path, and gives the process its name.
pub(super) fn set(program: &'static CStr) {
    PROGRAM_PATH.store(program.as_ptr().cast_mut(), Ordering::Relaxed);
    set_name(program);
}

/// Gives the process the name that the kernel would give it: that of the program's file.
fn set_name(program: &CStr) {
    let bytes = program.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |place| place + 1);
    let name = bytes[start..].as_ptr().addr();
    // SAFETY: a string; the kernel takes its first 15 bytes.
    unsafe { sys::syscall(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name, 0, 0, 0, 0]) };
}

/// Answers readlink(2) and readlinkat(2), by their numbers. The link to the program's own file
/// leads to the program, and not to this library.
///
/// # Safety
/// As unsafe as the call.
pub(crate) unsafe fn read_link(directory: usize, path: usize, space: usize, size: usize) -> isize {
    const OWN: &[u8; 15] = b"/proc/self/exe\0";
    match program().map(CStr::to_bytes) {
        Some(program) if net::read::<[u8; 15]>(path).is_some_and(|path| path == *OWN) => {
            if size == 0 {
                return -(libc::EINVAL as isize);
            }
            let length = program.len().min(size);
            // SAFETY: the caller's space of this size.
            unsafe { (space as *mut u8).copy_from(program.as_ptr(), length) };
            length as isize
        }
        // SAFETY: the caller's duty.
        _ => unsafe { sys::syscall(libc::SYS_readlinkat, [directory, path, space, size, 0, 0]) },
    }
}
