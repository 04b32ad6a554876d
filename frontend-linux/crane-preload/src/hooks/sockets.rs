//! socket, bind, listen, accept, connect, shutdown.
//!
//! The kernel's socket is a stand-in (see `descriptors`). It is never bound to the port, so that
//! three replicas on one machine and the daemon's proxy do not conflict.

use std::ffi::c_int;
use std::fmt::Write;
use std::net::IpAddr;

use crane_core::execution::socket::{Bound, ConnIndex, ListenerIndex};
use crane_core::execution::turn::{NEVER, Woken};
use crane_core::wire::Endpoint;
use crane_shm::region::output;
use crane_shm::sys;
use libc::{sockaddr, socklen_t};

use super::follow;
use super::names::{self, UNBOUND, endpoint, give};
use super::process::{refuse_listening, uncovered};
use super::time::after;
use super::transfer::{begin_at, release};
use super::{kernel_sockets, options};
use crate::descriptors::{Description, DescriptionKind, TableEntry};
use crate::errno;
use crate::execution::{CONNECTIONS, On};
use crate::readiness;
use crate::trouble::Text;
use crate::turn::{Call, Held, begin};
use crate::world::World;

/// The number of connections that may wait to be accepted, whatever the server asks for. A kernel
/// lets the clients of a burst try again (tcp(7), `tcp_abort_on_overflow`), but admission would
/// have to reset them.
const BACKLOG: u32 = CONNECTIONS as u32;

/// Creates a stand-in.
fn stand_in(ipv6: bool, flags: c_int) -> Result<c_int, c_int> {
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = (libc::SOCK_STREAM | flags) as usize;
    // SAFETY: socket touches no memory.
    let made = sys::checked(unsafe {
        sys::syscall(libc::SYS_socket, [family as usize, kind, 0, 0, 0, 0])
    });
    match made {
        // With IPv6 switched off, an IPv4 socket serves as the stand-in.
        Err(libc::EAFNOSUPPORT) if ipv6 => stand_in(false, flags),
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
        let result = stand_in(ipv6, flags);
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

/// Returns the port for a socket that asks for any.
fn any_port(world: &mut World, place: TableEntry, at: Endpoint) -> u16 {
    let mut bound = bound_at(world.descriptors.at(place), at);
    loop {
        bound.at.port = world.next_port;
        world.next_port += 1;
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
    let (mut kind, mut length) = (0 as c_int, size_of::<c_int>() as socklen_t);
    let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_TYPE as usize);
    let places = (&raw mut kind as usize, &raw mut length as usize);
    let arguments = [descriptor as usize, level, option, places.0, places.1, 0];
    // SAFETY: places for the answer and its length.
    let asked = sys::checked(unsafe { sys::syscall(libc::SYS_getsockopt, arguments) });
    asked.is_ok() && kind == libc::SOCK_STREAM
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bind(descriptor: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, address.addr(), length as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_bind, arguments) }))
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Bind) else {
        // SAFETY: the caller's address and its length.
        let given = unsafe { endpoint(address, length) };
        if given.is_some_and(|(at, _)| at.port != 0) && is_stream(descriptor) {
            refuse_listening();
        }
        return real();
    };
    if held.world().descriptors.at(place).kind != DescriptionKind::Socket {
        held.end();
        return real();
    }
    // SAFETY: the caller's address and its length.
    let given = unsafe { endpoint(address, length) };
    let result = bind_to(held.world(), place, given);
    held.end();
    errno::answer_int(result)
}

fn bind_to(
    world: &mut World,
    place: TableEntry,
    given: Option<(Endpoint, bool)>,
) -> Result<usize, c_int> {
    let ipv6 = world.descriptors.at(place).ipv6;
    let (mut wanted, of_family) = given.ok_or(libc::EINVAL)?;
    if of_family != ipv6 {
        return Err(libc::EAFNOSUPPORT);
    }
    if world.descriptors.at(place).bound.is_some() {
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
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_listen, arguments) }))
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Listen) else {
        if is_stream(descriptor) && names::is_internet(descriptor) {
            refuse_listening();
        }
        return real();
    };
    let result = listen_at(held.world(), place);
    held.end();
    match result {
        Some(result) => errno::answer_int(result),
        None => real(),
    }
}

fn listen_at(world: &mut World, place: TableEntry) -> Option<Result<usize, c_int>> {
    let description = *world.descriptors.at(place);
    match description.kind {
        DescriptionKind::Socket => {}
        DescriptionKind::Listener(_) => return Some(Ok(0)),
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
    world.descriptors.at(place).kind = DescriptionKind::Listener(listener);
    world.of_listener[listener.0 as usize] = place.0 + 1;
    world.output.listen(&bound);
    Some(Ok(0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept(
    descriptor: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { accept4(descriptor, address, length, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    descriptor: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, address.addr(), length.addr(), flags as usize, 0, 0];
        // SAFETY: the caller's own arguments.
        sys::checked(unsafe { sys::syscall(libc::SYS_accept4, arguments) })
    };
    follow::follow(descriptor);
    let Some((mut held, place)) = begin_at(descriptor, Call::Accept) else {
        return errno::answer_int(real());
    };
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        held.end();
        return errno::answer_int(Err(libc::EINVAL));
    }
    let listener = match held.world().descriptors.at(place).kind {
        DescriptionKind::Listener(listener) => listener,
        DescriptionKind::Socket | DescriptionKind::Conn(_) => {
            held.end();
            return errno::answer_int(Err(libc::EINVAL));
        }
        _ => return errno::answer_int(kernel_sockets::accept(held, place, descriptor, real)),
    };
    held.world().descriptors.hold(place);
    let result = accept_at(&mut held, place, listener, (descriptor, flags));
    release(held.world(), place);
    held.end();
    let (accepted, peer, ipv6) = match result {
        Ok(accepted) => accepted,
        Err(error) => return errno::answer_int(Err(error)),
    };
    if address.is_null() {
        return accepted;
    }
    // SAFETY: the caller's own places.
    if let Err(error) = unsafe { give(peer, ipv6, address, length) } {
        // As in Linux, the connection is lost. SAFETY: a plain number; the symbol is this library's
        // own.
        unsafe { libc::close(accepted) };
        return errno::answer_int(Err(error));
    }
    accepted
}

/// Takes the first waiting connection. As in Linux, a call has its number before it waits, and
/// without a free number it does not wait.
fn accept_at(
    held: &mut Held,
    place: TableEntry,
    listener: ListenerIndex,
    (descriptor, flags): (c_int, c_int),
) -> Result<(c_int, Endpoint, bool), c_int> {
    let Description { receive_timeout: timeout, ipv6, nonblocking, .. } =
        *held.world().descriptors.at(place);
    let deadline = if timeout == 0 { NEVER } else { after(held, timeout) };
    if nonblocking && held.world().run.sockets.acceptable(listener) == 0 {
        let shut = held.world().descriptors.at(place).shut;
        return Err(free_number(descriptor).err().unwrap_or(if shut {
            libc::EINVAL
        } else {
            libc::EAGAIN
        }));
    }
    let accepted = stand_in(ipv6, flags)?;
    let result = await_conn(held, place, listener, deadline)
        .and_then(|conn| follow(held.world(), place, conn, accepted, flags));
    match result {
        Ok(_) => options::inherit(held.world().descriptors.at(place), descriptor, accepted),
        // Nothing can be done about a close that fails.
        Err(_) => drop(sys::close(accepted)),
    }
    result.map(|peer| (accepted, peer, ipv6))
}

/// Fails where the process has no number for a copy of a descriptor.
fn free_number(descriptor: c_int) -> Result<(), c_int> {
    let arguments = [descriptor as usize, 0, 0, 0, 0, 0];
    // SAFETY: dup touches no memory.
    let copy = sys::checked(unsafe { sys::syscall(libc::SYS_dup, arguments) })?;
    sys::close(copy as c_int)
}

fn await_conn(
    held: &mut Held,
    place: TableEntry,
    listener: ListenerIndex,
    deadline: u64,
) -> Result<ConnIndex, c_int> {
    loop {
        let world = held.world();
        if let Some(conn) = world.run.sockets.accept(listener) {
            return Ok(conn);
        }
        if world.descriptors.at(place).shut {
            return Err(libc::EINVAL);
        }
        match held.wait_or_signal(On::Read(place), deadline) {
            Ok(Woken::Called) => {}
            Ok(Woken::Expired) => return Err(libc::EAGAIN),
            // With a limit it never starts again (signal(7)).
            Err(by) if by.restarts && deadline == NEVER => {}
            Err(_) => return Err(libc::EINTR),
        }
    }
}

/// Makes the stand-in `accepted` the connection, with the options that it inherits from the
/// listener at `place`. Returns the client's address.
fn follow(
    world: &mut World,
    place: TableEntry,
    conn: ConnIndex,
    accepted: c_int,
    flags: c_int,
) -> Result<Endpoint, c_int> {
    let listener = *world.descriptors.at(place);
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    let Some(of_conn) = world.descriptors.open(accepted, DescriptionKind::Conn(conn), nonblocking)
    else {
        let id = world.run.sockets.conn(conn).id;
        world.output.about(output::RESET, id, 0, &[]);
        world.run.sockets.close(conn);
        return Err(libc::EMFILE);
    };
    let description = world.descriptors.at(of_conn);
    description.ipv6 = listener.ipv6;
    description.resets = listener.resets;
    description.receive_timeout = listener.receive_timeout;
    description.send_timeout = listener.send_timeout;
    description.options = listener.options;
    world.of_conn[conn.0 as usize] = of_conn.0 + 1;
    Ok(world.run.sockets.conn(conn).peer)
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
        if world.descriptors.at(place).kind == DescriptionKind::Socket {
            // From here on the socket is the kernel's, and its incoming bytes are not in the
            // script.
            world.descriptors.give_to_kernel(place);
            uncovered(world, "a connection that the server opens itself");
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
    let result = match world.descriptors.at(place).kind {
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
            wake_all(world, place);
            Ok(0)
        }
        DescriptionKind::Channel { peer } => {
            let result = real();
            super::transfer::used(world, place, peer);
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
