//! accept: the connections of clients, and those of processes of the cell at a Unix listener.

use std::ffi::c_int;

use crane_core::execution::socket::{ConnIndex, ListenerIndex};
use crane_core::execution::turn::{NEVER, Woken};
use crane_core::wire::Endpoint;
use crane_shm::region::output;
use crane_shm::sys;
use libc::{sockaddr, socklen_t};

use super::names::give;
use super::sockets::stand_in;
use super::time::after;
use super::transfer::{begin_at, release};
use super::{follow, kernel_sockets, options, unix};
use crate::descriptors::{Description, DescriptionKind, TableEntry};
use crate::errno;
use crate::execution::On;
use crate::notes::full;
use crate::readiness;
use crate::turn::{Call, Held};
use crate::world::World;

/// The report of a server that has no descriptor for a client.
const NO_NUMBER: &str = "accept: the server has as many open files as its limit (RLIMIT_NOFILE) \
    allows, and takes no further connection; give the group a higher one by --open-files, or \
    configure the server for fewer";

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
    let listener = match held.world().descriptors.at(place).kind() {
        DescriptionKind::Listener(listener) => listener,
        DescriptionKind::Socket | DescriptionKind::Conn(_) => {
            held.end();
            return errno::answer_int(Err(libc::EINVAL));
        }
        _ => return errno::answer_int(kernel_sockets::accept(held, place, descriptor, real)),
    };
    let description = held.world().descriptors.at(place);
    description.number = descriptor;
    held.world().descriptors.hold(place);
    let result = accept_at(&mut held, place, listener, (descriptor, flags), real);
    release(held.world(), place);
    held.end();
    let (accepted, peer, ipv6) = match result {
        Ok(accepted) => accepted,
        Err(error) => return errno::answer_int(Err(error)),
    };
    if let Some(peer) = peer.filter(|_| !address.is_null())
        // SAFETY: the caller's own places.
        && let Err(error) = unsafe { give(peer, ipv6, address, length) }
    {
        // As in Linux, the connection is lost. SAFETY: a plain number; the symbol is this library's
        // own.
        unsafe { libc::close(accepted) };
        return errno::answer_int(Err(error));
    }
    accepted
}

/// Takes the first waiting connection. As in Linux, a call has its number before it waits, and
/// without a free number it does not wait. Of a connection from inside of the cell, `real` has
/// given the caller the peer.
fn accept_at(
    held: &mut Held,
    place: TableEntry,
    listener: ListenerIndex,
    (descriptor, flags): (c_int, c_int),
    real: impl Fn() -> Result<usize, c_int>,
) -> Result<(c_int, Option<Endpoint>, bool), c_int> {
    let description = *held.world().descriptors.at(place);
    let Description { receive_timeout: timeout, ipv6, nonblocking, .. } = description;
    let family = match held.world().run.sockets.listener(listener).bound.at.is_unix() {
        true => libc::AF_UNIX,
        false if ipv6 => libc::AF_INET6,
        false => libc::AF_INET,
    };
    let deadline = if timeout == 0 { NEVER } else { after(held, timeout) };
    if nonblocking
        && held.world().run.sockets.acceptable(listener) == 0
        && !readiness::has_inside(&description, descriptor)
    {
        let shut = held.world().descriptors.at(place).shut;
        return Err(free_number(descriptor).err().unwrap_or(if shut {
            libc::EINVAL
        } else {
            libc::EAGAIN
        }));
    }
    loop {
        let accepted = stand_in(family, flags).inspect_err(|error| {
            if *error == libc::EMFILE {
                full(held.world(), NO_NUMBER);
            }
        })?;
        let result = match await_conn(held, place, listener, deadline) {
            Ok(Some(conn)) => follow(held.world(), place, conn, accepted, flags),
            Ok(None) => {
                // Nothing can be done about a close that fails.
                let _ = sys::close(accepted);
                match unix::accept_inside(held.world(), place, descriptor, &real) {
                    // A child of the server was faster.
                    Err(libc::EAGAIN) if !nonblocking => continue,
                    taken => return taken.map(|accepted| (accepted, None, false)),
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(_) => options::inherit(held.world().descriptors.at(place), descriptor, accepted),
            // As above.
            Err(_) => drop(sys::close(accepted)),
        }
        return result.map(|peer| (accepted, Some(peer), ipv6));
    }
}

/// Fails where the process has no number for a copy of a descriptor.
fn free_number(descriptor: c_int) -> Result<(), c_int> {
    let arguments = [descriptor as usize, 0, 0, 0, 0, 0];
    // SAFETY: dup touches no memory.
    let copy = sys::checked(unsafe { sys::syscall(libc::SYS_dup, arguments) })?;
    sys::close(copy as c_int)
}

/// Waits for a connection. Returns `None` if one from inside of the cell waits in the kernel.
fn await_conn(
    held: &mut Held,
    place: TableEntry,
    listener: ListenerIndex,
    deadline: u64,
) -> Result<Option<ConnIndex>, c_int> {
    loop {
        let world = held.world();
        if let Some(conn) = world.run.sockets.accept(listener) {
            return Ok(Some(conn));
        }
        let description = world.descriptors.at(place);
        if readiness::has_inside(description, description.number) {
            return Ok(None);
        }
        if description.shut {
            return Err(libc::EINVAL);
        }
        if description.nonblocking {
            return Err(libc::EAGAIN);
        }
        match held.wait_or_signal(On::Read(place), deadline) {
            Ok(Woken::Called) => {}
            Ok(Woken::Expired) => return Err(libc::EAGAIN),
            Err(by) if by.restarts_until(deadline) => {}
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
