//! Parts of long writes to pipes, without waiting in the kernel, and the signal of a broken pipe.

use std::ffi::c_int;

use crane_shm::sys;
use libc::iovec;

/// The flags of a call that decide its answer.
#[derive(Clone, Copy, Default)]
pub(super) struct RecvFlags {
    /// `MSG_PEEK`.
    pub peek: bool,
    /// `MSG_WAITALL`.
    pub all: bool,
    /// `MSG_DONTWAIT`.
    pub at_once: bool,
    /// `MSG_NOSIGNAL`.
    pub no_signal: bool,
    /// `MSG_TRUNC`: a stream's bytes are dropped instead of copied (tcp(7)).
    pub drops: bool,
    /// `MSG_OOB`: the call asks for urgent data, which no client's connection has.
    pub urgent: bool,
    /// `MSG_ERRQUEUE`: the call asks for the queue of errors, which is always empty.
    pub errors: bool,
}

impl RecvFlags {
    /// Reads the flags of recv(2) or send(2).
    pub(super) fn of(flags: c_int) -> Self {
        Self {
            peek: flags & libc::MSG_PEEK != 0,
            all: flags & libc::MSG_WAITALL != 0,
            at_once: flags & libc::MSG_DONTWAIT != 0,
            no_signal: flags & libc::MSG_NOSIGNAL != 0,
            drops: flags & libc::MSG_TRUNC != 0,
            urgent: flags & libc::MSG_OOB != 0,
            errors: flags & libc::MSG_ERRQUEUE != 0,
        }
    }

    /// The flags of read(2), write(2) and their vectors.
    pub(super) const PLAIN: Self = Self {
        peek: false,
        all: false,
        at_once: false,
        no_signal: false,
        drops: false,
        urgent: false,
        errors: false,
    };
}

/// Returns the number of bytes in all pieces.
pub(super) fn length(pieces: &[iovec]) -> usize {
    pieces.iter().map(|piece| piece.iov_len).sum()
}

/// A piece of the caller's memory, to be written to.
pub(super) fn space_of<'a>(piece: &iovec) -> &'a mut [u8] {
    if piece.iov_len == 0 {
        return &mut [];
    }
    // SAFETY: the hook's caller gives places of these lengths, which nobody else uses during the
    // call.
    unsafe { std::slice::from_raw_parts_mut(piece.iov_base.cast(), piece.iov_len) }
}

/// Copies bytes to the spaces, which are long enough.
pub(super) fn give(spaces: &[iovec], mut bytes: &[u8]) {
    for piece in spaces {
        let (here, rest) = bytes.split_at(bytes.len().min(piece.iov_len));
        space_of(piece)[..here.len()].copy_from_slice(here);
        bytes = rest;
    }
}

/// A piece of the caller's memory, to be read.
pub(super) fn bytes_of<'a>(piece: &iovec) -> &'a [u8] {
    if piece.iov_len == 0 {
        return &[];
    }
    // SAFETY: the hook's caller gives bytes of these lengths, which stay during the call.
    unsafe { std::slice::from_raw_parts(piece.iov_base.cast(), piece.iov_len) }
}

/// Writes a part of the bytes after the first `skip` to a pipe, without waiting in the kernel. A
/// pipe that has room for `PIPE_BUF` bytes need not have room for more.
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
            return at_once(descriptor, || sys::write(descriptor, bytes));
        }
        passed += piece.iov_len;
    }
    Ok(0)
}

/// Makes a call that does not wait in the kernel.
pub(super) fn at_once<T>(descriptor: c_int, call: impl FnOnce() -> T) -> T {
    set_nonblocking(descriptor, true);
    let result = call();
    set_nonblocking(descriptor, false);
    result
}

/// Returns an option of a socket that is an `int`, or `None` if the number leads to no socket, or
/// the socket does not have the option.
pub(super) fn socket_option(descriptor: c_int, option: c_int) -> Option<c_int> {
    let (mut value, mut length) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
    let places = ((&raw mut value).addr(), (&raw mut length).addr());
    let (descriptor, level) = (descriptor as usize, libc::SOL_SOCKET as usize);
    let arguments = [descriptor, level, option as usize, places.0, places.1, 0];
    // SAFETY: places for the answer and its length.
    let asked = sys::checked(unsafe { sys::syscall(libc::SYS_getsockopt, arguments) });
    asked.ok().map(|_| value)
}

/// Returns whether a write may be cut into parts, which is not so at a socket of datagrams.
pub(super) fn is_stream(descriptor: c_int) -> bool {
    socket_option(descriptor, libc::SO_TYPE).is_none_or(|kind| kind == libc::SOCK_STREAM)
}

/// Does the same as [`write_part`], for one of a pair of sockets, without a signal if the other is
/// closed.
fn send_part(descriptor: c_int, bytes: &[u8]) -> Result<usize, c_int> {
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
    let arguments = [descriptor as usize, bytes.as_ptr().addr(), bytes.len(), flags, 0, 0];
    // SAFETY: the kernel reads a live slice.
    sys::checked(unsafe { sys::syscall(libc::SYS_sendto, arguments) })
}

/// Returns the flags of an open file description.
pub(super) fn flags_of(descriptor: c_int) -> Option<c_int> {
    let arguments = [descriptor as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
    // SAFETY: F_GETFL touches no memory.
    let flags = sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) });
    flags.ok().map(|flags| flags as c_int)
}

/// Sets or clears the kernel's own `O_NONBLOCK`.
pub(super) fn set_nonblocking(descriptor: c_int, on: bool) {
    let Some(flags) = flags_of(descriptor) else { return };
    let bit = libc::O_NONBLOCK;
    let flags = (if on { flags | bit } else { flags & !bit }) as usize;
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
