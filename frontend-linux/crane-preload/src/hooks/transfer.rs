//! Bytes into and out of the objects behind descriptors: the common part of read, recv, write,
//! send, sendfile and their variants.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::region::output;
use crane_shm::sys;
use libc::iovec;

use super::conversation::{receive_from, send_to};
use super::counts;
use super::follow::follow;
use super::kernel_objects;
use super::parts::{
    RecvFlags, at_once, is_stream, length, raise_broken_pipe, space_of, write_part,
};
use super::time::after;
use crate::descriptors::{DescriptionKind, TableEntry, lookup};
use crate::execution::On;
use crate::expirations;
use crate::notices::DueNotice;
use crate::outside;
use crate::readiness::{self, kernel_readiness};
use crate::turn::{Call, Held, begin};
use crate::watch;
use crate::world::World;

/// Starts a call about a followed descriptor, or returns `None` if the real call is due.
pub(super) fn begin_at(descriptor: c_int, call: Call) -> Option<(Held, TableEntry)> {
    let place = lookup(descriptor)?;
    let held = begin(call, descriptor as u32);
    let Some(held) = held else {
        super::process::refuse_in_child(place, call);
        return None;
    };
    match lookup(descriptor) {
        Some(place) => Some((held, place)),
        None => {
            // Another thread has closed the descriptor while this one waited for the turn.
            held.end();
            None
        }
    }
}

/// Reads into `spaces`. `real` is the kernel's call, for what the kernel knows.
pub(super) fn receive(
    descriptor: c_int,
    spaces: &mut [iovec],
    manner: RecvFlags,
    real: impl Fn() -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    follow(descriptor);
    let Some((mut held, place)) = begin_at(descriptor, Call::Receive) else { return real() };
    let world = held.world();
    let description = world.descriptors.at(place);
    description.number = descriptor;
    let waits = !(description.nonblocking || manner.at_once || manner.errors);
    let timeout = description.receive_timeout;
    world.descriptors.hold(place);
    let deadline = if timeout == 0 { NEVER } else { after(&mut held, timeout) };
    let mut received = 0;
    let result = loop {
        let world = held.world();
        let result = match world.descriptors.at(place).kind() {
            DescriptionKind::Conn(conn) => {
                let result = receive_from(world, place, conn, spaces, received, manner);
                received += result.unwrap_or(0);
                match result {
                    Err(libc::ECONNRESET) if !report_reset(world, place) => Ok(received),
                    Ok(count) if count > 0 && waits && manner.all && !manner.peek => {
                        if received < length(spaces) {
                            continue;
                        }
                        Ok(received)
                    }
                    Ok(_) => Ok(received),
                    Err(error) if error != libc::EAGAIN && received > 0 => Ok(received),
                    result => result,
                }
            }
            DescriptionKind::Channel { peer } => {
                if waits && is_childs(world, place) {
                    outside::await_child_at(descriptor, watch::IN);
                }
                let ready = kernel_readiness(descriptor) & !watch::OUT != 0 || !waits;
                let result = if ready { real() } else { Err(libc::EAGAIN) };
                if result.is_ok() && !manner.peek {
                    let due = DueNotice::by_read(world, peer);
                    used(world, place, peer);
                    due.send(world);
                    world.descriptors.at(place).seen = 0;
                }
                result
            }
            DescriptionKind::Listener(_) | DescriptionKind::Socket => Err(libc::ENOTCONN),
            // The kernel knows whether the number is open for reading.
            DescriptionKind::Random => {
                sys::read(descriptor, &mut []).and_then(|_| fill_random(world, spaces))
            }
            DescriptionKind::Timer(_) => counts::read(world, place, spaces),
            DescriptionKind::Epoll => Err(libc::EINVAL),
            DescriptionKind::Kernel if world.descriptors.at(place).process().is_some() => {
                Err(libc::EINVAL)
            }
            DescriptionKind::Kernel if world.descriptors.at(place).signals.is_some() => {
                kernel_objects::read_signals(&mut held, descriptor, spaces)
            }
            DescriptionKind::Kernel => {
                let ready = kernel_readiness(descriptor) & !watch::OUT != 0;
                let result = match waits && !ready && length(spaces) > 0 {
                    true => Err(libc::EAGAIN),
                    false => real(),
                };
                if matches!(result, Ok(_) | Err(libc::EAGAIN)) {
                    world.descriptors.at(place).seen = 0;
                }
                world.outside.touched |= result.is_ok();
                result
            }
        };
        match result {
            Err(libc::EAGAIN) if waits => {
                let so_far = |error| if received > 0 { Ok(received) } else { Err(error) };
                match held.wait_or_signal(On::Read(place), deadline) {
                    Ok(Woken::Called) => {}
                    Ok(Woken::Expired) => break so_far(libc::EAGAIN),
                    Err(by) if by.restarts_until(deadline) && received == 0 => {}
                    Err(_) => break so_far(libc::EINTR),
                }
            }
            Err(libc::EAGAIN) if received > 0 => break Ok(received),
            result => break result,
        }
    };
    release(held.world(), place);
    held.end();
    result
}

/// Writes `pieces`. `real` is the kernel's call, for what the kernel knows.
pub(super) fn send(
    descriptor: c_int,
    pieces: &[iovec],
    manner: RecvFlags,
    real: impl Fn() -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let Some((mut held, place)) = begin_at(descriptor, Call::Send) else { return real() };
    let world = held.world();
    let description = world.descriptors.at(place);
    description.number = descriptor;
    let waits = !(description.nonblocking || manner.at_once);
    let timeout = description.send_timeout;
    world.descriptors.hold(place);
    let deadline = if timeout == 0 { NEVER } else { after(&mut held, timeout) };
    let mut sent = 0;
    let result = loop {
        let world = held.world();
        let result = match world.descriptors.at(place).kind() {
            DescriptionKind::Conn(conn) => {
                let result = match send_to(world, conn, pieces, sent) {
                    Err(libc::ECONNRESET) if !report_reset(world, place) => Err(libc::EPIPE),
                    result => result,
                };
                if let Ok(count) = result {
                    sent += count;
                }
                let left = length(pieces) - sent;
                match result {
                    Ok(_) | Err(libc::EAGAIN) if waits && left > 0 => Err(libc::EAGAIN),
                    _ if sent > 0 => Ok(sent),
                    result => result,
                }
            }
            DescriptionKind::Kernel if world.descriptors.at(place).process().is_some() => {
                Err(libc::EINVAL)
            }
            kind @ (DescriptionKind::Channel { .. } | DescriptionKind::Kernel) => {
                if waits && is_childs(world, place) {
                    outside::await_child_at(descriptor, watch::OUT);
                }
                let wanted = length(pieces);
                let small = sent == 0 && wanted <= libc::PIPE_BUF;
                let whole = !waits || small || !is_stream(descriptor);
                let result = match whole {
                    _ if waits && kernel_readiness(descriptor) & !watch::IN == 0 => {
                        Err(libc::EAGAIN)
                    }
                    true if waits && !small => at_once(descriptor, &real),
                    true => real(),
                    false => write_part(descriptor, pieces, sent, manner.no_signal)
                        .map(|count| sent + count),
                };
                if let Ok(count) = result {
                    sent = count;
                    match kind {
                        DescriptionKind::Channel { peer } => {
                            let due = DueNotice::by_write(world, peer);
                            used(world, place, peer);
                            due.send(world);
                        }
                        _ => outside::touch(world, place),
                    }
                }
                match result {
                    Ok(count) if !whole && count < wanted => Err(libc::EAGAIN),
                    Err(error) if error != libc::EAGAIN && sent > 0 => Ok(sent),
                    result => result,
                }
            }
            DescriptionKind::Listener(_) | DescriptionKind::Socket => Err(libc::EPIPE),
            DescriptionKind::Timer(_) | DescriptionKind::Epoll => Err(libc::EINVAL),
            // Bytes written to a source of random bytes do not change the bytes that are read from
            // it.
            DescriptionKind::Random => real(),
        };
        match result {
            Err(libc::EAGAIN) if waits => match held.wait_or_signal(On::Write(place), deadline) {
                Ok(Woken::Called) => {}
                Err(by) if by.restarts_until(deadline) && sent == 0 => {}
                _ if sent > 0 => break Ok(sent),
                Ok(Woken::Expired) => break Err(libc::EAGAIN),
                Err(_) => break Err(libc::EINTR),
            },
            result => break result,
        }
    };
    // At a pipe the kernel has raised the signal already.
    let kind = held.world().descriptors.at(place).kind();
    let broken = result == Err(libc::EPIPE)
        && !matches!(kind, DescriptionKind::Kernel | DescriptionKind::Channel { .. });
    release(held.world(), place);
    held.end();
    if broken && !manner.no_signal {
        raise_broken_pipe();
    }
    result
}

/// Returns whether a reset connection still has to report its error, and marks the error as
/// reported.
pub(super) fn report_reset(world: &mut World, place: TableEntry) -> bool {
    !std::mem::replace(&mut world.descriptors.at(place).reset_reported, true)
}

/// Returns whether a child alone may be at the other end of a pipe.
fn is_childs(world: &mut World, place: TableEntry) -> bool {
    let description = world.descriptors.at(place);
    description.shared && description.lone
}

/// Removes a reference to a description, and ends its object with the last reference.
pub(super) fn release(world: &mut World, place: TableEntry) {
    if world.descriptors.release(place) {
        dispose(world, place);
    }
}

/// Ends the object of a description without references.
pub(super) fn dispose(world: &mut World, place: TableEntry) {
    let World {
        descriptors, watches, run, inbox, output, of_conn, of_listener, unix, outside, ..
    } = world;
    watches.forget(descriptors, place);
    let description = *descriptors.at(place);
    let mut other_end = None;
    match description.kind() {
        DescriptionKind::Conn(conn) => {
            let state = run.sockets.conn(conn);
            let kind = if description.resets { output::RESET } else { output::CLOSE };
            output.about(kind, state.id, 0, &[]);
            run.sockets.close(conn);
            inbox.close(conn);
            of_conn[conn.0 as usize] = 0;
        }
        DescriptionKind::Listener(listener) => {
            let bound = run.sockets.listener(listener).bound;
            let mut closed = |id| output.about(output::RESET, id, 0, &[]);
            run.sockets.unlisten(listener, &mut closed);
            of_listener[listener.0 as usize] = 0;
            unix.set_listening(&bound.at, false);
            outside.touched |= bound.at.is_unix();
            output.unlisten(&bound);
        }
        DescriptionKind::Channel { peer } if peer != place => other_end = Some(peer),
        DescriptionKind::Timer(timer) => {
            descriptors.free(place);
            return expirations::end(world, timer);
        }
        DescriptionKind::Kernel => outside.touched = true,
        _ => {}
    }
    if let Some(peer) = other_end {
        // The other end, which is alone now, reads the end of the stream or can no longer write.
        descriptors.set_kind(peer, DescriptionKind::Channel { peer });
        descriptors.at(peer).lone = true;
        descriptors.free(place);
        let due = DueNotice::by_close(world, peer);
        used(world, peer, peer);
        due.send(world);
    } else {
        descriptors.free(place);
    }
}

/// Records that bytes went through a channel, so that both ends may have changed.
pub(super) fn used(world: &mut World, place: TableEntry, peer: TableEntry) {
    for end in [place, peer] {
        let World { run, descriptors, watches, .. } = &mut *world;
        let description = descriptors.at(end);
        description.edges = description.edges.wrapping_add(1);
        run.turn.wake(On::Read(end).key(), u32::MAX);
        if description.shared && lookup(description.number) == Some(end) {
            // The kernel need not report conditions that exist already.
            description.seen = kernel_readiness(description.number);
        }
        run.turn.wake(On::Write(end).key(), u32::MAX);
        readiness::changed(run, descriptors, watches, end);
        if place == peer {
            break;
        }
    }
}

fn fill_random(world: &mut World, spaces: &[iovec]) -> Result<usize, c_int> {
    use rand_chacha::rand_core::RngCore;
    for piece in spaces {
        world.random.fill_bytes(space_of(piece));
    }
    Ok(length(spaces))
}
