//! socket, bind, listen, accept, connect, shutdown.
//!
//! The kernel's socket is a stand-in (see `descriptors`): it is never bound to the port, so that
//! three replicas on one machine, and the daemon's proxy, do not meet there.

use std::ffi::c_int;

use crane_core::execution::socket::ListenerIndex;
use crane_core::execution::turn::{NEVER, Woken};
use crane_core::wire::Endpoint;
use crane_shm::region::output;
use crane_shm::sys;
use libc::{sockaddr, socklen_t};

use super::names::{UNBOUND, endpoint, give};
use super::process::uncovered;
use super::time::after;
use super::transfer::{begin_at, release};
use crate::descriptors::{DescriptionKind, TableEntry};
use crate::errno;
use crate::execution::{CONNECTIONS, On};
use crate::readiness;
use crate::turn::{Call, Held, begin};
use crate::world::World;

/// Connections that may wait to be accepted, whatever the server asks for: where a kernel lets
/// the clients of a burst try again (tcp(7), `tcp_abort_on_overflow`), admission would have to
/// reset them.
const BACKLOG: u32 = CONNECTIONS as u32;

/// Makes a stand-in.
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
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_socket, arguments) }))
}

/// Returns the port for a socket that asks for any.
fn any_port(world: &mut World, ipv6: bool) -> u16 {
    while world.run.sockets.is_bound(world.next_port, ipv6) {
        world.next_port += 1;
    }
    world.next_port += 1;
    world.next_port - 1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bind(descriptor: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = || {
        let arguments = [descriptor as usize, address.addr(), length as usize, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_bind, arguments) }))
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Bind) else { return real() };
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
    if wanted.port == 0 {
        wanted.port = any_port(world, ipv6);
    } else if world.run.sockets.is_bound(wanted.port, ipv6) {
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
    let Some((mut held, place)) = begin_at(descriptor, Call::Listen) else { return real() };
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
    let bound = match description.bound {
        Some(bound) if world.run.sockets.is_bound(bound.port, ipv6) => {
            return Some(Err(libc::EADDRINUSE));
        }
        Some(bound) => bound,
        None => Endpoint { port: any_port(world, ipv6), ..UNBOUND },
    };
    let Some(listener) = world.run.sockets.listen(bound, ipv6, BACKLOG) else {
        return Some(Err(libc::ENOBUFS));
    };
    world.descriptors.at(place).kind = DescriptionKind::Listener(listener);
    world.of_listener[listener.0 as usize] = place.0 + 1;
    world.output.listen(bound);
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
        errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_accept4, arguments) }))
    };
    let Some((mut held, place)) = begin_at(descriptor, Call::Accept) else { return real() };
    let listener = match held.world().descriptors.at(place).kind {
        DescriptionKind::Listener(listener) => listener,
        DescriptionKind::Socket | DescriptionKind::Conn(_) => {
            held.end();
            return errno::answer_int(Err(libc::EINVAL));
        }
        _ => {
            held.end();
            return real();
        }
    };
    held.world().descriptors.hold(place);
    let result = accept_at(&mut held, place, listener, flags);
    release(held.world(), place);
    held.end();
    let answer = result.map(|(accepted, peer, ipv6)| {
        // SAFETY: the caller's own places.
        unsafe { give(peer, ipv6, address, length) };
        accepted as usize
    });
    errno::answer_int(answer)
}

fn accept_at(
    held: &mut Held,
    place: TableEntry,
    listener: ListenerIndex,
    flags: c_int,
) -> Result<(c_int, Endpoint, bool), c_int> {
    let timeout = held.world().descriptors.at(place).receive_timeout;
    let deadline = if timeout == 0 { NEVER } else { after(held, timeout) };
    while held.world().run.sockets.acceptable(listener) == 0 {
        if held.world().descriptors.at(place).shut {
            return Err(libc::EINVAL);
        }
        if held.world().descriptors.at(place).nonblocking {
            return Err(libc::EAGAIN);
        }
        match held.wait_or_signal(On::Read(place), deadline) {
            Ok(Woken::Called) => {}
            Ok(Woken::Expired) => return Err(libc::EAGAIN),
            // With a limit it never starts again (signal(7)).
            Err(by) if by.restarts && deadline == NEVER => {}
            Err(_) => return Err(libc::EINTR),
        }
    }
    let world = held.world();
    let ipv6 = world.descriptors.at(place).ipv6;
    let accepted = stand_in(ipv6, flags)?;
    let conn = world.run.sockets.accept(listener).expect("one was acceptable");
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    let Some(of_conn) = world.descriptors.open(accepted, DescriptionKind::Conn(conn), nonblocking)
    else {
        let id = world.run.sockets.conn(conn).id;
        world.output.about(output::RESET, id, 0, &[]);
        world.run.sockets.close(conn);
        // Nothing can be done about a close that fails.
        let _ = sys::close(accepted);
        return Err(libc::EMFILE);
    };
    world.descriptors.at(of_conn).ipv6 = ipv6;
    world.of_conn[conn.0 as usize] = of_conn.0 + 1;
    Ok((accepted, world.run.sockets.conn(conn).peer, ipv6))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(
    descriptor: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    if let Some((mut held, place)) = begin_at(descriptor, Call::Socket) {
        let world = held.world();
        if world.descriptors.at(place).kind == DescriptionKind::Socket {
            // From here on it is the kernel's: what comes back is not in the script.
            world.descriptors.at(place).kind = DescriptionKind::Kernel;
            uncovered(world, "a connection that the server opens itself");
        }
        held.end();
    }
    let arguments = [descriptor as usize, address.addr(), length as usize, 0, 0, 0];
    // SAFETY: the caller's own arguments.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_connect, arguments) }))
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
    let result = match world.descriptors.at(place).kind {
        DescriptionKind::Conn(conn) => {
            let state = world.run.sockets.conn_mut(conn);
            state.read_shut |= how == libc::SHUT_RD || how == libc::SHUT_RDWR;
            let writes = how == libc::SHUT_WR || how == libc::SHUT_RDWR;
            let news = writes && !state.write_shut;
            state.write_shut |= writes;
            state.read_edges = state.read_edges.wrapping_add(1);
            let id = state.id;
            if news {
                world.output.about(output::FIN, id, 0, &[]);
            }
            wake_all(world, place);
            Ok(0)
        }
        // Threads that wait in accept or poll return, as in Linux.
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
