//! socket, bind, listen, connect, shutdown.
//!
//! The kernel's socket is a stand-in (see `descriptors`). It is never bound to the port, so that
//! three replicas on one machine and the daemon's proxy do not conflict.

use std::ffi::c_int;
use std::fmt::Write;
use std::net::IpAddr;

use crane_core::execution::socket::Bound;
use crane_core::wire::Endpoint;
use crane_shm::region::output;
use crane_shm::sys;
use libc::{sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use super::follow;
use super::names::{self, UNBOUND, endpoint};
use super::parts::socket_option;
use super::process::refuse_listening;
use super::transfer::begin_at;
use super::{kernel_sockets, options, unix};
use crate::capacities::CONNECTIONS;
use crate::descriptors::{Description, DescriptionKind, TableEntry};
use crate::errno;
use crate::execution::On;
use crate::net;
use crate::notes::uncovered;
use crate::notices::DueNotice;
use crate::readiness;
use crate::trouble::Text;
use crate::turn::{Call, begin};
use crate::world::World;

/// The number of connections that may wait to be accepted, whatever the server asks for. A kernel
/// lets the clients of a burst try again (tcp(7), `tcp_abort_on_overflow`), but admission would
/// have to reset them.
const BACKLOG: u32 = CONNECTIONS as u32;

/// Creates a stand-in.
pub(super) fn stand_in(family: c_int, flags: c_int) -> Result<c_int, c_int> {
    let kind = (libc::SOCK_STREAM | flags) as usize;
    // SAFETY: socket touches no memory.
    let made = sys::checked(unsafe {
        sys::syscall(libc::SYS_socket, [family as usize, kind, 0, 0, 0, 0])
    });
    match made {
        // With IPv6 switched off, an IPv4 socket serves as the stand-in.
        Err(libc::EAFNOSUPPORT) if family == libc::AF_INET6 => stand_in(libc::AF_INET, flags),
        made => made.map(|descriptor| descriptor as c_int),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let stream = kind & !flags == libc::SOCK_STREAM;
    let ipv6 = domain == libc::AF_INET6;
    let ours = stream
        && (domain == libc::AF_INET || ipv6)
        && (protocol == 0 || protocol == libc::IPPROTO_TCP);
    if ours && let Some(mut held) = begin(Call::Socket, 0) {
        let result = stand_in(domain, flags);
        if let Ok(descriptor) = result {
            let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
            let world = held.world();
            match world.descriptors.open(descriptor, DescriptionKind::Socket, nonblocking) {
                Some(place) => world.descriptors.at(place).ipv6 = ipv6,
                None => uncovered(world, "a socket beyond the descriptors that are followed"),
            }
        }
        held.end();
        return errno::answer_int(result.map(|descriptor| descriptor as usize));
    }
    let arguments = [domain as usize, kind as usize, protocol as usize, 0, 0, 0];
    // SAFETY: socket touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_socket, arguments) });
    if let Ok(descriptor) = result {
        follow::follow(descriptor as c_int);
    }
    errno::answer_int(result)
}

/// Returns the address at which a socket would listen.
fn bound_at(description: &Description, at: Endpoint) -> Bound {
    let v6only = description.ipv6 && description.v6only;
    Bound { at, v6only, shared: options::shares_port(description) }
}

/// The first and the last port for sockets that ask for any. The kernel's own range, as it is set
/// usually, ends there too.
pub(crate) const FIRST_PORT: u16 = 40_000;
const LAST_PORT: u16 = 60_999;

/// Returns the port for a socket that asks for any. There are more of them than listeners.
fn any_port(world: &mut World, place: TableEntry, at: Endpoint) -> u16 {
    let mut bound = bound_at(world.descriptors.at(place), at);
    loop {
        bound.at.port = world.next_port;
        world.next_port = if bound.at.port < LAST_PORT { bound.at.port + 1 } else { FIRST_PORT };
        if !world.run.sockets.is_taken(&bound) {
            return bound.at.port;
        }
    }
}

/// Returns whether every host of the group has the address: a loopback address, the unspecified
/// address, or a service address.
// specs: E10
fn is_bindable(world: &World, at: &Endpoint) -> bool {
    let is_everywhere = match at.ipv4() {
        Some([first, rest @ ..]) => first == 127 || (first, rest) == (0, [0; 3]),
        None => at.address[..15] == [0; 15] && at.address[15] <= 1,
    };
    is_everywhere || world.service.contains(&at.address)
}

/// Refuses an address that one host has and the group does not.
fn refuse_address(world: &mut World, at: &Endpoint) -> c_int {
    let mut text = Text::new();
    let address = match at.ipv4() {
        Some(octets) => IpAddr::from(octets),
        None => IpAddr::from(at.address),
    };
    // A text that is cut is better than no text.
    let _ = write!(
        text,
        "the server binds {address}, which is not an address of the whole group, and gets \
         EADDRNOTAVAIL: let it bind 0.0.0.0, [::] or a loopback address, or create the group with \
         --service-address {address} on every host"
    );
    world.output.note(1, text.as_str());
    libc::EADDRNOTAVAIL
}

/// Returns whether the number leads to a socket of streams.
fn is_stream(descriptor: c_int) -> bool {
    socket_option(descriptor, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bind(descriptor: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, address.addr(), length as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_bind, arguments) })
    };
    // SAFETY: the caller's address and its length.
    let is_unix = unsafe { unix::is_unix(address, length) };
    if is_unix {
        follow::follow(descriptor);
    }
    let Some((mut held, place)) = begin_at(descriptor, Call::Bind) else {
        // SAFETY: the caller's address and its length.
        let given = unsafe { endpoint(address, length) };
        if given.is_some_and(|(at, _)| at.port != 0) && is_stream(descriptor) {
            refuse_listening();
        }
        return errno::answer_int(real());
    };
    let kind = held.world().descriptors.at(place).kind();
    if is_unix && kind == DescriptionKind::Kernel {
        let result = unix::bind(held.world(), place, descriptor, real);
        held.end();
        return errno::answer_int(result);
    }
    let is_ours = match kind {
        DescriptionKind::Socket => !unix::is_followed(held.world(), place),
        DescriptionKind::Listener(_) => !held.world().descriptors.at(place).is_unix_listener(),
        DescriptionKind::Conn(_) => true,
        _ => false,
    };
    if !is_ours {
        held.end();
        return errno::answer_int(real());
    }
    let ipv6 = held.world().descriptors.at(place).ipv6;
    let least = if ipv6 { size_of::<sockaddr_in6>() } else { size_of::<sockaddr_in>() };
    // SAFETY: the caller's address and its length.
    let given = unsafe { endpoint(address, length) };
    let given = match given.filter(|(_, of_family)| *of_family == ipv6) {
        Some((at, _)) => Ok(at),
        None if address.is_null() && length > 0 => Err(libc::EFAULT),
        None if (length as usize) < least => Err(libc::EINVAL),
        None => Err(libc::EAFNOSUPPORT),
    };
    let result = given.and_then(|at| bind_to(held.world(), place, at));
    held.end();
    errno::answer_int(result)
}

fn bind_to(world: &mut World, place: TableEntry, mut wanted: Endpoint) -> Result<usize, c_int> {
    let description = world.descriptors.at(place);
    if description.kind() != DescriptionKind::Socket || description.bound.is_some() {
        return Err(libc::EINVAL);
    }
    if !is_bindable(world, &wanted) {
        return Err(refuse_address(world, &wanted));
    }
    let bound = bound_at(world.descriptors.at(place), wanted);
    if wanted.port == 0 {
        wanted.port = any_port(world, place, wanted);
    } else if world.run.sockets.is_taken(&bound) {
        return Err(libc::EADDRINUSE);
    }
    world.descriptors.at(place).bound = Some(wanted);
    Ok(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn listen(descriptor: c_int, backlog: c_int) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, backlog as usize, 0, 0, 0, 0];
        // SAFETY: listen touches no memory.
        sys::checked(unsafe { sys::syscall(libc::SYS_listen, arguments) })
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Listen) else {
        if is_stream(descriptor) && names::is_internet(descriptor) {
            refuse_listening();
        }
        return errno::answer_int(real());
    };
    let result = listen_at(held.world(), place, real);
    held.end();
    errno::answer_int(result.unwrap_or_else(real))
}

fn listen_at(
    world: &mut World,
    place: TableEntry,
    real: impl Fn() -> Result<usize, c_int>,
) -> Option<Result<usize, c_int>> {
    let description = *world.descriptors.at(place);
    match description.kind() {
        DescriptionKind::Socket => {}
        DescriptionKind::Listener(_) => {
            // A listener that was shut down accepts again.
            world.descriptors.at(place).shut = false;
            let is_unix = description.shut && description.is_unix_listener();
            return Some(if is_unix { real() } else { Ok(0) });
        }
        _ => return None,
    }
    let ipv6 = description.ipv6;
    let any = if ipv6 { Endpoint { address: [0; 16], port: 0 } } else { UNBOUND };
    let at = match description.bound {
        Some(at) => at,
        None => Endpoint { port: any_port(world, place, any), ..any },
    };
    let bound = bound_at(&description, at);
    if world.run.sockets.is_taken(&bound) {
        return Some(Err(libc::EADDRINUSE));
    }
    let Some(listener) = world.run.sockets.listen(bound, BACKLOG) else {
        return Some(Err(libc::ENOBUFS));
    };
    if at.is_unix() {
        if let Err(error) = real() {
            world.run.sockets.unlisten(listener, |_| {});
            return Some(Err(error));
        }
        unix::listens(world, &bound);
    } else {
        world.output.listen(&bound, &[]);
    }
    world.descriptors.set_kind(place, DescriptionKind::Listener(listener));
    world.of_listener[listener.0 as usize] = place.0 + 1;
    net::end_start();
    Some(Ok(0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(
    descriptor: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    let call = || {
        let arguments = [descriptor as usize, address.addr(), length as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_connect, arguments) })
    };
    if let Some((mut held, place)) = begin_at(descriptor, Call::Socket) {
        let world = held.world();
        if world.descriptors.at(place).kind() == DescriptionKind::Socket {
            // From here on the socket is the kernel's, and its incoming bytes are not in the
            // script.
            let is_inside = unix::is_followed(world, place);
            let World { run, descriptors, watches, .. } = &mut *world;
            descriptors.set_kind(place, DescriptionKind::Kernel);
            readiness::changed(run, descriptors, watches, place);
            if !is_inside {
                uncovered(world, "a connection that the server opens itself");
            }
        }
        return errno::answer_int(kernel_sockets::connect(held, place, descriptor, call));
    }
    errno::answer_int(call())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn shutdown(descriptor: c_int, how: c_int) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, how as usize, 0, 0, 0, 0];
        // SAFETY: shutdown touches no memory.
        sys::checked(unsafe { sys::syscall(libc::SYS_shutdown, arguments) })
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Shutdown) else {
        return errno::answer_int(real());
    };
    let world = held.world();
    let known = [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR].contains(&how);
    let result = match world.descriptors.at(place).kind() {
        DescriptionKind::Conn(_) | DescriptionKind::Listener(_) | DescriptionKind::Socket
            if !known =>
        {
            Err(libc::EINVAL)
        }
        DescriptionKind::Conn(conn) => {
            let state = world.run.sockets.conn_mut(conn);
            state.read_shut |= how == libc::SHUT_RD || how == libc::SHUT_RDWR;
            let writes = how == libc::SHUT_WR || how == libc::SHUT_RDWR;
            let news = writes && !state.write_shut;
            state.write_shut |= writes;
            state.read_edges = state.read_edges.wrapping_add(1);
            let (id, reset) = (state.id, state.reset);
            if news {
                world.output.about(output::FIN, id, 0, &[]);
            }
            wake_all(world, place);
            if reset { Err(libc::ENOTCONN) } else { Ok(0) }
        }
        // As in Linux, threads that wait in accept or poll return.
        DescriptionKind::Listener(_) => {
            if how == libc::SHUT_RD || how == libc::SHUT_RDWR {
                let description = world.descriptors.at(place);
                description.shut = true;
                description.edges = description.edges.wrapping_add(1);
            }
            let is_unix = world.descriptors.at(place).is_unix_listener();
            // Processes of the cell are refused from now on, too.
            let result = if is_unix { real() } else { Ok(0) };
            wake_all(world, place);
            result
        }
        DescriptionKind::Channel { peer } => {
            let result = real();
            let due = DueNotice::by_shutdown(world, peer, how);
            super::transfer::used(world, place, peer);
            if result.is_ok() {
                due.send(world);
            }
            result
        }
        DescriptionKind::Socket => Err(libc::ENOTCONN),
        _ => real(),
    };
    held.end();
    errno::answer_int(result)
}

fn wake_all(world: &mut World, place: TableEntry) {
    let World { run, descriptors, watches, .. } = world;
    run.turn.wake(On::Read(place).key(), u32::MAX);
    run.turn.wake(On::Write(place).key(), u32::MAX);
    readiness::changed(run, descriptors, watches, place);
}
