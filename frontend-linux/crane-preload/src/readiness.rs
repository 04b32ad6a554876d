//! Readiness: the answers of poll, select and epoll, and the threads that a change wakes.
//!
//! The readiness of virtual objects is computed from admitted state. For a pipe between threads the
//! library asks the kernel, whose answer is a function of the schedule as well. Of an epoll
//! instance only the interests that may be ready are scanned, in the order in which they became
//! candidates. Reported interests come behind the others, so that no interest starves.

use crane_core::execution::turn::Woken;
use crane_shm::sys;

use crate::descriptors::{Description, DescriptionKind, Descriptors, TableEntry, lookup};
use crate::execution::{On, ProgramExecution};
use crate::inherited::with_all_numbers;
use crate::signals;
use crate::watch::{ERR, HUP, IN, Interest, NVAL, OUT, RDHUP, Watches};

/// Marks the conditions of an object of the kernel's to which no number of this process leads:
/// whoever waits for it has to look.
const UNKNOWN: u32 = 1 << 31;

/// The conditions that are reported even if the program did not ask for them.
const ALWAYS: u32 = HUP | ERR;

/// Reports the ready interests of an epoll instance, at most as many as `space` holds, and returns
/// their number.
pub(crate) fn collect(
    run: &ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &mut Watches,
    epoll: TableEntry,
    space: &mut [libc::epoll_event],
) -> usize {
    let candidates = watches.candidates(descriptors, epoll).count();
    let mut count = 0;
    for _ in 0..candidates {
        if count == space.len() {
            // The other interests come first the next time.
            break;
        }
        let Some(index) = watches.take_candidate(descriptors, epoll) else { break };
        let interest = *watches.at(index);
        let ready = fires(run, descriptors, watches, &interest) & !UNKNOWN;
        if ready != 0 {
            let edges = edges(run, descriptors, interest.place);
            let reported = watches.at_mut(index);
            reported.reported = Some(edges);
            reported.disabled = interest.events & libc::EPOLLONESHOT as u32 != 0;
            space[count] = libc::epoll_event { events: ready, u64: interest.data };
            count += 1;
        }
        if ready != 0 || !tells_changes(descriptors.at(interest.place)) {
            watches.make_candidate(descriptors, index);
        }
    }
    count
}

/// Returns whether each change of a description's readiness goes through [`changed`]. The kernel's
/// objects become ready in silence, as does a Unix listener by a process of the cell, and an
/// instance with the interests that are in it.
fn tells_changes(description: &Description) -> bool {
    match description.kind() {
        DescriptionKind::Listener(_) => !description.is_unix_listener(),
        DescriptionKind::Conn(_) | DescriptionKind::Socket => true,
        DescriptionKind::Epoll
        | DescriptionKind::Channel { .. }
        | DescriptionKind::Timer(_)
        | DescriptionKind::Random
        | DescriptionKind::Kernel => false,
    }
}

/// Returns whether an epoll instance would report anything now.
fn any_fires(
    run: &ProgramExecution,
    descriptors: &Descriptors,
    watches: &Watches,
    epoll: TableEntry,
) -> bool {
    watches
        .candidates(descriptors, epoll)
        .any(|index| fires(run, descriptors, watches, watches.at(index)) != 0)
}

/// Returns the conditions that an interest would report now.
fn fires(
    run: &ProgramExecution,
    descriptors: &Descriptors,
    watches: &Watches,
    interest: &Interest,
) -> u32 {
    if interest.disabled {
        return 0;
    }
    let edge = interest.events & libc::EPOLLET as u32 != 0;
    if edge && interest.reported == Some(edges(run, descriptors, interest.place)) {
        return 0;
    }
    let ready = readiness(run, descriptors, watches, interest.place, interest.descriptor);
    ready & (interest.events | ALWAYS | UNKNOWN)
}

/// Returns a number that changes with each event that a sleeper may wait for.
fn edges(run: &ProgramExecution, descriptors: &Descriptors, place: TableEntry) -> u32 {
    let description = descriptors.description(place);
    match description.kind() {
        DescriptionKind::Conn(conn) => {
            let conn = run.sockets.conn(conn);
            conn.read_edges.wrapping_add(conn.write_edges)
        }
        _ => description.edges,
    }
}

/// Returns the conditions that hold at a description, as the flags of poll.
fn readiness(
    run: &ProgramExecution,
    descriptors: &Descriptors,
    watches: &Watches,
    place: TableEntry,
    descriptor: i32,
) -> u32 {
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    match descriptors.description(place).kind() {
        DescriptionKind::Listener(listener) => {
            let description = descriptors.description(place);
            let any = run.sockets.acceptable(listener) > 0 || has_inside(description, descriptor);
            let shut = description.shut;
            bit(shut || any, IN) | bit(shut, HUP | RDHUP)
        }
        DescriptionKind::Conn(conn) => {
            let conn = run.sockets.conn(conn);
            let reported = descriptors.description(place).reset_reported;
            let no_more = conn.ended || conn.read_shut;
            bit(conn.read_ready(), IN)
                | bit(conn.write_ready(), OUT)
                | bit(no_more || conn.reset, RDHUP)
                | bit(conn.reset || (no_more && conn.write_shut), HUP)
                | bit(conn.reset && !reported, ERR)
        }
        DescriptionKind::Socket => OUT | HUP,
        DescriptionKind::Timer(_) => bit(descriptors.description(place).expirations > 0, IN),
        DescriptionKind::Random => IN | OUT,
        DescriptionKind::Epoll => bit(any_fires(run, descriptors, watches, place), IN),
        DescriptionKind::Kernel if descriptors.description(place).process().is_some() => {
            bit(descriptors.description(place).process().is_some_and(|it| it.ended), IN)
        }
        DescriptionKind::Channel { .. } | DescriptionKind::Kernel
            if lookup(descriptor) != Some(place) =>
        {
            UNKNOWN
        }
        DescriptionKind::Channel { .. } | DescriptionKind::Kernel => {
            match descriptors.description(place).signals {
                Some(wanted) => bit(signals::pending() & wanted != 0, IN),
                None => kernel_readiness(descriptor),
            }
        }
    }
}

/// Returns whether a connection from inside of the cell waits at a Unix listener.
pub(crate) fn has_inside(description: &Description, descriptor: i32) -> bool {
    description.is_unix_listener() && kernel_readiness(descriptor) & IN != 0
}

/// Asks the kernel about a number, without waiting.
pub(crate) fn kernel_readiness(descriptor: i32) -> u32 {
    let mut entry = libc::pollfd { fd: descriptor, events: (IN | OUT | RDHUP) as i16, revents: 0 };
    ask_kernel(std::slice::from_mut(&mut entry), 0);
    entry.revents as u16 as u32
}

/// Asks the kernel about entries as poll(2) does, and waits for at most some milliseconds. The
/// program may have a limit of open files that is lower than their number.
pub(crate) fn ask_kernel(entries: &mut [libc::pollfd], milliseconds: usize) {
    let mut ask = || {
        let arguments = [entries.as_mut_ptr().addr(), entries.len(), milliseconds, 0, 0, 0];
        // SAFETY: as many entries as are said, alive for the call.
        sys::checked(unsafe { sys::syscall(libc::SYS_poll, arguments) })
    };
    if ask() == Err(libc::EINVAL) {
        // An answer that does not come is none.
        let _ = with_all_numbers(ask);
    }
}

/// Fills in poll's answers, and returns how many entries are ready.
pub(crate) fn scan(
    run: &ProgramExecution,
    descriptors: &Descriptors,
    watches: &Watches,
    entries: &mut [libc::pollfd],
) -> usize {
    let mut ready = 0;
    for entry in entries {
        entry.revents = 0;
        if entry.fd < 0 {
            continue;
        }
        let wanted = entry.events as u16 as u32 | ALWAYS | NVAL;
        let conditions = match lookup(entry.fd) {
            Some(place) => readiness(run, descriptors, watches, place, entry.fd),
            None => kernel_readiness(entry.fd),
        };
        entry.revents = (conditions & wanted) as i16;
        ready += usize::from(entry.revents != 0);
    }
    ready
}

/// Wakes a thread in each epoll instance that watches a changed description, and returns how many
/// it has woken.
fn notify_epolls(
    run: &mut ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &mut Watches,
    place: TableEntry,
) -> u32 {
    let mut woken = 0;
    let mut next = descriptors.at(place).watched.first();
    while let Some(index) = next {
        let interest = *watches.at(index);
        next = watches.next_of_place(index);
        watches.make_candidate(descriptors, index);
        let key = On::Epoll(interest.epoll).key();
        let outer = !descriptors.at(interest.epoll).watched.is_empty();
        if (outer || run.turn.may_wait(key)) && fires(run, descriptors, watches, &interest) != 0 {
            woken += run.turn.wake(key, 1);
            if outer {
                // This instance is in another one. Two instances cannot contain each other (see
                // `add`).
                let edges = &mut descriptors.at(interest.epoll).edges;
                *edges = edges.wrapping_add(1);
                woken += notify_epolls(run, descriptors, watches, interest.epoll);
            }
        }
    }
    woken
}

/// Wakes the threads that poll a changed description, in the order of their waiting. Returns how
/// many it has woken, including those that wait in epoll instances.
pub(crate) fn changed(
    run: &mut ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &mut Watches,
    place: TableEntry,
) -> u32 {
    let mut woken = notify_epolls(run, descriptors, watches, place);
    let key = On::Any.key();
    if !run.turn.may_wait(key) {
        return woken;
    }
    let mut waiter = run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        waiter = run.turn.waiter(key, Some(thread));
        let set = watches.set(thread.0 as usize);
        if set.is_others() || scan(run, descriptors, watches, set.entries()) > 0 {
            run.turn.wake_thread(thread, Woken::Called);
            woken += 1;
        }
    }
    woken
}

/// Wakes all threads that may wait for a description of which only they know whether it is ready:
/// each of them sees its own signals at a signalfd.
pub(crate) fn suspect(
    run: &mut ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &mut Watches,
    place: TableEntry,
) {
    let mut next = descriptors.at(place).watched.first();
    while let Some(index) = next {
        next = watches.next_of_place(index);
        watches.make_candidate(descriptors, index);
        let epoll = watches.at(index).epoll;
        let edges = &mut descriptors.at(epoll).edges;
        *edges = edges.wrapping_add(1);
        run.turn.wake(On::Epoll(epoll).key(), u32::MAX);
        // Instances cannot contain each other.
        suspect(run, descriptors, watches, epoll);
    }
    let key = On::Any.key();
    let mut waiter = run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        waiter = run.turn.waiter(key, Some(thread));
        let set = watches.set(thread.0 as usize);
        let names = |entry: &libc::pollfd| entry.fd >= 0 && lookup(entry.fd) == Some(place);
        if set.is_others() || set.entries().iter().any(names) {
            run.turn.wake_thread(thread, Woken::Called);
        }
    }
}
