//! Interests in readiness: those of epoll instances, and the sets of threads in poll and select.
//! The answers are in `readiness`.
//!
//! An interest is in two lists: that of its epoll instance, and that of the description that it
//! watches, the newest first. If it may be ready, it is in a third list as well, that of its
//! instance's candidates: only those are looked at when the program asks, so an instance with many
//! idle connections costs no more than one with few.

use crane_core::execution::processes::ProcessId;
use crane_core::index_list::Neighbours;
use crane_core::slab::Slab;

use crate::capacities::{INTERESTS, THREADS};
use crate::descriptors::{DescriptionKind, Descriptors, TableEntry, lookup};
use crate::processes;

/// The number of interests in a table that is checked after each change.
const SMALL: usize = 1 << 8;

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
    /// The process in whose memory the entries lie.
    process: ProcessId,
}

impl PollSet {
    /// A set without entries.
    pub(crate) const EMPTY: Self =
        Self { start: std::ptr::null_mut(), length: 0, process: ProcessId::FIRST };

    /// Creates a set of these entries, which must outlive the wait.
    pub(crate) fn new(entries: &mut [libc::pollfd]) -> Self {
        Self { start: entries.as_mut_ptr(), length: entries.len(), process: processes::own() }
    }

    /// Returns whether the entries are another process's, which alone can read them.
    pub(crate) fn is_others(self) -> bool {
        self.length > 0 && self.process != processes::own()
    }

    /// The entries.
    pub(crate) fn entries<'a>(self) -> &'a mut [libc::pollfd] {
        if self.length == 0 {
            return &mut [];
        }
        assert!(!self.is_others(), "the entries of another process");
        // SAFETY: the thread that made the set waits in `poll` while it is looked at, under the
        // turn.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// All interests, and the sets of the threads in poll.
pub(crate) struct Watches {
    interests: Slab<Interest, INTERESTS>,
    /// Neighbours in the list of the instance.
    of_epoll: [Neighbours; INTERESTS],
    /// Neighbours in the list of the description that is watched.
    of_place: [Neighbours; INTERESTS],
    /// Neighbours in the list of the instance's candidates.
    of_candidates: [Neighbours; INTERESTS],
    sets: [PollSet; THREADS],
}

impl Watches {
    /// Creates a table without interests, whose bytes are all 0.
    #[cfg(test)]
    pub(crate) const fn new() -> Self {
        Self {
            interests: Slab::new(),
            of_epoll: [Neighbours::UNLINKED; INTERESTS],
            of_place: [Neighbours::UNLINKED; INTERESTS],
            of_candidates: [Neighbours::UNLINKED; INTERESTS],
            sets: [PollSet::EMPTY; THREADS],
        }
    }

    /// Returns the set for which a thread waits.
    pub(crate) fn set_of(&mut self, thread: usize) -> &mut PollSet {
        &mut self.sets[thread]
    }

    fn find(&self, descriptors: &Descriptors, epoll: TableEntry, descriptor: i32) -> Option<u32> {
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
        let nested = descriptors.description(place).kind() == DescriptionKind::Epoll;
        if place == epoll || exclusive && (nested || event.events & !WITH_EXCLUSIVE != 0) {
            return Err(libc::EINVAL);
        }
        if nested && self.reaches(descriptors, place, epoll, NESTS_MAX) {
            return Err(libc::ELOOP);
        }
        if self.find(descriptors, epoll, descriptor).is_some() {
            return Err(libc::EEXIST);
        }
        let (events, data) = (event.events, event.u64);
        let interest =
            Interest { epoll, place, descriptor, events, data, reported: None, disabled: false };
        let index = self.interests.insert(interest).map_err(|_| libc::ENOSPC)?;
        descriptors.at(place).watched.push_front(&mut self.of_place, index);
        descriptors.at(epoll).interests.push_back(&mut self.of_epoll, index);
        self.make_candidate(descriptors, index);
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
            let nested = descriptors.description(place).kind() == DescriptionKind::Epoll;
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
        let interest = self.at_mut(index);
        let exclusive = libc::EPOLLEXCLUSIVE as u32;
        if (interest.events | event.events) & exclusive != 0 {
            return Err(libc::EINVAL);
        }
        (interest.events, interest.data) = (event.events, event.u64);
        (interest.reported, interest.disabled) = (None, false);
        self.make_candidate(descriptors, index);
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

    fn remove(&mut self, descriptors: &mut Descriptors, index: u32) {
        let removed = self.interests.remove(index);
        if self.of_candidates[index as usize].is_linked() {
            descriptors.at(removed.epoll).candidates.remove(&mut self.of_candidates, index);
        }
        descriptors.at(removed.epoll).interests.remove(&mut self.of_epoll, index);
        descriptors.at(removed.place).watched.remove(&mut self.of_place, index);
        self.check(descriptors);
    }

    /// An interest.
    pub(crate) fn at(&self, index: u32) -> &Interest {
        self.interests.get(index).expect("an interest that exists")
    }

    /// Returns an interest, to record a report.
    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Interest {
        self.interests.get_mut(index).expect("an interest that exists")
    }

    /// Returns the interests of an epoll instance that may be ready, in the order in which they
    /// became candidates.
    pub(crate) fn candidates(
        &self,
        descriptors: &Descriptors,
        epoll: TableEntry,
    ) -> impl Iterator<Item = u32> {
        descriptors.description(epoll).candidates.iter(&self.of_candidates)
    }

    /// Takes the interest that has been a candidate for the longest time out of the instance's
    /// list.
    pub(crate) fn take_candidate(
        &mut self,
        descriptors: &mut Descriptors,
        epoll: TableEntry,
    ) -> Option<u32> {
        descriptors.at(epoll).candidates.pop_front(&mut self.of_candidates)
    }

    /// Puts an interest behind the candidates of its instance, if it is none of them.
    pub(crate) fn make_candidate(&mut self, descriptors: &mut Descriptors, index: u32) {
        if !self.of_candidates[index as usize].is_linked() {
            let epoll = self.at(index).epoll;
            descriptors.at(epoll).candidates.push_back(&mut self.of_candidates, index);
        }
    }

    /// Returns the interest after `index` in the list of the description that both watch.
    pub(crate) fn next_of_place(&self, index: u32) -> Option<u32> {
        self.of_place[index as usize].next()
    }

    /// Returns the set of a thread.
    pub(crate) fn set(&self, thread: usize) -> PollSet {
        self.sets[thread]
    }

    /// Checks what holds between any two calls, in time proportional to the tables: each interest
    /// is in the list of its instance and in the list of what it watches, and in no other; each
    /// candidate is in the list of its instance's candidates.
    ///
    /// Called under debug assertions after each change of a small table.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub(crate) fn invariants(&self, descriptors: &Descriptors) {
        self.interests.invariants();
        let used = self.interests.len();
        let (mut in_epoll, mut watching, mut candidates) = (0, 0, 0);
        for (place, description) in descriptors.iter() {
            let is_of = |at| self.interests.get(at).is_some_and(|it| it.epoll == place);
            let watches = |at| self.interests.get(at).is_some_and(|it| it.place == place);
            let of_epoll = description.interests.invariants(&self.of_epoll, is_of);
            in_epoll += of_epoll;
            candidates += description.candidates.invariants(&self.of_candidates, is_of);
            watching += description.watched.invariants(&self.of_place, watches);
            let is_epoll = description.kind() == DescriptionKind::Epoll;
            assert!(is_epoll || of_epoll == 0, "interests in no epoll instance");
        }
        assert!(in_epoll == used, "an interest is in no epoll instance");
        assert!(watching == used, "an interest watches nothing");
        let reached = self.interests.reached();
        let linked =
            |links: &[Neighbours]| links[..reached].iter().filter(|link| link.is_linked()).count();
        assert!(linked(&self.of_epoll) == used, "a free place is linked");
        assert!(linked(&self.of_place) == used, "a free place is linked");
        assert!(linked(&self.of_candidates) == candidates, "a candidate is in no list");
    }

    #[inline]
    fn check(&self, descriptors: &Descriptors) {
        if cfg!(debug_assertions) && self.interests.reached() <= SMALL {
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
            let interests = watches.candidates(descriptors, epoll);
            interests.map(|index| watches.at(index).descriptor).collect::<Vec<_>>()
        };
        assert_eq!(order(&watches, &mut descriptors), watched);
        let first = watches.take_candidate(&mut descriptors, epoll).unwrap();
        assert_eq!(order(&watches, &mut descriptors), [watched[1]]);
        for _ in 0..2 {
            watches.make_candidate(&mut descriptors, first);
            assert_eq!(order(&watches, &mut descriptors), [watched[1], watched[0]]);
        }
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
    fn a_full_table_refuses_the_next_interest() {
        let Tables { guard: _guard, mut watches, mut descriptors, epolls, .. } = tables();
        let mut added = 4;
        for number in 200.. {
            if descriptors.open(number, DescriptionKind::Socket, false).is_none() {
                break;
            }
            for epoll in epolls {
                let result = watches.add(&mut descriptors, epoll, number, EVENT);
                assert_eq!(result, if added < INTERESTS { Ok(()) } else { Err(libc::ENOSPC) });
                added += usize::from(result.is_ok());
            }
        }
        assert_eq!(added, INTERESTS);
        watches.invariants(&descriptors);
    }
}
