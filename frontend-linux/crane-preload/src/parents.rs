//! The signal that a thread has asked for at the end of its process's parent (`PR_SET_PDEATHSIG` of
//! prctl(2)).
//!
//! As in the kernel, the parent is the thread that has made the process; when that ends and others
//! of its process run, one of those is the parent from then on. The kernel itself never hears of
//! the wish, because it would send the signal when it ends the real thread.

use crane_core::execution::processes::{Process, ProcessId};
use crane_core::execution::turn::ThreadId;
use libc::{c_int, pid_t};

use crate::posting;
use crate::processes::PreloadProcess;
use crate::signals;
use crate::world::World;

/// Sends the signals of the children that a thread has made, which ends before its process.
// specs: S17
pub(crate) fn on_end_of_thread(world: &mut World, thread: ThreadId) {
    let process = world.threads[usize::from(thread.0)].process;
    let heir = heir(world, process, |other| other != thread);
    orphan(world, process, heir, |maker| maker == thread);
}

/// Does the same for all threads of a process but the one that goes on as another program.
pub(crate) fn on_exec(world: &mut World, process: ProcessId, stays: ThreadId) {
    orphan(world, process, Some(stays), |maker| maker != stays);
}

/// Does the same for a process that ends. The children still have it for their parent.
// specs: S17
pub(crate) fn on_end_of_process(world: &mut World, process: ProcessId) {
    orphan(world, process, None, |_| true);
}

/// Returns the thread of a process that is the parent of another one's children from now on: the
/// process's first thread, if that runs.
fn heir(world: &World, process: ProcessId, may_be: impl Fn(ThreadId) -> bool) -> Option<ThreadId> {
    let first = world.number_of(process).cast_unsigned();
    let threads = (0..world.threads.len() as u16).map(ThreadId);
    let mut running = threads.filter(|thread| {
        let record = &world.threads[usize::from(thread.0)];
        record.process == process && record.runs() && may_be(*thread)
    });
    let is_first = |thread: &ThreadId| world.threads[usize::from(thread.0)].tid == first;
    running.clone().find(is_first).or_else(|| running.next())
}

/// Sends the signals of the children of a process whose makers leave, and gives them to another
/// thread.
fn orphan(
    world: &mut World,
    parent: ProcessId,
    heir: Option<ThreadId>,
    leaves: impl Fn(ThreadId) -> bool,
) {
    let sender = world.number_of(parent);
    let mut next = 0;
    loop {
        let is_it = |id: ProcessId| id.0 >= next && leaves(world.makers.of(id));
        let is_child = |(id, it): &(ProcessId, &Process<PreloadProcess>)| {
            it.parent() == Some(parent) && is_it(*id)
        };
        let child = world.processes.running().find(is_child).map(|(id, _)| id);
        let Some(child) = child else { return };
        next = child.0 + 1;
        if let Some(heir) = heir {
            world.makers.set(child, heir);
        }
        send_wished(world, child, sender);
    }
}

/// Sends a process the signals for which its threads have asked.
fn send_wished(world: &mut World, child: ProcessId, sender: pid_t) {
    for at in 0..world.threads.len() {
        let thread = &world.threads[at];
        let signal = thread.at_parents_end;
        if thread.process == child && thread.runs() && signal != 0 {
            let info = signals::sent_by(sender, signal, libc::SI_USER);
            posting::send_to_other(world, child, posting::Target::Process(child), &info);
        }
    }
}

/// The wish of a thread, as prctl(2) takes it.
pub(crate) fn is_wish(number: usize) -> Option<c_int> {
    let signal = c_int::try_from(number).ok()?;
    (signal == 0 || signals::bit(signal) != 0).then_some(signal)
}
