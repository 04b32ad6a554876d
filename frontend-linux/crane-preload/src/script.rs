//! The script's head: the admission of the next entry, and the wait for it.

use crane_core::execution::admission::{Admitted, ConnRefusal};
use crane_core::id::Slot;
use crane_core::wire::EntryPayload;
use crane_shm::region::{output, script};
use crane_shm::{EndReason, HashMark, ServerState};
use heapless::Vec;

use crate::announce;
use crate::deadlock::{self, StandStill};
use crate::descriptors::TableEntry;
use crate::execution::{On, ProgramExecution};
use crate::hold;
use crate::notes;
use crate::notices;
use crate::objects::NoticeReason;
use crate::outside;
use crate::posting;
use crate::readiness;
use crate::signals;
use crate::trouble;
use crate::world::World;

/// The longest sleep without a check of the script, in nanoseconds.
const SLEEP: u64 = 10_000_000_000;
/// The longest such sleep while a thread waits for signals (sigwait(3)), which may come from
/// outside.
const LOOK_FOR_SIGNALS: u64 = 100_000_000;

/// The report of a full table.
const FULL: &str = "the program has 65536 connections, as many as crane keeps: the client of the \
    next one gets a reset; configure it for fewer";
const _: () = assert!(crate::capacities::CONNECTIONS == 65536);

/// The report of a server that the group restarts.
const RESTARTED: &str = "the group restarts this server";

/// The number of signals about descriptors that one entry sends at most.
const TOLD_MAX: usize = 64;

/// The number that wakes all waiting threads.
const ALL: u32 = u32::MAX;

/// Admits the entry at the script's head, and waits for it if the script is empty. Returns earlier
/// if the kernel has an event for a thread of a quiescent server, or a handler has posted a signal.
/// `waiting` is the reason for the wait; a quiescent server has stood still since `still`.
pub(crate) fn admit_next(world: &mut World, waiting: ServerState, still: &mut StandStill) {
    #[cfg(feature = "arrival")]
    if waiting == ServerState::Stalled {
        // Only a server without a runnable thread waits.
        return world.run.gate.grant(u32::MAX);
    }
    loop {
        while !has_next(world) {
            if waiting == ServerState::Quiescent && signals::has_news() {
                return;
            }
            if hold::is_due(world) {
                hold::hold(world);
                continue;
            }
            if await_script(world, waiting, still) {
                return;
            }
        }
        if hold::is_due(world) {
            hold::hold(world);
            continue;
        }
        if admit_head(world) {
            return;
        }
    }
}

/// Admits all entries that have arrived, whatever the clock is, for the control of the tests.
#[cfg(feature = "arrival")]
pub fn admit_arrived(world: &mut World) {
    while has_next(world) {
        world.run.gate.drop_grant();
        admit_head(world);
    }
}

/// Returns whether the script has an entry.
fn has_next(world: &mut World) -> bool {
    match world.script.peek() {
        Ok(record) => record.is_some(),
        Err(error) => panic!("script: {error}"),
    }
}

/// Admits the head of the script. Returns `false` for a no-op, and not at all from a restart.
// specs: I3
fn admit_head(world: &mut World) -> bool {
    let World {
        script,
        run,
        inbox,
        descriptors,
        of_conn,
        of_listener,
        watches,
        output,
        region,
        ..
    } = world;
    let record = match script.peek() {
        Ok(Some(record)) => record,
        other => panic!("script: {other:?} where a record was"),
    };
    assert!(record.kind == script::ENTRY, "script: a record of kind {}", record.kind);
    let slot = Slot(record.numbers[0]);
    let real = !record.bytes.is_empty();
    let (mut is_full, mut restarts) = (false, false);
    let mut ordered: u64 = 0;
    let mut told = Vec::<(TableEntry, NoticeReason), TOLD_MAX>::new();
    if real {
        let entry = match EntryPayload::decode(record.bytes) {
            Ok(entry) => entry,
            Err(error) => panic!("script: slot {slot}: {error}"),
        };
        region.count_entry(entry.is_bubble());
        let mut notify = |run: &mut ProgramExecution, admitted: Admitted<'_>| {
            let place = match admitted {
                Admitted::Nothing | Admitted::Retired(_) => None,
                Admitted::Restarted(_) => {
                    restarts = true;
                    None
                }
                Admitted::Signalled(number) => {
                    ordered |= signals::bit(i32::from(number));
                    None
                }
                Admitted::Refused(conn, why) => {
                    output.about(output::RESET, conn, 0, &[]);
                    region.count_refused();
                    is_full |= why == ConnRefusal::TableFull;
                    None
                }
                Admitted::Acceptable(listener) => place(of_listener[listener.0 as usize]),
                Admitted::Data { conn, at, bytes } => {
                    inbox.put(conn, at, run.sockets.conn(conn).consumed, bytes);
                    place(of_conn[conn.0 as usize])
                }
                Admitted::Ended(conn) | Admitted::Reset(conn) | Admitted::Room(conn) => {
                    place(of_conn[conn.0 as usize])
                }
            };
            let Some(place) = place else { return };
            let is_awaited = run.turn.waiter(On::Read(place).key(), None).is_some();
            let reason = match admitted {
                Admitted::Reset(_) => NoticeReason::Error,
                Admitted::Room(_) => NoticeReason::Out,
                _ => NoticeReason::In,
            };
            if matches!(admitted, Admitted::Acceptable(_)) {
                let edges = &mut descriptors.at(place).edges;
                *edges = edges.wrapping_add(1);
            }
            let readers = if matches!(admitted, Admitted::Acceptable(_)) { 1 } else { ALL };
            if !matches!(admitted, Admitted::Room(_)) {
                run.turn.wake(On::Read(place).key(), readers);
            }
            if matches!(admitted, Admitted::Room(_) | Admitted::Reset(_)) {
                run.turn.wake(On::Write(place).key(), ALL);
            }
            readiness::changed(run, descriptors, watches, place);
            // A socket is silent while a thread waits to read at it.
            let tells = reason != NoticeReason::In || !is_awaited;
            if tells && descriptors.at(place).notice.on.is_some() {
                // As many as this come of one entry; others are lost, as beyond the kernel's limit.
                let _ = told.push((place, reason));
            }
        };
        let mark = run.admit(slot, entry.timestamp, entry.ops(), entry.grant, |run, admitted| {
            notify(run, admitted);
            if let Admitted::Retired(node) = admitted {
                let mut last = None;
                while let Some(conn) = run.sockets.retired(node, last) {
                    notify(run, Admitted::Reset(conn));
                    last = Some(conn);
                }
            }
        });
        let crane_core::execution::Mark { clock, schedule, output, .. } = mark;
        region.put_mark(HashMark { slot: slot.0, clock, schedule, output });
    }
    region.set_admitted(slot.0);
    script.pop();
    if restarts {
        // The holder of the turn ends the process, so no thread is in a call.
        trouble::end_server(EndReason::Restarted, 0, RESTARTED, output.descriptor());
    }
    if cfg!(debug_assertions) {
        run.invariants();
    }
    if is_full {
        notes::full(world, FULL);
    }
    for (place, reason) in told {
        // A thread that waits for the script in a call is no caller.
        notices::send_signal(world, None, place, reason);
    }
    if ordered != 0 {
        posting::send_ordered(world, ordered);
    }
    if real {
        outside::on_admission(world);
    }
    real
}

fn place(number: u32) -> Option<TableEntry> {
    number.checked_sub(1).map(TableEntry)
}

/// Returns whether a quiescent server has work.
fn has_work(world: &mut World) -> bool {
    has_next(world) || signals::has_news() || hold::is_due(world)
}

/// Sleeps until the daemon may have written more of the script, or the kernel has an event for a
/// thread. Returns whether the kernel has one.
fn await_script(world: &mut World, waiting: ServerState, still: &mut StandStill) -> bool {
    announce::totals(world);
    let region = world.region;
    region.set_state(waiting);
    if region.watch_state() {
        world.output.wake();
    }
    world.output.flush();
    let limit = if world.awaited == 0 { SLEEP } else { LOOK_FOR_SIGNALS };
    if waiting == ServerState::Quiescent {
        match deadlock::stands(world) {
            true => await_deadlock(world, still),
            false => still.end(),
        }
    }
    let woken = if waiting == ServerState::Quiescent && outside::may_come(world) {
        outside::await_either(world, limit, has_work)
    } else {
        region.await_script(limit, || has_work(world));
        false
    };
    region.set_state(ServerState::Running);
    // No handler says that the kernel keeps a signal which threads wait for.
    if world.awaited != 0 && signals::pending() & world.awaited != 0 {
        signals::set_news();
    }
    woken
}

/// Sleeps as long as a deadlock may be none, and reports it if there is no work then.
fn await_deadlock(world: &mut World, still: &mut StandStill) {
    while let Some(rest) = still.rest() {
        world.region.await_script(rest, || has_work(world));
        if has_work(world) {
            return;
        }
    }
    deadlock::report(world);
}
