//! read, write, recv*, send*, readv, writev, sendfile: from libc's signatures to
//! [`super::transfer`].

use std::ffi::{c_int, c_uint, c_void};

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::sys;
use libc::{iovec, mmsghdr, msghdr, off_t, sockaddr, socklen_t, timespec};

use super::conversation::send_bytes;
use super::follow::follow;
use super::parts::{RecvFlags, raise_broken_pipe};
use super::time::after;
use super::transfer::{begin_at, receive, release, report_reset, send};
use super::{files, names, room};
use crate::descriptors::{DescriptionKind, lookup};
use crate::errno;
use crate::execution::On;
use crate::turn::Call;
use crate::world::World;

/// Makes the kernel's call.
///
/// # Safety
/// The same as for [`sys::syscall`].
unsafe fn real(number: i64, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: the caller's duty.
    sys::checked(unsafe { sys::syscall(number, arguments) })
}

fn one(start: *mut c_void, length: usize) -> [iovec; 1] {
    [iovec { iov_base: start, iov_len: length }]
}

/// Returns the caller's vector, or `None` if the kernel would refuse it and must report the error.
///
/// # Safety
/// `start` leads to `count` vectors that stay during the call.
unsafe fn vector<'a>(start: *const iovec, count: usize) -> Option<&'a mut [iovec]> {
    if count == 0 {
        return Some(&mut []);
    }
    if count > libc::UIO_MAXIOV as usize || start.is_null() {
        return None;
    }
    // SAFETY: the caller's duty; they are not written to.
    let vector = unsafe { std::slice::from_raw_parts_mut(start.cast_mut(), count) };
    let most = isize::MAX as usize;
    let whole = vector.iter().try_fold(0, |sum: usize, piece| sum.checked_add(piece.iov_len));
    whole.is_some_and(|whole| whole <= most).then_some(vector)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(descriptor: c_int, start: *mut c_void, length: usize) -> isize {
    let call = || {
        let arguments = [descriptor as usize, start.addr(), length, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_read, arguments) }
    };
    let result = receive(descriptor, &mut one(start, length), RecvFlags::PLAIN, call);
    errno::answer(looked_at("read", descriptor, result))
}

/// Returns the result of a read, unless the disk of the file fails.
fn looked_at(call: &str, descriptor: c_int, result: Result<usize, c_int>) -> Result<usize, c_int> {
    if let Err(error) = result {
        room::check_open(call, descriptor, error);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(
    descriptor: c_int,
    start: *mut c_void,
    length: usize,
    space: usize,
) -> isize {
    assert!(length <= space, "buffer overflow detected in read");
    // SAFETY: the caller's own arguments.
    unsafe { read(descriptor, start, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(descriptor: c_int, start: *const iovec, count: c_int) -> isize {
    let call = || {
        let arguments = [descriptor as usize, start.addr(), count as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_readv, arguments) }
    };
    // SAFETY: the caller's own vector.
    let Some(spaces) = (unsafe { vector(start, count as usize) }) else {
        return errno::answer(call());
    };
    let result = receive(descriptor, spaces, RecvFlags::PLAIN, call);
    errno::answer(looked_at("readv", descriptor, result))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(
    descriptor: c_int,
    start: *mut c_void,
    length: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's own arguments; no address is asked for.
    unsafe {
        recvfrom(descriptor, start, length, flags, std::ptr::null_mut(), std::ptr::null_mut())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(
    descriptor: c_int,
    start: *mut c_void,
    length: usize,
    space: usize,
    flags: c_int,
) -> isize {
    assert!(length <= space, "buffer overflow detected in recv");
    // SAFETY: the caller's own arguments.
    unsafe { recv(descriptor, start, length, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    descriptor: c_int,
    start: *mut c_void,
    length: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> isize {
    let call = || {
        let (d, f) = (descriptor as usize, flags as usize);
        let arguments = [d, start.addr(), length, f, address.addr(), address_length.addr()];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_recvfrom, arguments) }
    };
    let result = receive(descriptor, &mut one(start, length), RecvFlags::of(flags), call);
    let asks = !address.is_null() && !address_length.is_null();
    if result.is_ok() && asks && is_connection(descriptor) {
        // TCP gives no address (recv(2): unchanged for connection-oriented sockets, length 0 in
        // Linux).
        // SAFETY: the caller's place for the length.
        unsafe { *address_length = 0 };
    }
    errno::answer(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    descriptor: c_int,
    start: *mut c_void,
    length: usize,
    space: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> isize {
    assert!(length <= space, "buffer overflow detected in recvfrom");
    // SAFETY: the caller's own arguments.
    unsafe { recvfrom(descriptor, start, length, flags, address, address_length) }
}

fn is_connection(descriptor: c_int) -> bool {
    names::is_virtual_socket(descriptor)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(descriptor: c_int, message: *mut msghdr, flags: c_int) -> isize {
    let call = || {
        let arguments = [descriptor as usize, message.addr(), flags as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_recvmsg, arguments) }
    };
    follow(descriptor);
    if lookup(descriptor).is_none() || message.is_null() {
        return errno::answer(call());
    }
    // SAFETY: the caller's own message and vector.
    let Some(spaces) = (unsafe { vector((*message).msg_iov, (*message).msg_iovlen) }) else {
        return errno::answer(call());
    };
    let result = receive(descriptor, spaces, RecvFlags::of(flags), call);
    if result.is_ok() && is_connection(descriptor) {
        // SAFETY: the caller's own message.
        unsafe {
            ((*message).msg_namelen, (*message).msg_controllen, (*message).msg_flags) = (0, 0, 0);
        }
    }
    errno::answer(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, start: *const c_void, length: usize) -> isize {
    let call = || {
        let arguments = [descriptor as usize, start.addr(), length, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_write, arguments) }
    };
    let pieces = one(start.cast_mut(), length);
    let result = send(descriptor, &pieces, RecvFlags::PLAIN, call);
    errno::answer(room::complete("write", descriptor, &pieces, None, result))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(descriptor: c_int, start: *const iovec, count: c_int) -> isize {
    let call = || {
        let arguments = [descriptor as usize, start.addr(), count as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_writev, arguments) }
    };
    // SAFETY: the caller's own vector.
    let Some(pieces) = (unsafe { vector(start, count as usize) }) else {
        return errno::answer(call());
    };
    let result = send(descriptor, pieces, RecvFlags::PLAIN, call);
    errno::answer(room::complete("writev", descriptor, pieces, None, result))
}

// `send` is the shared function's name here; libc's is exported under its own.
#[unsafe(export_name = "send")]
unsafe extern "C" fn send_hook(
    descriptor: c_int,
    start: *const c_void,
    length: usize,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's own arguments; no address is given.
    unsafe { sendto(descriptor, start, length, flags, std::ptr::null(), 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    descriptor: c_int,
    start: *const c_void,
    length: usize,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> isize {
    let call = || {
        let (d, f) = (descriptor as usize, flags as usize);
        let arguments = [d, start.addr(), length, f, address.addr(), address_length as usize];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_sendto, arguments) }
    };
    errno::answer(send(descriptor, &one(start.cast_mut(), length), RecvFlags::of(flags), call))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(descriptor: c_int, message: *const msghdr, flags: c_int) -> isize {
    let call = || {
        let arguments = [descriptor as usize, message.addr(), flags as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_sendmsg, arguments) }
    };
    if lookup(descriptor).is_none() || message.is_null() {
        return errno::answer(call());
    }
    // SAFETY: the caller's own message and vector.
    let Some(pieces) = (unsafe { vector((*message).msg_iov, (*message).msg_iovlen) }) else {
        return errno::answer(call());
    };
    errno::answer(send(descriptor, pieces, RecvFlags::of(flags), call))
}

/// Calls `one` for each message until one fails. Returns the number of completed messages, or the
/// error of the first.
fn each(
    messages: *mut mmsghdr,
    count: c_uint,
    mut one: impl FnMut(*mut msghdr, usize) -> isize,
) -> c_int {
    for index in 0..count as usize {
        // SAFETY: the hook's caller gave this number of messages.
        let message = unsafe { messages.add(index) };
        // SAFETY: as above.
        let done = one(unsafe { &raw mut (*message).msg_hdr }, index);
        if done < 0 {
            return if index > 0 { index as c_int } else { -1 };
        }
        // SAFETY: as above.
        unsafe { (*message).msg_len = done as c_uint };
    }
    count as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmmsg(
    descriptor: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    if lookup(descriptor).is_none() {
        let (d, c, f) = (descriptor as usize, count as usize, flags as usize);
        // SAFETY: the caller's own arguments.
        let result = unsafe { real(libc::SYS_sendmmsg, [d, messages.addr(), c, f, 0, 0]) };
        return errno::answer_int(result);
    }
    // SAFETY: the caller's own message.
    each(messages, count, |message, _| unsafe { sendmsg(descriptor, message, flags) })
}

// The limit is checked only between messages (recvmmsg(2), BUGS), so it has little effect on a
// stream.
#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    descriptor: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    limit: *mut timespec,
) -> c_int {
    if lookup(descriptor).is_none() {
        let (d, c, f) = (descriptor as usize, count as usize, flags as usize);
        // SAFETY: the caller's own arguments.
        let result =
            unsafe { real(libc::SYS_recvmmsg, [d, messages.addr(), c, f, limit.addr(), 0]) };
        return errno::answer_int(result);
    }
    each(messages, count, |message, index| {
        let at_once = index > 0 && flags & libc::MSG_WAITFORONE != 0;
        let flags = flags & !libc::MSG_WAITFORONE | if at_once { libc::MSG_DONTWAIT } else { 0 };
        // SAFETY: the caller's own message.
        unsafe { recvmsg(descriptor, message, flags) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(out: c_int, from: c_int, offset: *mut off_t, count: usize) -> isize {
    let call = || {
        let arguments = [out as usize, from as usize, offset.addr(), count, 0, 0];
        // SAFETY: the caller's own arguments.
        unsafe { real(libc::SYS_sendfile, arguments) }
    };
    errno::answer(send_file(out, from, offset, count).unwrap_or_else(call))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(
    out: c_int,
    from: c_int,
    offset: *mut off_t,
    count: usize,
) -> isize {
    // SAFETY: the caller's own arguments; off_t has 64 bits here.
    unsafe { sendfile(out, from, offset, count) }
}

/// Reads and writes the file's bytes as the program would, as many as the window has room for.
/// Returns `None` if the target is not a client's connection.
fn send_file(
    out: c_int,
    from: c_int,
    offset: *mut off_t,
    count: usize,
) -> Option<Result<usize, c_int>> {
    let (mut held, place) = begin_at(out, Call::Send)?;
    let DescriptionKind::Conn(conn) = held.world().descriptors.at(place).kind() else {
        held.end();
        return None;
    };
    // A read at an offset refuses by itself what sendfile refuses, so the usual call asks nothing.
    let read_refuses = !offset.is_null()
        && lookup(from).is_none()
        && held.world().run.sockets.conn(conn).room() > 0;
    if count > 0 && !read_refuses && !files::is_readable_in_place(from) {
        held.end();
        return Some(Err(if offset.is_null() { libc::EINVAL } else { libc::ESPIPE }));
    }
    let description = held.world().descriptors.at(place);
    let (waits, timeout) = (!description.nonblocking, description.send_timeout);
    let deadline = if timeout == 0 { NEVER } else { after(&mut held, timeout) };
    held.world().descriptors.hold(place);
    let mut sent = 0;
    let result = loop {
        let world = held.world();
        let state = world.run.sockets.conn(conn);
        if state.reset || state.write_shut {
            let reset = state.reset && !state.write_shut;
            // As in Linux, what is wrong with the file comes first.
            if sent == 0
                && let Err(error) = read_file(from, offset, &mut [])
            {
                break Err(error);
            }
            let error = match reset && report_reset(world, place) {
                true => libc::ECONNRESET,
                false => libc::EPIPE,
            };
            break if sent > 0 { Ok(sent) } else { Err(error) };
        }
        let World { run, output, copy, .. } = world;
        let state = run.sockets.conn(conn);
        let room = state.room().min(count - sent).min(copy.len());
        if room == 0 && sent < count {
            if !waits {
                break if sent > 0 { Ok(sent) } else { Err(libc::EAGAIN) };
            }
            let error = match held.wait_or_signal(On::Write(place), deadline) {
                Ok(Woken::Called) => continue,
                Err(by) if by.restarts_until(deadline) && sent == 0 => continue,
                Ok(Woken::Expired) => libc::EAGAIN,
                Err(_) => libc::EINTR,
            };
            break if sent > 0 { Ok(sent) } else { Err(error) };
        }
        let step = match read_file(from, offset, &mut copy[..room]) {
            Ok(read) => send_bytes(run, output, conn, &copy[..read]),
            Err(error) => Err(error),
        };
        match step {
            Ok(0) => break Ok(sent),
            Ok(step) => sent += step,
            Err(_) if sent > 0 => break Ok(sent),
            Err(error) => break Err(error),
        }
        if sent == count {
            break Ok(sent);
        }
    };
    release(held.world(), place);
    held.end();
    if result == Err(libc::EPIPE) {
        raise_broken_pipe();
    }
    Some(result)
}

/// Reads at the offset if one is given, and otherwise at the file's position, and advances it.
fn read_file(from: c_int, offset: *mut off_t, space: &mut [u8]) -> Result<usize, c_int> {
    if offset.is_null() {
        return sys::read(from, space);
    }
    // SAFETY: the caller's offset.
    let at = unsafe { *offset };
    let arguments = [from as usize, space.as_mut_ptr().addr(), space.len(), at as usize, 0, 0];
    // SAFETY: a live, exclusive slice.
    let count = match unsafe { real(libc::SYS_pread64, arguments) } {
        Err(libc::EISDIR) => return Err(libc::EINVAL),
        read => read?,
    };
    // SAFETY: the caller's offset.
    unsafe { *offset = at + count as off_t };
    Ok(count)
}
