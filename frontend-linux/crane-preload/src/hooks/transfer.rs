//! Bytes in and out of what descriptors stand for: the part that read, recv, write, send, sendfile
//! and their variants share.

use std::ffi::c_int;

use crane_core::execution::socket::ConnIndex;
use crane_core::execution::turn::{NEVER, Woken};
use crane_core::id::ConnId;
use crane_core::limits::RECEIVE_WINDOW;
use crane_shm::region::output;
use crane_shm::sys;
use libc::iovec;

use super::parts::{bytes_of, raise_broken_pipe, write_part};
use super::time::after;
use crate::descriptors::{DescriptionKind, TableEntry, lookup};
use crate::execution::{On, ProgramExecution};
use crate::output::Output;
use crate::readiness::{self, kernel_readiness};
use crate::turn::{Call, Held, begin};
use crate::watch;
use crate::world::World;

/// The server reports to the daemon in steps of this size how far it has read; the daemon then lets
/// the client send more. A quarter of the window keeps the client busy with few records.
const REPORT_STEP: u64 = RECEIVE_WINDOW as u64 / 4;

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
    /// `MSG_OOB`: urgent data is asked for, which no client's connection has.
    pub urgent: bool,
    /// `MSG_ERRQUEUE`: the queue of errors is asked for, which is always empty.
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

    /// read(2), write(2) and their vectors.
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

/// Starts a call about a descriptor of ours. `None`: the real call is due.
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
            // Closed by another thread while this one waited for the turn.
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
    let Some((mut held, place)) = begin_at(descriptor, Call::Receive) else { return real() };
    let world = held.world();
    let description = world.descriptors.at(place);
    let waits = !(description.nonblocking || manner.at_once || manner.errors);
    let timeout = description.receive_timeout;
    world.descriptors.hold(place);
    let deadline = if timeout == 0 { NEVER } else { after(&mut held, timeout) };
    let mut received = 0;
    let result = loop {
        let world = held.world();
        let result = match world.descriptors.at(place).kind {
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
                let ready = kernel_readiness(descriptor) & !watch::OUT != 0 || !waits;
                let result = if ready { real() } else { Err(libc::EAGAIN) };
                if result.is_ok() && !manner.peek {
                    used(world, place, peer);
                }
                result
            }
            DescriptionKind::Listener(_) | DescriptionKind::Socket => Err(libc::ENOTCONN),
            // The kernel knows whether the number is open for reading.
            DescriptionKind::Random => {
                sys::read(descriptor, &mut []).and_then(|_| fill_random(world, spaces))
            }
            DescriptionKind::Epoll | DescriptionKind::Free => Err(libc::EINVAL),
            DescriptionKind::Kernel => real(),
        };
        match result {
            Err(libc::EAGAIN) if waits && !is_kernel(held.world(), place) => {
                let so_far = |error| if received > 0 { Ok(received) } else { Err(error) };
                match held.wait_or_signal(On::Read(place), deadline) {
                    Ok(Woken::Called) => {}
                    Ok(Woken::Expired) => break so_far(libc::EAGAIN),
                    // With a limit it never starts again (signal(7)).
                    Err(by) if by.restarts && deadline == NEVER && received == 0 => {}
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
    let waits = !(description.nonblocking || manner.at_once);
    let timeout = description.send_timeout;
    world.descriptors.hold(place);
    let deadline = if timeout == 0 { NEVER } else { after(&mut held, timeout) };
    let mut sent = 0;
    let result = loop {
        let world = held.world();
        let result = match world.descriptors.at(place).kind {
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
            DescriptionKind::Channel { peer } => {
                let wanted = length(pieces);
                let whole = !waits || (sent == 0 && wanted <= libc::PIPE_BUF);
                let result = match whole {
                    _ if waits && kernel_readiness(descriptor) & !watch::IN == 0 => {
                        Err(libc::EAGAIN)
                    }
                    true => real(),
                    false => write_part(descriptor, pieces, sent, manner.no_signal)
                        .map(|count| sent + count),
                };
                if let Ok(count) = result {
                    sent = count;
                    used(world, place, peer);
                }
                match result {
                    Ok(count) if !whole && count < wanted => Err(libc::EAGAIN),
                    Err(error) if error != libc::EAGAIN && sent > 0 => Ok(sent),
                    result => result,
                }
            }
            DescriptionKind::Listener(_) | DescriptionKind::Socket => Err(libc::EPIPE),
            DescriptionKind::Epoll | DescriptionKind::Free => Err(libc::EINVAL),
            // Bytes written to a source of random ones change nothing that is read from it.
            DescriptionKind::Random | DescriptionKind::Kernel => real(),
        };
        match result {
            Err(libc::EAGAIN) if waits && !is_kernel(held.world(), place) => {
                match held.wait_or_signal(On::Write(place), deadline) {
                    Ok(Woken::Called) => {}
                    Err(by) if by.restarts && deadline == NEVER && sent == 0 => {}
                    _ if sent > 0 => break Ok(sent),
                    Ok(Woken::Expired) => break Err(libc::EAGAIN),
                    Err(_) => break Err(libc::EINTR),
                }
            }
            result => break result,
        }
    };
    // At a pipe the kernel has raised the signal already.
    let kind = held.world().descriptors.at(place).kind;
    let broken = result == Err(libc::EPIPE)
        && !matches!(kind, DescriptionKind::Kernel | DescriptionKind::Channel { .. });
    release(held.world(), place);
    held.end();
    if broken && !manner.no_signal {
        raise_broken_pipe();
    }
    result
}

/// Returns whether a reset connection still has to report its error; after this it has.
pub(super) fn report_reset(world: &mut World, place: TableEntry) -> bool {
    !std::mem::replace(&mut world.descriptors.at(place).reset_reported, true)
}

/// Takes a reference from a description, and ends its object with the last one.
pub(super) fn release(world: &mut World, place: TableEntry) {
    if world.descriptors.release(place) {
        dispose(world, place);
    }
}

/// Ends the object of a description without references.
pub(super) fn dispose(world: &mut World, place: TableEntry) {
    let World { descriptors, watches, run, output, of_conn, of_listener, .. } = world;
    watches.forget(descriptors, place);
    let description = *descriptors.at(place);
    let mut other_end = None;
    match description.kind {
        DescriptionKind::Conn(conn) => {
            let state = run.sockets.conn(conn);
            let kind = if description.resets { output::RESET } else { output::CLOSE };
            output.about(kind, state.id, 0, &[]);
            run.sockets.close(conn);
            of_conn[conn.0 as usize] = 0;
        }
        DescriptionKind::Listener(listener) => {
            let bound = run.sockets.listener(listener).bound;
            let mut closed = |id| output.about(output::RESET, id, 0, &[]);
            run.sockets.unlisten(listener, &mut closed);
            of_listener[listener.0 as usize] = 0;
            output.unlisten(&bound);
        }
        DescriptionKind::Channel { peer } if peer != place => other_end = Some(peer),
        _ => {}
    }
    if let Some(peer) = other_end {
        // The other end reads the end of the stream, or cannot write any more; it is alone now.
        descriptors.at(place).kind = DescriptionKind::Kernel;
        descriptors.at(peer).kind = DescriptionKind::Channel { peer };
        descriptors.free(place);
        used(world, peer, peer);
    } else {
        descriptors.free(place);
    }
}

/// Something went through a channel: both ends may have changed.
pub(super) fn used(world: &mut World, place: TableEntry, peer: TableEntry) {
    for end in [place, peer] {
        let World { run, descriptors, watches, .. } = &mut *world;
        let description = descriptors.at(end);
        description.edges = description.edges.wrapping_add(1);
        run.turn.wake(On::Read(end).key(), u32::MAX);
        run.turn.wake(On::Write(end).key(), u32::MAX);
        readiness::changed(run, descriptors, watches, end);
        if place == peer {
            break;
        }
    }
}

/// Bytes in all pieces.
pub(super) fn length(pieces: &[iovec]) -> usize {
    pieces.iter().map(|piece| piece.iov_len).sum()
}

fn is_kernel(world: &mut World, place: TableEntry) -> bool {
    world.descriptors.at(place).kind == DescriptionKind::Kernel
}

/// A piece of the caller's memory, to be written to.
fn space_of<'a>(piece: &iovec) -> &'a mut [u8] {
    if piece.iov_len == 0 {
        return &mut [];
    }
    // SAFETY: the hook's caller gives places of these lengths, which nobody else uses during the
    // call.
    unsafe { std::slice::from_raw_parts_mut(piece.iov_base.cast(), piece.iov_len) }
}

/// Reads what has come, up to the spaces' end, behind the first `skip` bytes of them. A call that
/// waits for more than has come reads it in parts: what it has read moves the window on, which may
/// be smaller than what the call waits for. `MSG_PEEK` moves nothing: it waits for no more than
/// the window holds.
fn receive_from(
    world: &mut World,
    place: TableEntry,
    conn: ConnIndex,
    spaces: &mut [iovec],
    skip: usize,
    manner: RecvFlags,
) -> Result<usize, c_int> {
    if manner.errors || manner.urgent {
        return Err(if manner.errors { libc::EAGAIN } else { libc::EINVAL });
    }
    let description = world.descriptors.at(place);
    let waits = !(description.nonblocking || manner.at_once);
    let state = world.run.sockets.conn_mut(conn);
    let wanted = length(spaces) - skip;
    let count = state.readable().min(wanted);
    let over = state.ended || state.reset || state.read_shut;
    if wanted == 0 {
        return Ok(0);
    }
    if count == 0 {
        let error = if state.reset && !state.ended { libc::ECONNRESET } else { 0 };
        return match (over, error) {
            (false, _) => Err(libc::EAGAIN),
            (true, 0) => Ok(0),
            (true, error) => Err(error),
        };
    }
    let (consumed, id) = (state.consumed, state.id);
    if manner.peek && manner.all && waits && count < wanted.min(RECEIVE_WINDOW) && !over {
        // The window has room for the rest only when the daemon knows of all that was read.
        report(world, place, id, consumed, 1);
        return Err(libc::EAGAIN);
    }
    if !manner.drops {
        copy_out(world, conn, spaces, skip, count);
    }
    if manner.peek {
        return Ok(count);
    }
    world.run.sockets.conn_mut(conn).consume(count);
    report(world, place, id, consumed + count as u64, REPORT_STEP);
    Ok(count)
}

/// Copies bytes that have come to the spaces, behind the first `skip` bytes of these.
fn copy_out(
    world: &mut World,
    conn: ConnIndex,
    spaces: &[iovec],
    mut skip: usize,
    mut left: usize,
) {
    let mut at = world.run.sockets.conn(conn).consumed;
    for piece in spaces {
        let passed = skip.min(piece.iov_len);
        let part = (piece.iov_len - passed).min(left);
        if part > 0 {
            world.inbox.copy(conn, at, &mut space_of(piece)[passed..passed + part]);
        }
        (skip, at, left) = (skip - passed, at + part as u64, left - part);
    }
}

/// Reports to the daemon how far the server has read, if that is at least `step` more than it
/// knows of.
fn report(world: &mut World, place: TableEntry, id: ConnId, consumed: u64, step: u64) {
    let reported = &mut world.descriptors.at(place).reported;
    if consumed - *reported >= step {
        *reported = consumed;
        world.output.about(output::CONSUMED, id, consumed, &[]);
    }
}

fn send_to(
    world: &mut World,
    conn: ConnIndex,
    pieces: &[iovec],
    skip: usize,
) -> Result<usize, c_int> {
    let World { run, output, .. } = world;
    let wanted = length(pieces) - skip;
    let (mut skip, mut sent) = (skip, 0);
    for piece in pieces {
        let bytes = bytes_of(piece);
        let passed = skip.min(bytes.len());
        skip -= passed;
        let bytes = &bytes[passed..];
        let taken = match send_bytes(run, output, conn, bytes) {
            Ok(taken) => taken,
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        };
        sent += taken;
        if taken < bytes.len() {
            break;
        }
    }
    if sent == 0 && wanted > 0 { Err(libc::EAGAIN) } else { Ok(sent) }
}

/// Writes as many bytes as the window has room for.
pub(super) fn send_bytes(
    run: &mut ProgramExecution,
    output: &mut Output,
    conn: ConnIndex,
    bytes: &[u8],
) -> Result<usize, c_int> {
    let state = run.sockets.conn_mut(conn);
    if state.reset || state.write_shut {
        return Err(if state.write_shut { libc::EPIPE } else { libc::ECONNRESET });
    }
    let count = state.room().min(bytes.len());
    if count == 0 {
        return if bytes.is_empty() { Ok(0) } else { Err(libc::EAGAIN) };
    }
    state.produce(count);
    let id = state.id;
    run.output.put(id.number ^ u64::from(id.entry.number()) << 56);
    run.output.put_bytes(&bytes[..count]);
    output.data(id, &bytes[..count]);
    Ok(count)
}

fn fill_random(world: &mut World, spaces: &[iovec]) -> Result<usize, c_int> {
    use rand_chacha::rand_core::RngCore;
    for piece in spaces {
        world.random.fill_bytes(space_of(piece));
    }
    Ok(length(spaces))
}
