//! The way from a program to the one that takes its place by exec(3).
//!
//! A launcher, a `#!` script or a shell that ends in `exec` is not the server, but becomes it. The
//! process therefore continues to take part: the agreed state ([`Carried`]) waits in the shared
//! memory for the next program, whose environment leads it there as it did the first program.

use crane_core::execution::Carried;
use crane_shm::ServerSide;
use crane_shm::region::CARRIED_BYTES;
use serde::{Deserialize, Serialize};

use crate::hooks::open_files;
use crate::inherited;
use crate::kept::KeptGenesis;
use crate::membership;
use crate::processes;
use crate::processors::{self, SET_WORDS};
use crate::world::World;

/// The legacy of one program for the next; the genesis entry follows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Legacy {
    /// The state of the execution.
    pub run: Carried,
    /// The number of programs before the next one.
    pub predecessors: u32,
    /// The next port for a socket that binds to none.
    pub next_port: u16,
    /// The number of Unix sockets that were bound.
    pub unix_sockets: u64,
    /// The process's timer of real time, which execve(2) keeps: the agreed time of its next
    /// expiration, and the time between expirations.
    pub alarm: Option<(u64, u64)>,
    /// The program's hard limit of open files.
    pub open_files: u64,
    /// The processors that the program wishes for the thread that continues, or none.
    pub processors: [u64; SET_WORDS],
}

/// Leaves the state from which the next program continues, and the library's descriptors.
///
/// # Errors
/// Returns why no program can take the place of this one.
pub(crate) fn leave(world: &mut World) -> Result<(), &'static str> {
    let run = world.run.carry().ok_or("it has sockets open, which the next program would lose")?;
    let legacy = Legacy {
        run,
        predecessors: world.predecessors + 1,
        next_port: world.next_port,
        unix_sockets: world.unix.last,
        alarm: world
            .processes
            .at(processes::own())
            .interval_timer
            .and_then(|timer| world.timers.times(timer)),
        open_files: open_files::hard(),
        processors: processors::wish(membership::number()).0,
    };
    let mut space = [0; CARRIED_BYTES];
    let length = postcard::to_slice(&legacy, &mut space).map_err(|_| "no space for it")?.len();
    let genesis = world.genesis.bytes();
    let rest = space.get_mut(length..length + genesis.len()).ok_or("no space for its genesis")?;
    rest.copy_from_slice(genesis);
    world.region.put_carried(&space[..length + genesis.len()]);
    inherited::pass_on(true)
}

/// Takes the legacy back, because no program takes the place of this one after all.
pub(crate) fn take_back(world: &World) {
    world.region.put_carried(&[]);
    // They were open a moment ago.
    let _ = inherited::pass_on(false);
}

/// Takes the legacy of the previous program, if there was one, and the genesis entry.
///
/// # Errors
/// Returns the fault in the legacy.
pub(crate) fn inherit(region: ServerSide) -> Result<Option<(Legacy, KeptGenesis)>, &'static str> {
    let mut space = [0; CARRIED_BYTES];
    let bytes = region.carried(&mut space);
    if bytes.is_empty() {
        return Ok(None);
    }
    let (legacy, genesis) =
        postcard::take_from_bytes(bytes).map_err(|_| "the program before left nothing whole")?;
    let genesis = KeptGenesis::new(genesis).ok_or("the genesis entry is too long")?;
    region.put_carried(&[]);
    Ok(Some((legacy, genesis)))
}
