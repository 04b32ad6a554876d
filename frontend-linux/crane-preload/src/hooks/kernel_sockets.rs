//! accept and connect at sockets that only the kernel knows: Unix sockets, and TCP connections that
//! the server opens. A thread waits in the turn, and the library asks the kernel (see `outside`).

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};

use super::follow;
use super::parts::{at_once, socket_option};
use super::time::after;
use super::transfer::release;
use crate::descriptors::TableEntry;
use crate::execution::On;
use crate::outside;
use crate::readiness::kernel_readiness;
use crate::turn::Held;
use crate::watch;

/// Waits in a call about a socket. Fails with `error` when the limit comes, or if a handler ran.
fn wait(held: &mut Held, on: On, deadline: u64, error: c_int) -> Result<(), c_int> {
    match held.wait_or_signal(on, deadline) {
        Ok(Woken::Called) => Ok(()),
        Ok(Woken::Expired) => Err(error),
        Err(by) if by.restarts_until(deadline) => Ok(()),
        Err(_) => Err(libc::EINTR),
    }
}

/// Returns the time at which a call ends that has a limit of nanoseconds, where 0 means no limit.
fn deadline(held: &mut Held, limit: u64) -> u64 {
    if limit == 0 { NEVER } else { after(held, limit) }
}

/// Completes a call of accept. `call` makes the kernel's call.
pub(super) fn accept(
    mut held: Held,
    place: TableEntry,
    descriptor: c_int,
    call: impl Fn() -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let description = held.world().descriptors.at(place);
    description.number = descriptor;
    let (nonblocking, limit) = (description.nonblocking, description.receive_timeout);
    // A socket that does not listen has an error at once.
    let waits = !nonblocking
        && socket_option(descriptor, libc::SO_ACCEPTCONN).is_some_and(|listens| listens != 0);
    let deadline = deadline(&mut held, limit);
    held.world().descriptors.hold(place);
    let result = loop {
        if !waits || kernel_readiness(descriptor) & watch::IN != 0 {
            break call();
        }
        if let Err(error) = wait(&mut held, On::Read(place), deadline, libc::EAGAIN) {
            break Err(error);
        }
    };
    if let Ok(accepted) = result {
        outside::touch(held.world(), place);
        follow::follow_in_turn(held.world(), accepted as c_int);
    }
    release(held.world(), place);
    held.end();
    result
}

/// Completes a call of connect. `call` makes the kernel's call.
pub(super) fn connect(
    mut held: Held,
    place: TableEntry,
    descriptor: c_int,
    call: impl Fn() -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let description = held.world().descriptors.at(place);
    description.number = descriptor;
    let (nonblocking, limit) = (description.nonblocking, description.send_timeout);
    outside::touch(held.world(), place);
    if nonblocking {
        // In the turn: a listener of the server's finds it at the same clock on all replicas.
        let result = call();
        held.end();
        return result;
    }
    let deadline = deadline(&mut held, limit);
    held.world().descriptors.hold(place);
    let result = loop {
        match at_once(descriptor, &call) {
            // The listener's backlog is full, and no event announces room in it.
            Err(libc::EAGAIN) => {
                let waited = wait(&mut held, On::Retry, deadline, libc::EAGAIN);
                if let Err(error) = waited {
                    break Err(error);
                }
            }
            Err(libc::EINPROGRESS) => match await_connected(&mut held, place, deadline) {
                // The call returns its outcome at once.
                Ok(()) => break at_once(descriptor, &call),
                Err(error) => break Err(error),
            },
            result => break result,
        }
    };
    outside::touch(held.world(), place);
    release(held.world(), place);
    held.end();
    result
}

/// Waits for the end of a handshake.
fn await_connected(held: &mut Held, place: TableEntry, deadline: u64) -> Result<(), c_int> {
    let descriptor = held.world().descriptors.at(place).number;
    while kernel_readiness(descriptor) & !watch::IN == 0 {
        wait(held, On::Write(place), deadline, libc::EINPROGRESS)?;
    }
    Ok(())
}
