//! Interests in readiness: those of epoll instances, and the sets of threads in poll and select.
//! The answers are in `readiness`.
//!
//! An interest is in two lists: that of its epoll instance, in the order of scanning, and that of
//! the description that it watches, the newest first.

use crane_core::index_list::Neighbours;

use crate::descriptors::{DESCRIPTIONS, DescriptionKind, Descriptors, TableEntry, lookup};
use crate::execution::THREADS;

/// The number of interests of all epoll instances together.
const INTERESTS: usize = 1 << 13;

/// Something to read, in poll(2)'s and epoll(7)'s numbers. The second name of each condition is
/// POSIX's older one, and always true together with the first.
pub(crate) const IN: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
/// Room to write.
pub(crate) const OUT: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;
/// The other side has shut its writing side.
pub(crate) const RDHUP: u32 = libc::POLLRDHUP as u32;
/// Neither side will send anything more.
pub(crate) const HUP: u32 = libc::POLLHUP as u32;
/// An error that the program has not seen yet.
pub(crate) const ERR: u32 = libc::POLLERR as u32;
/// The number leads nowhere.
pub(crate) const NVAL: u32 = libc::POLLNVAL as u32;

/// The conditions that may be combined with `EPOLLEXCLUSIVE` (epoll_ctl(2)).
const WITH_EXCLUSIVE: u32 =
    IN | OUT | HUP | ERR | (libc::EPOLLWAKEUP | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32;

/// The depth to which instances may be nested, as in the kernel.
const NESTS_MAX: u32 = 4;

/// An interest, which one `epoll_ctl(ADD)` has made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    /// Whether the place in the table is used.
    used: bool,
    /// The epoll instance.
    pub epoll: TableEntry,
    /// The description that is watched.
    pub place: TableEntry,
    /// The number by which the program added it.
    pub descriptor: i32,
    /// The conditions and flags for which the program asked.
    pub events: u32,
    /// The data word that the program gave.
    pub data: u64,
    /// The object's edges at the last report, or `None` if it was never reported.
    pub reported: Option<u32>,
    /// Whether `EPOLLONESHOT` has fired.
    pub disabled: bool,
}

/// The entries of a thread that is in poll or select.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollSet {
    start: *mut libc::pollfd,
    length: usize,
}

impl PollSet {
    /// A set without entries.
    pub(crate) const EMPTY: Self = Self { start: std::ptr::null_mut(), length: 0 };

    /// Creates a set of these entries, which must outlive the wait.
    pub(crate) fn new(entries: &mut [libc::pollfd]) -> Self {
        Self { start: entries.as_mut_ptr(), length: entries.len() }
    }

    /// The entries.
    pub(crate) fn entries<'a>(self) -> &'a mut [libc::pollfd] {
        if self.length == 0 {
            return &mut [];
        }
        // SAFETY: the thread that made the set waits in `poll` while it is looked at, under the
        // turn.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// All interests, and the sets of the threads in poll.
pub(crate) struct Watches {
    interests: [Interest; INTERESTS],
    /// Neighbours in the list of the instance.
    of_epoll: [Neighbours; INTERESTS],
    /// Neighbours in the list of the description that is watched.
    of_place: [Neighbours; INTERESTS],
    /// The start of the search for a free place. Every place below it is used.
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
};

impl Watches {
    /// Creates a table without interests.
    pub(crate) const fn new() -> Self {
        Self {
            interests: [UNUSED; INTERESTS],
            of_epoll: [Neighbours::UNLINKED; INTERESTS],
            of_place: [Neighbours::UNLINKED; INTERESTS],
            free: 0,
            sets: [PollSet::EMPTY; THREADS],
        }
    }

    /// Returns the set for which a thread waits.
    pub(crate) fn set_of(&mut self, thread: usize) -> &mut PollSet {
        &mut self.sets[thread]
    }

    fn find(&self, descriptors: &Descriptors, epoll: TableEntry, descriptor: i32) -> Option<u16> {
        let place = lookup(descriptor)?;
        descriptors.description(place).watched.iter(&self.of_place).find(|index| {
            let interest = self.at(*index);
            interest.epoll == epoll && interest.descriptor == descriptor
        })
    }

    /// `EPOLL_CTL_ADD`.
    pub(crate) fn add(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
        event: libc::epoll_event,
    ) -> Result<(), i32> {
        let place = lookup(descriptor).ok_or(libc::EBADF)?;
        let exclusive = event.events & libc::EPOLLEXCLUSIVE as u32 != 0;
        let nested = descriptors.description(place).kind == DescriptionKind::Epoll;
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
        self.interests[index] = Interest {
            used: true,
            epoll,
            place,
            descriptor,
            events: event.events,
            data: event.u64,
            ..UNUSED
        };
        let index = index as u16;
        descriptors.at(place).watched.push_front(&mut self.of_place, index);
        descriptors.at(epoll).interests.push_back(&mut self.of_epoll, index);
        self.check(descriptors);
        Ok(())
    }

    /// Returns whether the instance `epoll` contains `sought`, or is nested too deeply to tell.
    fn reaches(
        &self,
        descriptors: &Descriptors,
        epoll: TableEntry,
        sought: TableEntry,
        depth: u32,
    ) -> bool {
        descriptors.description(epoll).interests.iter(&self.of_epoll).any(|index| {
            let place = self.at(index).place;
            let nested = descriptors.description(place).kind == DescriptionKind::Epoll;
            place == sought
                || nested && (depth == 0 || self.reaches(descriptors, place, sought, depth - 1))
        })
    }

    /// `EPOLL_CTL_MOD`, which also arms the interest again.
    pub(crate) fn modify(
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
    pub(crate) fn delete(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
        descriptor: i32,
    ) -> Result<(), i32> {
        let index = self.find(descriptors, epoll, descriptor).ok_or(libc::ENOENT)?;
        self.remove(descriptors, index);
        Ok(())
    }

    /// Removes the interests in a description that ends, and also its own interests if it is an
    /// epoll instance.
    pub(crate) fn forget(&mut self, descriptors: &mut Descriptors, place: TableEntry) {
        while let Some(index) = descriptors.at(place).watched.first() {
            self.remove(descriptors, index);
        }
        while let Some(index) = descriptors.at(place).interests.first() {
            self.remove(descriptors, index);
        }
    }

    fn remove(&mut self, descriptors: &mut Descriptors, index: u16) {
        let removed = std::mem::replace(&mut self.interests[index as usize], UNUSED);
        self.free = self.free.min(index as usize);
        descriptors.at(removed.epoll).interests.remove(&mut self.of_epoll, index);
        descriptors.at(removed.place).watched.remove(&mut self.of_place, index);
        self.check(descriptors);
    }

    /// An interest.
    pub(crate) fn at(&self, index: u16) -> &Interest {
        &self.interests[index as usize]
    }

    /// Returns an interest, to record a report.
    pub(crate) fn at_mut(&mut self, index: u16) -> &mut Interest {
        &mut self.interests[index as usize]
    }

    /// Returns the interests of an epoll instance, in the order in which they are scanned.
    pub(crate) fn in_epoll(
        &self,
        descriptors: &Descriptors,
        epoll: TableEntry,
    ) -> impl Iterator<Item = u16> {
        descriptors.description(epoll).interests.iter(&self.of_epoll)
    }

    /// Returns the interest after `index` in the order of its instance.
    pub(crate) fn next_in_epoll(&self, index: u16) -> Option<u16> {
        self.of_epoll[index as usize].next()
    }

    /// Returns the interest after `index` in the list of the description that both watch.
    pub(crate) fn next_of_place(&self, index: u16) -> Option<u16> {
        self.of_place[index as usize].next()
    }

    /// Makes the next scan of an epoll instance begin at one of its interests.
    pub(crate) fn rotate(&mut self, descriptors: &mut Descriptors, epoll: TableEntry, index: u16) {
        descriptors.at(epoll).interests.rotate_to(&mut self.of_epoll, index);
        self.check(descriptors);
    }

    /// Returns the set of a thread.
    pub(crate) fn set(&self, thread: usize) -> PollSet {
        self.sets[thread]
    }

    /// Checks what holds between any two calls, in time proportional to the tables: each interest
    /// is in the list of its instance and in the list of what it watches, and in no other; no free
    /// place is in a list, nor below where the search for one begins.
    ///
    /// Called under debug assertions after each change.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub(crate) fn invariants(&self, descriptors: &Descriptors) {
        let used = self.interests.iter().filter(|interest| interest.used).count();
        let (mut scanned, mut watching) = (0, 0);
        for index in 0..DESCRIPTIONS as u16 {
            let description = descriptors.description(TableEntry(index));
            scanned += description.interests.invariants(&self.of_epoll, |at| {
                self.at(at).used && self.at(at).epoll == TableEntry(index)
            });
            watching += description.watched.invariants(&self.of_place, |at| {
                self.at(at).used && self.at(at).place == TableEntry(index)
            });
            let is_epoll = description.kind == DescriptionKind::Epoll;
            assert!(is_epoll || description.interests.is_empty(), "interests in no epoll instance");
        }
        assert!(scanned == used, "an interest is in no epoll instance");
        assert!(watching == used, "an interest watches nothing");
        let linked = |links: &[Neighbours]| links.iter().filter(|link| link.is_linked()).count();
        assert!(linked(&self.of_epoll) == used, "a free place is linked");
        assert!(linked(&self.of_place) == used, "a free place is linked");
        assert!(self.interests[..self.free].iter().all(|it| it.used), "a free place is missed");
    }

    #[inline]
    fn check(&self, descriptors: &Descriptors) {
        if cfg!(debug_assertions) {
            self.invariants(descriptors);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::MutexGuard;

    use crane_core::index_list::IndexList;

    use super::*;
    use crate::descriptors::tests::take_numbers;

    /// Returns two instances that watch the same two descriptions.
    struct Tables {
        guard: MutexGuard<'static, ()>,
        watches: Box<Watches>,
        descriptors: Box<Descriptors>,
        epolls: [TableEntry; 2],
        watched: [i32; 2],
    }

    const EVENT: libc::epoll_event = libc::epoll_event { events: IN, u64: 7 };

    fn tables() -> Tables {
        let mut tables = Tables {
            guard: take_numbers(),
            watches: Box::new(Watches::new()),
            descriptors: Box::new(Descriptors::new()),
            epolls: [TableEntry(0), TableEntry(1)],
            watched: [102, 103],
        };
        for (number, kind) in [
            (100, DescriptionKind::Epoll),
            (101, DescriptionKind::Epoll),
            (102, DescriptionKind::Kernel),
            (103, DescriptionKind::Socket),
        ] {
            tables.descriptors.open(number, kind, false).unwrap();
        }
        for epoll in tables.epolls {
            for watched in tables.watched {
                tables.watches.add(&mut tables.descriptors, epoll, watched, EVENT).unwrap();
            }
        }
        tables
    }

    #[test]
    fn interests_come_and_go_in_order() {
        let Tables { guard: _guard, mut watches, mut descriptors, epolls, watched } = tables();
        let epoll = epolls[0];
        let order = |watches: &Watches, descriptors: &mut Descriptors| {
            let interests = watches.in_epoll(descriptors, epoll);
            interests.map(|index| watches.at(index).descriptor).collect::<Vec<_>>()
        };
        assert_eq!(order(&watches, &mut descriptors), watched);
        watches.rotate(&mut descriptors, epoll, 1);
        assert_eq!(order(&watches, &mut descriptors), [watched[1], watched[0]]);
        assert_eq!(watches.add(&mut descriptors, epoll, watched[0], EVENT), Err(libc::EEXIST));
        watches.delete(&mut descriptors, epoll, watched[1]).unwrap();
        assert_eq!(order(&watches, &mut descriptors), [watched[0]]);
        watches.forget(&mut descriptors, epoll);
        assert_eq!(order(&watches, &mut descriptors), []);
        watches.invariants(&descriptors);
    }

    #[test]
    #[should_panic(expected = "a list that is not its own")]
    fn an_interest_of_another_instance_is_noticed() {
        let Tables { guard: _guard, mut watches, descriptors, epolls, .. } = tables();
        watches.at_mut(0).epoll = epolls[1];
        watches.invariants(&descriptors);
    }

    #[test]
    #[should_panic(expected = "an interest watches nothing")]
    fn a_lost_interest_is_noticed() {
        let Tables { guard: _guard, watches, mut descriptors, watched, .. } = tables();
        descriptors.at(lookup(watched[0]).unwrap()).watched = IndexList::EMPTY;
        watches.invariants(&descriptors);
    }

    #[test]
    #[should_panic(expected = "a free place is missed")]
    fn a_free_place_below_the_search_is_noticed() {
        let Tables { guard: _guard, mut watches, descriptors, .. } = tables();
        watches.free = INTERESTS;
        watches.invariants(&descriptors);
    }
}
