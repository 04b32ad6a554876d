//! fork(2): a child takes part from its first instruction on.
//!
//! The parent reserves the numbers of the child's process and thread in the turn, and the child
//! waits for its own turn before it runs a handler of the program's (pthread_atfork(3)) or goes on
//! behind the call. So all children are made in the same order everywhere, and have the same
//! numbers of the kernel's where they have a cell of their own.
//!
//! With a floor, the kernel tells the parent of a child's end by a signal of the net's: the one for
//! the program is sent in the turn (see `hooks::exits`).

use std::sync::atomic::Ordering;

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::ThreadId;
use libc::{c_int, pid_t};

use crate::birth;
use crate::host_faults;
use crate::membership;
use crate::net;
use crate::numbers::{self, use_numbers};
use crate::processes::{self, Spawning};
use crate::processors;
use crate::service;
use crate::signals::{self, stack};
use crate::stops;
use crate::turn::{self, Held};
use crate::world::{self, NO_THREAD, PreloadThread, World};

/// Returns whether children take part.
pub(crate) fn take_part() -> bool {
    net::orders_children()
}

/// Has each child come here first, before it runs handlers of the program's.
pub(crate) fn prepare() {
    // SAFETY: a function that stays.
    let result = unsafe { libc::pthread_atfork(None, None, Some(begin_child)) };
    assert!(result == 0, "no handler of fork: error {result}");
}

/// Makes a child that takes part, for itself or to execute a program. `make` makes it.
///
/// # Errors
/// Returns `EAGAIN` where there are too many processes or threads, or the kernel's error.
// specs: S15
pub(crate) fn make_child(
    mut held: Held,
    spawning: Option<Spawning>,
    make: impl FnOnce() -> Result<pid_t, c_int>,
) -> Result<pid_t, c_int> {
    let me = held.me;
    let Some((process, thread)) = reserve(held.world(), spawning) else {
        held.end();
        return Err(libc::EAGAIN);
    };
    held.world().makers.set(process, me);
    stops::forget(held.world(), process);
    processors::set_wish(Some(thread), processors::wish(Some(me)));
    processes::set_has_made();
    if !held.world().forked {
        processes::reap_all();
    }
    let mask = signals::block_all();
    // Neither the kernel nor the child may have it twice.
    held.world().output.flush();
    birth::expect(process, thread);
    // Handlers that the program registered may call hooks.
    held.leave();
    let lent = net::recall();
    let made = make();
    if made == Ok(0) {
        // The child's own setting stands, where no function of libc's goes on.
        lent.give_back_loan();
        signals::set_mask(mask);
        return made;
    }
    lent.give_back();
    birth::expect_none();
    let mut held = turn::enter().expect("a thread that made a call before takes part");
    let world = held.world();
    match made {
        Ok(number) => {
            world.processes.set_number(process, number);
            world.threads[usize::from(thread.0)].tid = number.cast_unsigned();
            world.run.turn.start(thread);
        }
        Err(error) => {
            give_back(world, process, thread);
            host_faults::making("fork", 0, error);
        }
    }
    held.end();
    signals::set_mask(mask);
    made
}

/// Reserves the numbers of a child and its thread, and gives it what its parent has open.
fn reserve(world: &mut World, spawning: Option<Spawning>) -> Option<(ProcessId, ThreadId)> {
    let own = processes::own();
    let thread = world.run.turn.reserve()?;
    let Some(process) = world.processes.make(own) else {
        world.run.turn.release(thread);
        return None;
    };
    world.processes.frontend(process).spawning = spawning;
    let [own_word, word] = [own, process].map(|it| service::forgets(it.0.into()));
    word.store(own_word.load(Ordering::Relaxed), Ordering::Relaxed);
    world.threads[usize::from(thread.0)] =
        PreloadThread { process, handle: own_handle(), ..NO_THREAD };
    world.descriptors.inherit(service::numbers(process.0.into()));
    Some((process, thread))
}

fn own_handle() -> libc::pthread_t {
    // SAFETY: pthread_self only reads.
    unsafe { libc::pthread_self() }
}

/// Gives back what was reserved.
fn give_back(world: &mut World, process: ProcessId, thread: ThreadId) {
    for place in world.descriptors.leave(service::numbers(process.0.into())) {
        assert!(!world.descriptors.release(place), "its maker has it open");
    }
    world.processes.unmake(process);
    world.threads[usize::from(thread.0)] = NO_THREAD;
    world.run.turn.release(thread);
}

/// The first handler of each child, before any of the program's.
pub(crate) extern "C" fn begin_child() {
    let Some((process, thread)) = birth::take() else {
        // One that takes no part: nothing in the shared memory is its own.
        if membership::number().is_some() {
            // SAFETY: the thread that makes the child takes part, and has the turn meanwhile.
            let world = unsafe { world::world() };
            numbers::leave_to_child(world.descriptors.numbers());
        }
        membership::forget_self();
        net::leave_to_child();
        return;
    };
    let parent = membership::number().expect("the thread that makes a child takes part");
    processes::set_own(process);
    // Signals that the kernel keeps are its parent's.
    signals::kept::forget_owed();
    use_numbers(service::numbers(process.0.into()));
    world::begin_process();
    stack::inherit(thread, parent);
    net::begin_in_child();
    turn::begin_thread(thread).leave();
}
