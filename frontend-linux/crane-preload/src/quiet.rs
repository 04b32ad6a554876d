//! Calls that are over at once: they are granted, nothing else is due at them, and their thread
//! keeps the turn. They are counted here without a way to wait, so in a few instructions, and by
//! code that needs no base of its own (see [`bases`]).

use crane_core::execution::word;
use crane_shm::CallRecord;

use crate::bases;
use crate::membership;
use crate::net;
use crate::signals;
use crate::turn::Call;
use crate::world::{self, SERIAL};

use std::sync::atomic::Ordering;

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
    // In serial mode a thread that runs code of the program has the turn.
    let is_serial = SERIAL.load(Ordering::Relaxed) && !cfg!(feature = "arrival");
    if !is_serial || signals::any() || world::is_child() {
        return None;
    }
    let base = bases::library_or_current();
    membership::in_hook(base, |me| {
        // SAFETY: the calling thread has the turn, and keeps it.
        let world = unsafe { world::world() };
        let clock = world.run.gate.clock() + 1;
        let is_quiet = world.run.is_quiet()
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
        assert!(!world.run.turn.spend(), "a quiet call keeps the turn");
        Some(CallTime { now: world.run.gate.agreed(), start: world.start })
    })
    .flatten()
}
