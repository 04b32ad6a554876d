//! Calls that are over at once: they are granted, nothing else is due at them, and their thread
//! keeps the turn. They are counted here without a way to wait, so in a few instructions, and, but
//! for those of locks, by code that needs no base of its own (see [`bases`]).

use crane_core::execution::turn::ThreadId;
use crane_core::execution::word;
use crane_shm::CallRecord;

use crate::bases;
use crate::caller;
use crate::membership;
use crate::net;
use crate::signals;
use crate::turn::Call;
use crate::world::{self, World};

/// Agreed time at a call, and at the program's start, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallTime {
    pub now: u64,
    pub start: u64,
}

/// Makes a call of the calling thread, at a place of the program. Returns `None`, and does nothing,
/// if it must be made in full.
// specs: S12
#[inline]
pub(crate) fn call(call: Call, address: u64) -> Option<CallTime> {
    make(
        bases::library_or_current(),
        call,
        address,
        |world| world.run.is_quiet(),
        |world, _| {
            assert!(!world.run.turn.spend(), "a quiet call keeps the turn");
            CallTime { now: world.run.gate.agreed(), start: world.start }
        },
    )
}

/// Counts a call of the calling thread that takes or leaves a lock, if `may` says that libc's
/// function then neither waits, wakes nor enters the kernel. Returns the kernel's number of the
/// thread, or `None`, and does nothing, if the call must be made in full. Call it in a hook itself.
// specs: S6
#[inline(always)]
pub(crate) fn count_of_lock(call: Call, may: impl FnOnce(&World) -> bool) -> Option<u32> {
    let is_quiet = |world: &World| world.run.is_quiet_for_lock() && may(world);
    let back = caller::address_of_hook();
    // A program whose libc is this library's has its base as well.
    make(bases::current(), call, back, is_quiet, |world, me| world.threads[usize::from(me.0)].tid)
}

/// Makes a call of the calling thread, whose base of this library's is given, if it is quiet.
#[inline(always)]
fn make<R>(
    base: usize,
    call: Call,
    address: u64,
    is_quiet: impl FnOnce(&World) -> bool,
    act: impl FnOnce(&mut World, ThreadId) -> R,
) -> Option<R> {
    // In serial mode a thread that runs code of the program has the turn.
    if cfg!(feature = "arrival") || signals::any() || !world::is_serial_parent() {
        return None;
    }
    membership::in_hook(base, |me| {
        // SAFETY: the calling thread has the turn, and keeps it.
        let world = unsafe { world::world() };
        let clock = world.run.gate.clock() + 1;
        let is_quiet = is_quiet(world)
            && net::is_quiet(base, clock, world.region.net_round())
            && world.run.call(me, call as u16, 0);
        if !is_quiet {
            return None;
        }
        let record = CallRecord {
            clock,
            word: word(me, call as u16, 0),
            address,
            output: world.run.output.value(),
        };
        world.region.record_call(record, world.run.schedule.value());
        Some(act(world, me))
    })
    .flatten()
}
