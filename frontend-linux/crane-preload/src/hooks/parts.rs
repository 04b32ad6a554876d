//! Parts of long writes to pipes, without waiting in the kernel, and the signal of a broken one.

use std::ffi::c_int;

use crane_shm::sys;
use libc::iovec;

/// A piece of the caller's memory, to be read.
pub(super) fn bytes_of<'a>(piece: &iovec) -> &'a [u8] {
    if piece.iov_len == 0 {
        return &[];
    }
    // SAFETY: the hook's caller gives bytes of these lengths, which stay during the call.
    unsafe { std::slice::from_raw_parts(piece.iov_base.cast(), piece.iov_len) }
}

/// Writes a part of what follows the first `skip` bytes to a pipe, without waiting in the kernel:
/// one that has room for `PIPE_BUF` bytes need not have it for more.
pub(super) fn write_part(
    descriptor: c_int,
    pieces: &[iovec],
    skip: usize,
    no_signal: bool,
) -> Result<usize, c_int> {
    let mut passed = 0;
    for piece in pieces {
        if skip < passed + piece.iov_len {
            let bytes = &bytes_of(piece)[skip - passed..];
            if no_signal {
                return send_part(descriptor, bytes);
            }
            set_nonblocking(descriptor, true);
            let result = sys::write(descriptor, bytes);
            set_nonblocking(descriptor, false);
            return result;
        }
        passed += piece.iov_len;
    }
    Ok(0)
}

/// As [`write_part`], to one of a pair of sockets, without a signal where the other is closed.
fn send_part(descriptor: c_int, bytes: &[u8]) -> Result<usize, c_int> {
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
    let arguments = [descriptor as usize, bytes.as_ptr().addr(), bytes.len(), flags, 0, 0];
    // SAFETY: the kernel reads a live slice.
    sys::checked(unsafe { sys::syscall(libc::SYS_sendto, arguments) })
}

/// Sets or clears the kernel's own `O_NONBLOCK`.
fn set_nonblocking(descriptor: c_int, on: bool) {
    let get = [descriptor as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
    // SAFETY: F_GETFL touches no memory.
    let Ok(flags) = sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, get) }) else { return };
    let bit = libc::O_NONBLOCK as usize;
    let flags = if on { flags | bit } else { flags & !bit };
    let set = [descriptor as usize, libc::F_SETFL as usize, flags, 0, 0, 0];
    // SAFETY: F_SETFL touches no memory.
    unsafe { sys::syscall(libc::SYS_fcntl, set) };
}

/// Raises the signal of a broken pipe in the calling thread.
pub(super) fn raise_broken_pipe() {
    let thread = sys::tid() as usize;
    let arguments = [sys::pid() as usize, thread, libc::SIGPIPE as usize, 0, 0, 0];
    // SAFETY: the signal goes to this very thread, outside of any hook.
    unsafe { sys::syscall(libc::SYS_tgkill, arguments) };
}
