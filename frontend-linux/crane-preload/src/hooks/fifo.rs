//! open of a FIFO: a thread waits in the turn until the other side has been opened. The library
//! asks the kernel when a call may have opened the other side, and now and then (see `outside`).

use std::ffi::{c_char, c_int};

use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::mode_t;

use super::follow::follow_in_turn;
use super::parts::set_nonblocking;
use crate::execution::On;
use crate::file_kind;
use crate::membership::takes_part;
use crate::readiness::kernel_readiness;
use crate::turn::{Call, Held, begin};
use crate::watch::{HUP, IN};

/// The flags with which open does not wait, or opens no FIFO.
const WAITS_NOT: c_int = libc::O_NONBLOCK | libc::O_PATH | libc::O_DIRECTORY;

/// The arguments of openat(2).
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub directory: c_int,
    pub path: *const c_char,
    pub flags: c_int,
    pub mode: mode_t,
}

impl Opening {
    /// Makes the kernel's call with these flags added.
    pub(super) fn open(self, more: c_int) -> Result<usize, c_int> {
        let Self { directory, path, flags, mode } = self;
        let flags = (flags | more) as usize;
        let arguments = [directory as usize, path.addr(), flags, mode as usize, 0, 0];
        // SAFETY: the hook's caller gave a path.
        sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) })
    }

    fn is_fifo(self) -> bool {
        file_kind::at(self.directory as usize, self.path.addr(), 0) == Some(libc::S_IFIFO)
    }
}

/// Opens a FIFO for one direction, if the call would do so. Returns `None` if the real call is due.
pub(super) fn open(opening: Opening) -> Option<Result<usize, c_int>> {
    let direction = opening.flags & libc::O_ACCMODE;
    let one_way = direction == libc::O_RDONLY || direction == libc::O_WRONLY;
    if !one_way || opening.flags & WAITS_NOT != 0 || !takes_part() || !opening.is_fifo() {
        return None;
    }
    let mut held = begin(Call::Channel, 0)?;
    let result = if direction == libc::O_RDONLY {
        opening.open(libc::O_NONBLOCK).and_then(|descriptor| {
            await_writer(&mut held, descriptor as c_int).map(|()| descriptor)
        })
    } else {
        await_reader(&mut held, opening)
    };
    if let Ok(descriptor) = result {
        // The program did not ask for this flag.
        set_nonblocking(descriptor as c_int, false);
        let world = held.world();
        follow_in_turn(world, descriptor as c_int);
        world.outside.touched = true;
    }
    held.end();
    Some(result)
}

/// Waits until it is time to try the call again.
fn wait(held: &mut Held) -> Result<(), c_int> {
    let woken = held.wait_or_signal(On::Retry, NEVER);
    match woken {
        _ if held.cancelled => Err(libc::EINTR),
        Err(by) if !by.restarts => Err(libc::EINTR),
        _ => Ok(()),
    }
}

fn await_reader(held: &mut Held, opening: Opening) -> Result<usize, c_int> {
    loop {
        match opening.open(libc::O_NONBLOCK) {
            Err(libc::ENXIO) => wait(held)?,
            result => return result,
        }
    }
}

/// Waits for a writer at a FIFO that is open for reading, which lets a writer in.
fn await_writer(held: &mut Held, descriptor: c_int) -> Result<(), c_int> {
    // A writer's open call may wait for this reader.
    held.world().outside.touched = true;
    let result = loop {
        // HUP shows a writer that has come and gone again.
        if kernel_readiness(descriptor) & (IN | HUP) != 0 || has_writer(descriptor) {
            return Ok(());
        }
        if let Err(error) = wait(held) {
            break Err(error);
        }
    };
    // Nothing can be done about a close that fails.
    let _ = sys::close(descriptor);
    result
}

/// Returns whether an empty FIFO has a writer: tee(2) would wait for that.
fn has_writer(descriptor: c_int) -> bool {
    let mut ends = [0 as c_int; 2];
    let arguments = [ends.as_mut_ptr().addr(), libc::O_CLOEXEC as usize, 0, 0, 0, 0];
    // SAFETY: a place for two numbers.
    if sys::checked(unsafe { sys::syscall(libc::SYS_pipe2, arguments) }).is_err() {
        return false;
    }
    let flags = libc::SPLICE_F_NONBLOCK as usize;
    let arguments = [descriptor as usize, ends[1] as usize, 1, flags, 0, 0];
    // SAFETY: tee touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_tee, arguments) });
    for end in ends {
        let _ = sys::close(end);
    }
    result != Ok(0)
}
