//! Unix sockets by which the server listens at a path: bind, listen, accept, names.

use std::ffi::c_int;
use std::fmt::Write;

use crane_core::execution::socket::Bound;
use crane_shm::sys;
use libc::{sockaddr, socklen_t};

use super::follow;
use super::parts::{at_once, socket_option};
use crate::announce;
use crate::descriptors::{DescriptionKind, TableEntry};
use crate::notes::warn_once;
use crate::outside;
use crate::trouble::Text;
use crate::unix::UnixName;
use crate::world::World;

/// Returns whether an address is that of a Unix socket.
///
/// # Safety
/// `address` leads to `length` bytes.
pub(super) unsafe fn is_unix(address: *const sockaddr, length: socklen_t) -> bool {
    // SAFETY: the family lies within the length (checked first); the caller's own bytes.
    !address.is_null()
        && length as usize >= size_of::<libc::sa_family_t>()
        && c_int::from(unsafe { address.cast::<libc::sa_family_t>().read_unaligned() })
            == libc::AF_UNIX
}

/// Asks the kernel for the name of a socket.
fn name_of(descriptor: c_int) -> Result<UnixName, c_int> {
    UnixName::of(|address, length| {
        let arguments = [descriptor as usize, address.addr(), length.addr(), 0, 0, 0];
        // SAFETY: places for the address and its length.
        sys::checked(unsafe { sys::syscall(libc::SYS_getsockname, arguments) })
    })
}

/// Binds a Unix socket in the cell, by the kernel's call `real`, and serves it if clients can reach
/// it from outside.
pub(super) fn bind(
    world: &mut World,
    place: TableEntry,
    descriptor: c_int,
    real: impl Fn() -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let result = real();
    if result.is_ok()
        && let Ok(name) = name_of(descriptor)
    {
        serve(world, place, descriptor, name);
    }
    result
}

fn serve(world: &mut World, place: TableEntry, descriptor: c_int, name: UnixName) {
    let kind = match (socket_option(descriptor, libc::SO_TYPE), name.path()) {
        (Some(libc::SOCK_STREAM), Some(_)) => None,
        (Some(libc::SOCK_STREAM), None) => Some("a Unix socket without a path"),
        (Some(libc::SOCK_DGRAM), _) => Some("a Unix socket for datagrams"),
        (Some(libc::SOCK_SEQPACKET), _) => Some("a Unix socket for records (SOCK_SEQPACKET)"),
        _ => return,
    };
    if let Some(kind) = kind {
        let mut text = Text::new();
        let shown = str::from_utf8(&name.bytes()[crate::unix::PATH_AT..]).unwrap_or("?");
        let shown = shown.trim_end_matches('\0').trim_start_matches('\0');
        // A text that is cut is better than none.
        let _ = write!(
            text,
            "the server binds {kind} ({shown}), which clients reach from inside of its cell alone; \
             those outside reach a stream socket at a path"
        );
        return warn_once(world, kind, text.as_str());
    }
    world.descriptors.set_kind(place, DescriptionKind::Socket);
    world.descriptors.at(place).bound = Some(world.unix.bind(name));
}

/// Notes that a socket listens by a description, in the kernel already, and reports it.
pub(super) fn listens(world: &mut World, bound: &Bound) {
    world.unix.set_listening(&bound.at, true);
    announce::listener(world, bound);
}

/// Takes a connection that comes from inside of the cell, of which one waits in the kernel. `real`:
/// the caller's accept.
pub(super) fn accept_inside(
    world: &mut World,
    place: TableEntry,
    descriptor: c_int,
    real: impl Fn() -> Result<usize, c_int>,
) -> Result<c_int, c_int> {
    let nonblocking = world.descriptors.at(place).nonblocking;
    let accepted = if nonblocking { real() } else { at_once(descriptor, real) }?;
    outside::touch(world, place);
    follow::follow_in_turn(world, accepted as c_int);
    Ok(accepted as c_int)
}

/// Returns whether a description is that of a bound Unix socket, or one of its connections.
pub(super) fn is_followed(world: &World, place: TableEntry) -> bool {
    let description = world.descriptors.description(place);
    match description.kind() {
        DescriptionKind::Conn(conn) => world.run.sockets.conn(conn).local.is_unix(),
        _ => description.bound.is_some_and(|at| at.is_unix()),
    }
}
