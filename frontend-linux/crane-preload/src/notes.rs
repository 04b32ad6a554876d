//! Notes for the daemon about calls that are not covered and tables that are full. Each note is
//! written once.

use crate::world::World;

/// Levels of notes for the daemon (see `crane_shm::region::output::NOTE`).
const FAULT: u64 = 0;
const WARNING: u64 = 1;

/// Counts a call that the determinism contract does not cover, and notes its kind once for the
/// daemon.
pub(crate) fn uncovered(world: &mut World, what: &'static str) {
    world.region.count_uncovered();
    note_once(world, WARNING, what);
}

/// Reports to the daemon, once, that a table has no place left: the program's call fails.
pub(crate) fn full(world: &mut World, what: &'static str) {
    note_once(world, FAULT, what);
}

fn note_once(world: &mut World, level: u64, what: &'static str) {
    note_kind(world, level, what, what);
}

/// Reports a fault by a text, once for each kind.
pub(crate) fn fault_once(world: &mut World, kind: &'static str, text: &str) {
    note_kind(world, FAULT, kind, text);
}

/// Warns of what is reached less than it seems, by a text, once for each kind.
pub(crate) fn warn_once(world: &mut World, kind: &'static str, text: &str) {
    note_kind(world, WARNING, kind, text);
}

fn note_kind(world: &mut World, level: u64, kind: &'static str, text: &str) {
    // FNV-1a. 0 means none.
    let hash = kind.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    if world.noted.contains(&hash) {
        return;
    }
    if let Some(free) = world.noted.iter_mut().find(|noted| **noted == 0) {
        *free = hash;
    }
    world.output.note(level, text);
}
