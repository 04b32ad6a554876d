//! Objects that only the kernel knows: a signal or a child as a descriptor, a Unix socket, a pipe
//! that a child writes to, a child's end. No op announces that one of them is ready, so the library
//! asks the kernel.
//!
//! The library asks when the server has become quiescent and one of its calls has used such an
//! object, and after each [`ADMISSIONS`] admissions. Both are places in the schedule: an object
//! that only the server itself uses is found ready at the same clock on all replicas. A quiescent
//! server asks each [`ASKS_EVERY`] nanoseconds besides, as long as a thread waits for such an
//! object. An object that such a question finds ready was made ready from elsewhere, at a time of
//! this host's. It counts as uncovered, and is noted once.
//!
//! A child for which the server waits in one call is part of its computation. At first, the other
//! threads therefore wait for it too.

use std::slice;

use crane_core::execution::turn::Woken;
use crane_shm::sys;

use crate::descriptors::{Descriptors, TableEntry, lookup};
use crate::execution::{On, ProgramExecution};
use crate::notes::uncovered;
use crate::processes::{self, Child};
use crate::readiness::{self, ask_kernel};
use crate::signals;
use crate::watch::{ERR, HUP, IN, NVAL, OUT, RDHUP, Watches};
use crate::world::World;

/// The time between two questions of a quiescent server, in nanoseconds. A question costs
/// microseconds.
const ASKS_EVERY: u64 = 10_000_000;
/// The number of admissions after which a server asks even if it always has entries to admit.
const ADMISSIONS: u32 = 64;
/// The time for which the other threads wait for a child's answer, in milliseconds. Within this
/// time, the answer arrives at the same clock on all replicas, however long the child computes. It
/// is below the second after which the daemon reports a server without progress.
const CHILD_MILLISECONDS: u32 = 500;
/// The maximum number of descriptors in one question.
const ASKED_MAX: usize = 64;

/// Any condition of a description. A thread that waits for one of them checks again.
const ANY: u32 = IN | OUT | RDHUP | HUP | ERR | NVAL | libc::POLLPRI as u32;

/// Descriptors about which the kernel is asked at once, each with its description.
struct Question {
    entries: [libc::pollfd; ASKED_MAX],
    places: [TableEntry; ASKED_MAX],
    count: usize,
}

impl Question {
    const fn new() -> Self {
        let entry = libc::pollfd { fd: -1, events: 0, revents: 0 };
        Self { entries: [entry; ASKED_MAX], places: [TableEntry(0); ASKED_MAX], count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count == ASKED_MAX
    }

    fn add(&mut self, descriptor: i32, events: u32, place: TableEntry) {
        self.entries[self.count] =
            libc::pollfd { fd: descriptor, events: events as i16, revents: 0 };
        self.places[self.count] = place;
        self.count += 1;
    }

    /// Asks the kernel, without waiting.
    fn ask(&mut self) {
        ask_kernel(&mut self.entries[..self.count], 0);
    }

    /// Returns the descriptions that are ready, with a number and the conditions of each.
    fn ready(&self) -> impl Iterator<Item = (TableEntry, i32, u32)> {
        let entries = self.entries[..self.count].iter().zip(self.places);
        entries
            .map(|(entry, place)| (place, entry.fd, entry.revents as u16 as u32))
            .filter(|(_, _, conditions)| *conditions != 0)
    }
}

/// Records that a call has used an object that only the kernel knows.
pub(crate) fn touch(world: &mut World, place: TableEntry) {
    world.descriptors.at(place).seen = 0;
    world.outside.touched = true;
}

/// Asks the kernel, if a call has used one of its objects, because the server has become quiescent.
/// Returns whether a thread is runnable now.
pub(crate) fn brings(world: &mut World) -> bool {
    if !world.outside.touched {
        return false;
    }
    look(world);
    world.run.turn.has_runnable()
}

/// Counts an admitted entry.
pub(crate) fn on_admission(world: &mut World) {
    if !may_come(world) {
        return;
    }
    world.outside.admissions += 1;
    if world.outside.admissions >= ADMISSIONS {
        look(world);
    }
}

/// Returns whether a thread may wait for an object of the kernel.
pub(crate) fn may_come(world: &World) -> bool {
    let may_wait = |on: On| world.run.turn.may_wait(on.key());
    !world.descriptors.outside().is_empty() || may_wait(On::Child) || may_wait(On::Retry)
}

/// Sleeps until `has_work` returns true or an object of the kernel is ready for a thread, at most
/// for `limit` nanoseconds. Returns whether a thread is runnable. May return early.
pub(crate) fn await_either(
    world: &mut World,
    limit: u64,
    has_work: fn(&mut World) -> bool,
) -> bool {
    let region = world.region;
    for _ in 0..limit / ASKS_EVERY {
        region.await_script(ASKS_EVERY, || has_work(world));
        if has_work(world) {
            return false;
        }
        if !look(world) {
            region.await_script(limit, || has_work(world));
            return false;
        }
        if world.run.turn.has_runnable() {
            return true;
        }
    }
    false
}

/// Asks the kernel about every object for which a thread waits. Returns whether there is one.
fn look(world: &mut World) -> bool {
    let by_itself = !std::mem::take(&mut world.outside.touched);
    world.outside.admissions = 0;
    let mut any = false;
    let mut question = Question::new();
    let mut start = Some(0);
    while let Some(from) = start {
        start = ask_from(world, from, &mut question);
        any |= question.count > 0;
        answer(world, &mut question, by_itself);
    }
    if !by_itself && processes::has_made() {
        wake_elsewhere(world);
    }
    any | look_for_sets(world, by_itself) | look_for_waiters(world)
}

/// Wakes the threads that wait for objects of other processes, which alone can ask about them, so
/// that they look, behind a call that has used an object of the kernel's. What makes such an object
/// ready from outside of the program is seen when its own process asks.
fn wake_elsewhere(world: &mut World) {
    let polls = others_poll(world);
    for at in 0..world.descriptors.outside().len() {
        let place = world.descriptors.outside()[at];
        let World { run, descriptors, watches, .. } = &mut *world;
        let (descriptor, events) = wanted(run, descriptors, watches, place);
        let is_asked = lookup(descriptor) == Some(place);
        if is_asked || events == 0 && !polls || descriptors.description(place).signals.is_some() {
            continue;
        }
        // Whether there is an edge (epoll(7)), its process finds out.
        let edges = &mut descriptors.at(place).edges;
        *edges = edges.wrapping_add(1);
        run.turn.wake(On::Read(place).key(), u32::MAX);
        run.turn.wake(On::Write(place).key(), u32::MAX);
        readiness::changed(run, descriptors, watches, place);
    }
}

/// Returns whether a thread of another process is in poll or select.
fn others_poll(world: &World) -> bool {
    let key = On::Any.key();
    let mut waiter = world.run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        if world.watches.set(thread.0 as usize).is_others() {
            return true;
        }
        waiter = world.run.turn.waiter(key, Some(thread));
    }
    false
}

/// Fills a question with descriptions of the list, from its item `start` on. Returns the item at
/// which to continue.
fn ask_from(world: &World, start: usize, question: &mut Question) -> Option<usize> {
    let World { run, descriptors, watches, .. } = world;
    for (item, place) in descriptors.outside().iter().enumerate().skip(start) {
        if question.is_full() {
            return Some(item);
        }
        let (descriptor, events) = wanted(run, descriptors, watches, *place);
        if events != 0 && lookup(descriptor) == Some(*place) {
            question.add(descriptor, events, *place);
        }
    }
    None
}

/// Returns the conditions for which threads wait at a description, and a number that leads there.
fn wanted(
    run: &ProgramExecution,
    descriptors: &Descriptors,
    watches: &Watches,
    place: TableEntry,
) -> (i32, u32) {
    let waits = |on: On| run.turn.waiter(on.key(), None).is_some();
    let mut descriptor = descriptors.description(place).number;
    let mut events = 0;
    if waits(On::Read(place)) {
        events |= IN | RDHUP;
    }
    if waits(On::Write(place)) {
        events |= OUT;
    }
    let mut next = descriptors.description(place).watched.first();
    while let Some(index) = next {
        let interest = watches.at(index);
        next = watches.next_of_place(index);
        let epoll = interest.epoll;
        let outer = !descriptors.description(epoll).watched.is_empty();
        if !interest.disabled && (outer || waits(On::Epoll(epoll))) {
            descriptor = interest.descriptor;
            events |= interest.events & ANY | libc::POLLERR as u32;
        }
    }
    (descriptor, events)
}

/// Asks the kernel, and wakes the threads that wait for an object that is ready.
fn answer(world: &mut World, question: &mut Question, by_itself: bool) {
    if question.count == 0 {
        return;
    }
    question.ask();
    for (place, descriptor, conditions) in question.ready() {
        let World { run, descriptors, watches, .. } = &mut *world;
        let description = descriptors.at(place);
        if description.signals.is_some_and(|wanted| signals::pending() & wanted == 0) {
            // The kernel's own word of a child's end, which is nothing to the program.
            continue;
        }
        if conditions & !description.seen != 0 {
            description.edges = description.edges.wrapping_add(1);
        }
        description.seen |= conditions;
        let mut woken = 0;
        if conditions & !OUT != 0 {
            woken += run.turn.wake(On::Read(place).key(), u32::MAX);
        }
        if conditions & !(IN | RDHUP) != 0 {
            woken += run.turn.wake(On::Write(place).key(), u32::MAX);
        }
        woken += readiness::changed(run, descriptors, watches, place);
        if by_itself && woken > 0 {
            uncovered(world, name(descriptor));
        }
    }
    question.count = 0;
}

/// Asks about the entries of threads in poll and select.
fn look_for_sets(world: &mut World, by_itself: bool) -> bool {
    let mut any = false;
    let mut question = Question::new();
    let key = On::Any.key();
    let mut waiter = world.run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        waiter = world.run.turn.waiter(key, Some(thread));
        let set = world.watches.set(thread.0 as usize);
        if set.is_others() {
            // That process looks by itself (see `wake_elsewhere`).
            continue;
        }
        for entry in set.entries() {
            let place = lookup(entry.fd).filter(|_| entry.fd >= 0);
            let outside = |place| world.descriptors.description(place).is_outside();
            if let Some(place) = place.filter(|place| outside(*place)) {
                if question.is_full() {
                    answer(world, &mut question, by_itself);
                }
                question.add(entry.fd, entry.events as u16 as u32, place);
                any = true;
            }
        }
    }
    answer(world, &mut question, by_itself);
    any
}

/// Wakes the threads whose child has changed state, and those that try a call again.
fn look_for_waiters(world: &mut World) -> bool {
    let mut any = world.run.turn.wake(On::Retry.key(), u32::MAX) > 0;
    let key = On::Child.key();
    let mut waiter = world.run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        waiter = world.run.turn.waiter(key, Some(thread));
        any = true;
        let child = world.threads[thread.0 as usize].child;
        if child.is_some_and(has_changed) {
            world.run.turn.wake_thread(thread, Woken::Called);
        }
    }
    any
}

/// Returns whether the call that waits for a child has an answer.
fn has_changed(child: Child) -> bool {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = child.options | libc::WNOHANG | libc::WNOWAIT;
    let place = (&raw mut info).addr();
    let arguments = [child.kind as usize, child.id as usize, place, options as usize, 0, 0];
    // SAFETY: a place for the answer.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_waitid, arguments) });
    // An error is an answer, too.
    result.is_err() || info.si_signo != 0
}

/// Waits with the turn until a descriptor at whose other end is a child alone has one of `events`,
/// at most [`CHILD_MILLISECONDS`].
pub(crate) fn await_child_at(descriptor: i32, events: u32) {
    let mut entry = libc::pollfd { fd: descriptor, events: events as i16, revents: 0 };
    ask_kernel(slice::from_mut(&mut entry), CHILD_MILLISECONDS as usize);
}

/// Waits with the turn until a child has changed, at most [`CHILD_MILLISECONDS`]. Returns whether
/// the time was enough. A child that outlives it is no part of the server's computation, so no
/// other thread waits for it again.
pub(crate) fn await_child(child: Child) -> bool {
    let (mut waited, mut step) = (0, 1);
    while !has_changed(child) {
        if waited >= CHILD_MILLISECONDS {
            return false;
        }
        // SAFETY: no entries; a handler ends it early.
        let result = unsafe { sys::syscall(libc::SYS_poll, [0, 0, step as usize, 0, 0, 0]) };
        if result < 0 {
            return true;
        }
        waited += step;
        step = (step * 2).min(16);
    }
    true
}

/// Names the object that became ready from elsewhere, for an operator.
fn name(descriptor: i32) -> &'static str {
    macro_rules! note {
        ($what:literal) => {
            concat!($what, " was ready at a time of this host's: replicas may differ")
        };
    }
    let mut space = [0; 64];
    let named = link(descriptor, &mut space);
    let kinds: [(&[u8], &str); 8] = [
        (b"anon_inode:[timerfd]", note!("a timerfd")),
        (b"anon_inode:[signalfd]", note!("a signalfd")),
        (b"anon_inode:[pidfd]", note!("a pidfd (a child's end)")),
        (b"anon_inode:inotify", note!("an inotify descriptor")),
        (b"anon_inode:[fanotify]", note!("a fanotify descriptor")),
        (b"anon_inode:[eventfd]", note!("an eventfd that a child process shares")),
        (b"pipe:", note!("a pipe that a child process shares")),
        (b"socket:", note!("a socket that is not a client's TCP connection (Unix, UDP, its own)")),
    ];
    let kind = kinds.iter().find(|(start, _)| named.starts_with(start));
    kind.map_or(note!("a device, a FIFO or another object of the kernel's"), |(_, text)| text)
}

/// Reads the kernel's name of the object to which a number leads.
fn link(descriptor: i32, space: &mut [u8; 64]) -> &[u8] {
    use std::io::Write;
    let mut path = [0_u8; 32];
    // The number is short, and the rest of the array is zero.
    let _ = write!(&mut path[..], "/proc/self/fd/{descriptor}");
    let (from, to) = (path.as_ptr().addr(), space.as_mut_ptr().addr());
    let arguments = [from, to, space.len(), 0, 0, 0];
    // SAFETY: a path that ends with a zero byte, and a live, exclusive slice.
    let length = sys::checked(unsafe { sys::syscall(libc::SYS_readlink, arguments) });
    &space[..length.unwrap_or(0)]
}
