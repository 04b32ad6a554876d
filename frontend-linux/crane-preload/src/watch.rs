//! Readiness: what poll, select and epoll may answer, and who is woken when it changes.
//!
//! Readiness of virtual objects is computed from admitted state; a pipe between threads is asked of
//! the kernel, whose answer is a function of the schedule too. Interests are scanned in the order
//! in which they were added, beginning after the one that was reported last, so that none starves.

use crane_core::execution::turn::Woken;
use crane_shm::sys;

use crate::descriptors::{DescriptionKind, Descriptors, TableEntry, lookup};
use crate::execution::{On, ProgramExecution, THREADS};

/// Interests of all epoll instances together.
const INTERESTS: usize = 1 << 13;

/// What poll(2) calls these conditions; epoll's numbers are the same. The second name of each is
/// POSIX's older one, and always true together with the first.
pub const IN: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
/// Room to write.
pub const OUT: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;
/// The other side has shut its writing.
pub const RDHUP: u32 = libc::POLLRDHUP as u32;
const HUP: u32 = libc::POLLHUP as u32;
const ERR: u32 = libc::POLLERR as u32;
const NVAL: u32 = libc::POLLNVAL as u32;
const ALWAYS: u32 = HUP | ERR;

/// What may be asked for together with `EPOLLEXCLUSIVE` (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 =
    IN | OUT | HUP | ERR | (libc::EPOLLWAKEUP | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32;

/// How deep instances may lie in each other, as in the kernel.
const NESTS_MAX: u32 = 4;

/// One `epoll_ctl(ADD)`.
#[derive(Clone, Copy, Debug)]
struct Interest {
    /// Whether the place is used.
    used: bool,
    epoll: TableEntry,
    place: TableEntry,
    descriptor: i32,
    events: u32,
    data: u64,
    /// The object's edges when it was reported last; `None`: never.
    reported: Option<u32>,
    /// `EPOLLONESHOT` has fired.
    disabled: bool,
    /// Neighbours among the interests of the instance, and the next of the description; plus 1.
    next: u16,
    previous: u16,
    next_of_place: u16,
}

/// What a thread in poll or select looks at.
#[derive(Clone, Copy, Debug)]
pub struct PollSet {
    start: *mut libc::pollfd,
    length: usize,
}

impl PollSet {
    /// None.
    pub const EMPTY: PollSet = PollSet { start: std::ptr::null_mut(), length: 0 };

    /// These; the slice outlives the wait.
    pub fn new(entries: &mut [libc::pollfd]) -> Self {
        Self { start: entries.as_mut_ptr(), length: entries.len() }
    }

    fn entries<'a>(self) -> &'a mut [libc::pollfd] {
        if self.length == 0 {
            return &mut [];
        }
        // SAFETY: the thread that made the set waits in `poll` while it is looked at, under the
        // turn.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// All interests, and the sets of threads in poll.
pub struct Watches {
    interests: [Interest; INTERESTS],
    free: usize,
    sets: [PollSet; THREADS],
}

const UNUSED: Interest = Interest {
    used: false,
    epoll: TableEntry(0),
    place: TableEntry(0),
    descriptor: -1,
    events: 0,
    data: 0,
    reported: None,
    disabled: false,
    next: 0,
    previous: 0,
    next_of_place: 0,
};

impl Watches {
    /// Nothing is watched.
    pub const fn new() -> Self {
        Self { interests: [UNUSED; INTERESTS], free: 0, sets: [PollSet::EMPTY; THREADS] }
    }

    /// The set that a thread waits for.
    pub fn set_of(&mut self, thread: usize) -> &mut PollSet {
        &mut self.sets[thread]
    }

    fn find(
        &self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
    ) -> Option<u16> {
        let place = lookup(descriptor)?;
        let mut number = descriptors.at(place).watched;
        while let Some(index) = number.checked_sub(1) {
            let interest = &self.interests[index as usize];
            if interest.epoll == epoll && interest.descriptor == descriptor {
                return Some(index);
            }
            number = interest.next_of_place;
        }
        None
    }

    /// `EPOLL_CTL_ADD`.
    pub fn add(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
        event: libc::epoll_event,
    ) -> Result<(), i32> {
        let place = lookup(descriptor).ok_or(libc::EBADF)?;
        let exclusive = event.events & libc::EPOLLEXCLUSIVE as u32 != 0;
        let nested = descriptors.at(place).kind == DescriptionKind::Epoll;
        if place == epoll || exclusive && (nested || event.events & !WITH_EXCLUSIVE != 0) {
            return Err(libc::EINVAL);
        }
        if nested && self.reaches(descriptors, place, epoll, NESTS_MAX) {
            return Err(libc::ELOOP);
        }
        if self.find(descriptors, epoll, descriptor).is_some() {
            return Err(libc::EEXIST);
        }
        let free = (self.free..INTERESTS).find(|at| !self.interests[*at].used);
        let index = free.ok_or(libc::ENOSPC)?;
        self.free = index + 1;
        let (first, last) = descriptors.at(epoll).interests;
        self.interests[index] = Interest {
            used: true,
            epoll,
            place,
            descriptor,
            events: event.events,
            data: event.u64,
            previous: last,
            next_of_place: descriptors.at(place).watched,
            ..UNUSED
        };
        let number = index as u16 + 1;
        descriptors.at(place).watched = number;
        match last.checked_sub(1) {
            Some(last) => self.interests[last as usize].next = number,
            None => descriptors.at(epoll).interests.0 = number,
        }
        let first = if first == 0 { number } else { first };
        descriptors.at(epoll).interests = (first, number);
        Ok(())
    }

    /// Whether `sought` lies in the instance `epoll`, or too deep to tell.
    fn reaches(
        &self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        sought: TableEntry,
        depth: u32,
    ) -> bool {
        let mut number = descriptors.at(epoll).interests.0;
        while let Some(index) = number.checked_sub(1) {
            let Interest { place, next, .. } = self.interests[index as usize];
            number = next;
            let nested = descriptors.at(place).kind == DescriptionKind::Epoll;
            if place == sought
                || nested && (depth == 0 || self.reaches(descriptors, place, sought, depth - 1))
            {
                return true;
            }
        }
        false
    }

    /// `EPOLL_CTL_MOD`: also arms it again.
    pub fn modify(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
        event: libc::epoll_event,
    ) -> Result<(), i32> {
        let index = self.find(descriptors, epoll, descriptor).ok_or(libc::ENOENT)?;
        let interest = &mut self.interests[index as usize];
        let exclusive = libc::EPOLLEXCLUSIVE as u32;
        if (interest.events | event.events) & exclusive != 0 {
            return Err(libc::EINVAL);
        }
        (interest.events, interest.data) = (event.events, event.u64);
        (interest.reported, interest.disabled) = (None, false);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`.
    pub fn delete(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
    ) -> Result<(), i32> {
        let index = self.find(descriptors, epoll, descriptor).ok_or(libc::ENOENT)?;
        self.remove(descriptors, index);
        Ok(())
    }

    /// A description ends: nobody is interested any more, nor is it if it is an epoll instance.
    pub fn forget(&mut self, descriptors: &mut Descriptors, place: TableEntry) {
        while let Some(index) = descriptors.at(place).watched.checked_sub(1) {
            self.remove(descriptors, index);
        }
        while let Some(index) = descriptors.at(place).interests.0.checked_sub(1) {
            self.remove(descriptors, index);
        }
    }

    fn remove(&mut self, descriptors: &mut Descriptors, index: u16) {
        let removed = std::mem::replace(&mut self.interests[index as usize], UNUSED);
        self.free = self.free.min(index as usize);
        let ends = &mut descriptors.at(removed.epoll).interests;
        match removed.previous.checked_sub(1) {
            Some(previous) => self.interests[previous as usize].next = removed.next,
            None => ends.0 = removed.next,
        }
        match removed.next.checked_sub(1) {
            Some(next) => self.interests[next as usize].previous = removed.previous,
            None => ends.1 = removed.previous,
        }
        let mut number = descriptors.at(removed.place).watched;
        if number == index + 1 {
            descriptors.at(removed.place).watched = removed.next_of_place;
            return;
        }
        while let Some(at) = number.checked_sub(1) {
            number = self.interests[at as usize].next_of_place;
            if number == index + 1 {
                self.interests[at as usize].next_of_place = removed.next_of_place;
                return;
            }
        }
    }

    /// Reports what is ready in an epoll instance, at most as much as `space` holds.
    pub fn collect(
        &mut self,
        run: &ProgramExecution,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        space: &mut [libc::epoll_event],
    ) -> usize {
        let (first, last) = descriptors.at(epoll).interests;
        let mut count = 0;
        let mut number = first;
        while let Some(index) = number.checked_sub(1) {
            if count == space.len() {
                // The instance's order is rotated, so that the rest comes first the next time.
                self.rotate(descriptors, epoll, index);
                break;
            }
            let interest = self.interests[index as usize];
            number = interest.next;
            let ready = fires(run, descriptors, self, &interest);
            if ready != 0 {
                let place = interest.place;
                let interest = &mut self.interests[index as usize];
                interest.reported = Some(edges(run, descriptors, place));
                interest.disabled = interest.events & libc::EPOLLONESHOT as u32 != 0;
                space[count] = libc::epoll_event { events: ready, u64: interest.data };
                count += 1;
            }
            if index + 1 == last {
                break;
            }
        }
        count
    }

    fn rotate(&mut self, descriptors: &mut Descriptors, epoll: TableEntry, index: u16) {
        let (first, last) = descriptors.at(epoll).interests;
        let previous = self.interests[index as usize].previous;
        let (Some(before), Some(end), Some(start)) =
            (previous.checked_sub(1), last.checked_sub(1), first.checked_sub(1))
        else {
            return;
        };
        self.interests[before as usize].next = 0;
        self.interests[end as usize].next = first;
        self.interests[start as usize].previous = last;
        self.interests[index as usize].previous = 0;
        descriptors.at(epoll).interests = (index + 1, previous);
    }

    fn any_fires(
        &self,
        run: &ProgramExecution,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
    ) -> bool {
        let mut number = descriptors.at(epoll).interests.0;
        while let Some(index) = number.checked_sub(1) {
            let interest = &self.interests[index as usize];
            if fires(run, descriptors, self, interest) != 0 {
                return true;
            }
            number = interest.next;
        }
        false
    }
}

/// The conditions that an interest would report now.
fn fires(
    run: &ProgramExecution,
    descriptors: &mut Descriptors,
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
    ready & (interest.events | ALWAYS)
}

/// Changes whenever something happened that a sleeper may wait for.
fn edges(run: &ProgramExecution, descriptors: &mut Descriptors, place: TableEntry) -> u32 {
    let description = descriptors.at(place);
    match description.kind {
        DescriptionKind::Conn(conn) => {
            let conn = run.sockets.conn(conn);
            conn.read_edges.wrapping_add(conn.write_edges)
        }
        _ => description.edges,
    }
}

/// The conditions that hold at a description, in poll's numbers.
fn readiness(
    run: &ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &Watches,
    place: TableEntry,
    descriptor: i32,
) -> u32 {
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    match descriptors.at(place).kind {
        DescriptionKind::Listener(listener) => {
            let shut = descriptors.at(place).shut;
            bit(shut || run.sockets.acceptable(listener) > 0, IN) | bit(shut, HUP | RDHUP)
        }
        DescriptionKind::Conn(conn) => {
            let conn = run.sockets.conn(conn);
            let told = descriptors.at(place).reset_told;
            bit(conn.read_ready(), IN)
                | bit(conn.write_ready(), OUT)
                | bit(conn.ended || conn.reset, RDHUP)
                | bit(conn.reset || (conn.ended && conn.write_shut), HUP)
                | bit(conn.reset && !told, ERR)
        }
        DescriptionKind::Socket => OUT | HUP,
        DescriptionKind::Random => IN | OUT,
        DescriptionKind::Free => NVAL,
        DescriptionKind::Epoll => bit(watches.any_fires(run, descriptors, place), IN),
        DescriptionKind::Channel { .. } | DescriptionKind::Kernel => kernel_readiness(descriptor),
    }
}

/// What the kernel says about a number, without waiting.
pub fn kernel_readiness(descriptor: i32) -> u32 {
    let mut entry = libc::pollfd { fd: descriptor, events: (IN | OUT | RDHUP) as i16, revents: 0 };
    let arguments = [&raw mut entry as usize, 1, 0, 0, 0, 0];
    // SAFETY: one entry, alive for the call, no waiting.
    let result = unsafe { sys::syscall(libc::SYS_poll, arguments) };
    if result > 0 { entry.revents as u16 as u32 } else { 0 }
}

/// Fills in what poll answers now; says how many entries are ready.
pub fn scan(
    run: &ProgramExecution,
    descriptors: &mut Descriptors,
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

/// Something changed at a description: wakes who waits in an epoll instance that it lies in.
fn notify_epolls(
    run: &mut ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &Watches,
    place: TableEntry,
) {
    let mut number = descriptors.at(place).watched;
    while let Some(index) = number.checked_sub(1) {
        let interest = watches.interests[index as usize];
        number = interest.next_of_place;
        let key = On::Epoll(interest.epoll).key();
        let outer = descriptors.at(interest.epoll).watched != 0;
        if (outer || run.turn.may_wait(key)) && fires(run, descriptors, watches, &interest) != 0 {
            run.turn.wake(key, 1);
            if outer {
                // An instance in another one; they cannot lie in each other (see `add`).
                let edges = &mut descriptors.at(interest.epoll).edges;
                *edges = edges.wrapping_add(1);
                notify_epolls(run, descriptors, watches, interest.epoll);
            }
        }
    }
}

/// Something changed at a description: wakes who polls it, in the order of their waiting.
pub fn changed(
    run: &mut ProgramExecution,
    descriptors: &mut Descriptors,
    watches: &mut Watches,
    place: TableEntry,
) {
    notify_epolls(run, descriptors, watches, place);
    let key = On::Any.key();
    if !run.turn.may_wait(key) {
        return;
    }
    let mut waiter = run.turn.waiter(key, None);
    while let Some(thread) = waiter {
        waiter = run.turn.waiter(key, Some(thread));
        let set = watches.sets[thread.0 as usize];
        if scan(run, descriptors, watches, set.entries()) > 0 {
            run.turn.wake_thread(thread, Woken::Called);
        }
    }
}
