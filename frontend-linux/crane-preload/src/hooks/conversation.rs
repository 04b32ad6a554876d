//! Bytes of a client's connection: admitted bytes go to the server's memory, and the server's bytes
//! go to the daemon.

use std::ffi::c_int;

use crane_core::execution::socket::ConnIndex;
use crane_core::id::ConnId;
use crane_core::limits::RECEIVE_WINDOW;
use crane_shm::region::output;
use libc::iovec;

use super::parts::{RecvFlags, bytes_of, length, space_of};
use crate::descriptors::TableEntry;
use crate::execution::ProgramExecution;
use crate::output::Output;
use crate::world::World;

/// The number of bytes after which the server reports its reading to the daemon, which then lets
/// the client send more. A quarter of the window keeps the client busy with few records.
const REPORT_STEP: u64 = RECEIVE_WINDOW as u64 / 4;

/// Reads the bytes that have come into the spaces, after the first `skip` bytes of these. A call
/// that waits for more bytes reads them in parts, and each part moves the window, which may be
/// smaller than the amount for which the call waits. `MSG_PEEK` does not move the window, and waits
/// for no more than the window holds.
pub(super) fn receive_from(
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
        // The window has room for the rest only when the daemon knows of all bytes that were read.
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

/// Copies the bytes that have come into the spaces, after the first `skip` bytes of these.
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

/// Reports to the daemon how many bytes the server has read, if that is at least `step` more than
/// the daemon knows.
fn report(world: &mut World, place: TableEntry, id: ConnId, consumed: u64, step: u64) {
    let reported = &mut world.descriptors.at(place).reported;
    if consumed - *reported >= step {
        *reported = consumed;
        world.output.about(output::CONSUMED, id, consumed, &[]);
    }
}

pub(super) fn send_to(
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
    let (id, offset) = (state.id, state.sent);
    state.produce(count);
    run.output.put(id.number ^ u64::from(id.entry.number()) << 56);
    run.output.put_bytes(&bytes[..count]);
    output.data(id, offset, &bytes[..count]);
    Ok(count)
}
