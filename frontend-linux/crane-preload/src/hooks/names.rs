//! Addresses of sockets: getsockname, getpeername.

use std::ffi::c_int;

use crane_core::wire::Endpoint;
use crane_shm::sys;
use libc::{sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use super::transfer::begin_at;
use super::unix;
use crate::descriptors::{DescriptionKind, lookup};
use crate::errno;
use crate::turn::Call;
use crate::unix::UnixName;
use crate::world::World;

/// The address of no socket: the unspecified IPv4 address, port 0.
pub(super) const UNBOUND: Endpoint = Endpoint::from_ipv4([0; 4], 0);

/// Returns whether the number is that of a client's connection. Callers do not hold the turn, and
/// the answer affects only the form of a result.
pub(super) fn is_virtual_socket(descriptor: c_int) -> bool {
    let mut result = false;
    if let Some(place) = lookup(descriptor)
        && let Some(mut held) = crate::turn::enter()
    {
        result = matches!(held.world().descriptors.at(place).kind(), DescriptionKind::Conn(_));
        held.leave();
    }
    result
}

/// Returns whether the kernel's socket is in one of the internet families.
pub(super) fn is_internet(descriptor: c_int) -> bool {
    // SAFETY: all-zero bytes are a valid address.
    let mut own: sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut length = size_of::<sockaddr_in6>() as socklen_t;
    let places = [descriptor as usize, &raw mut own as usize, &raw mut length as usize, 0, 0, 0];
    // SAFETY: places for the address and its length.
    let asked = sys::checked(unsafe { sys::syscall(libc::SYS_getsockname, places) });
    let family = c_int::from(own.sin6_family);
    asked.is_ok() && (family == libc::AF_INET || family == libc::AF_INET6)
}

/// Reads an address that the caller gave.
///
/// # Safety
/// `address` leads to `length` bytes.
pub(super) unsafe fn endpoint(
    address: *const sockaddr,
    length: socklen_t,
) -> Option<(Endpoint, bool)> {
    if address.is_null() || (length as usize) < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the family lies within the length (checked).
    let family = c_int::from(unsafe { (*address).sa_family });
    match family {
        libc::AF_INET if length as usize >= size_of::<sockaddr_in>() => {
            // SAFETY: long enough (checked); read without regard to alignment.
            let given = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
            let octets = given.sin_addr.s_addr.to_ne_bytes();
            Some((Endpoint::from_ipv4(octets, u16::from_be(given.sin_port)), false))
        }
        libc::AF_INET6 if length as usize >= size_of::<sockaddr_in6>() => {
            // SAFETY: long enough (checked); read without regard to alignment.
            let given = unsafe { address.cast::<sockaddr_in6>().read_unaligned() };
            let port = u16::from_be(given.sin6_port);
            Some((Endpoint { address: given.sin6_addr.s6_addr, port }, true))
        }
        _ => None,
    }
}

/// Writes an address to the caller's place, cut to the room there. `length` then holds the whole
/// length, as POSIX says.
///
/// # Safety
/// If not null, `address` and `length` lead to the caller's places.
pub(super) unsafe fn give(
    endpoint: Endpoint,
    ipv6: bool,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> Result<(), c_int> {
    if endpoint.is_unix() {
        // SAFETY: the caller's duty.
        return unsafe { write(UnixName::NONE.bytes(), address, length) };
    }
    // SAFETY: all-zero bytes are a valid address of either kind.
    let (mut four, mut six): (sockaddr_in, sockaddr_in6) = unsafe { std::mem::zeroed() };
    let bytes = if ipv6 {
        six.sin6_family = libc::AF_INET6 as u16;
        six.sin6_port = endpoint.port.to_be();
        let unbound = endpoint.address == UNBOUND.address;
        six.sin6_addr.s6_addr = if unbound { [0; 16] } else { endpoint.address };
        // SAFETY: an address without gaps, read as its bytes.
        unsafe { std::slice::from_raw_parts((&raw const six).cast(), size_of::<sockaddr_in6>()) }
    } else {
        four.sin_family = libc::AF_INET as u16;
        four.sin_port = endpoint.port.to_be();
        four.sin_addr.s_addr = u32::from_ne_bytes(endpoint.ipv4().unwrap_or([0; 4]));
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts((&raw const four).cast(), size_of::<sockaddr_in>()) }
    };
    // SAFETY: the caller's duty.
    unsafe { write(bytes, address, length) }
}

/// Writes an address of any family as [`give`] does.
///
/// # Safety
/// If not null, `address` and `length` lead to the caller's places.
pub(super) unsafe fn write(
    bytes: &[u8],
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> Result<(), c_int> {
    if address.is_null() || length.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the caller's place; to the kernel it is a signed number.
    if unsafe { *length as c_int } < 0 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller's places; no more than its room is written.
    unsafe {
        let room = (*length as usize).min(bytes.len());
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast(), room);
        *length = bytes.len() as socklen_t;
    }
    Ok(())
}

/// Returns both ends of a description's connection. The second is `None` if it is not connected.
fn ends(
    world: &mut World,
    place: crate::descriptors::TableEntry,
) -> (Endpoint, Option<Endpoint>, bool) {
    let description = *world.descriptors.at(place);
    let ipv6 = description.ipv6;
    match description.kind() {
        DescriptionKind::Conn(conn) => {
            let conn = world.run.sockets.conn(conn);
            (conn.local, Some(conn.peer), ipv6)
        }
        DescriptionKind::Listener(listener) => {
            (world.run.sockets.listener(listener).bound.at, None, ipv6)
        }
        _ => (description.bound.unwrap_or(UNBOUND), None, ipv6),
    }
}

fn has_name(kind: DescriptionKind) -> bool {
    matches!(
        kind,
        DescriptionKind::Conn(_) | DescriptionKind::Listener(_) | DescriptionKind::Socket
    )
}

fn name(
    descriptor: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    number: i64,
    choose: impl FnOnce(Endpoint, Option<Endpoint>) -> Result<Endpoint, c_int>,
) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, address.addr(), length.addr(), 0, 0, 0];
        // SAFETY: the hook's caller gave these.
        errno::answer_int(sys::checked(unsafe { sys::syscall(number, arguments) }))
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Name) else { return real() };
    let world = held.world();
    let kind = world.descriptors.at(place).kind();
    let is_unix = unix::is_followed(world, place);
    let (local, peer, ipv6) = ends(world, place);
    let is_conn = matches!(kind, DescriptionKind::Conn(_));
    // The kernel knows the names of a Unix socket that is bound, as it is really.
    if !has_name(kind) || (is_unix && !is_conn) {
        held.end();
        return real();
    }
    let given = choose(local, peer).and_then(|end| {
        if is_unix {
            let name = held.world().unix.name(&end).unwrap_or(&UnixName::NONE);
            // SAFETY: the hook's caller gave these.
            unsafe { write(name.bytes(), address, length) }
        } else {
            // SAFETY: the hook's caller gave these.
            unsafe { give(end, ipv6, address, length) }
        }
    });
    held.end();
    errno::answer_int(given.map(|()| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockname(
    descriptor: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    name(descriptor, address, length, libc::SYS_getsockname, |local, _| Ok(local))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(
    descriptor: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    name(descriptor, address, length, libc::SYS_getpeername, |_, peer| peer.ok_or(libc::ENOTCONN))
}
