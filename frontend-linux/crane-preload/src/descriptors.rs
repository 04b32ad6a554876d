//! File descriptors whose meaning to the program is not their meaning to the kernel.
//!
//! A socket of the server is a *stand-in*: a real, unconnected socket, so that the kernel handles
//! the number, its flags and its options, while this library handles its bytes. Pipes and similar
//! objects between threads of the server stay the kernel's, and are used without blocking. Only the
//! holder of the turn uses them, so their state is a function of the schedule.
//!
//! Numbers lead to *descriptions* (open(2): what dup shares), descriptions to virtual objects.

use std::sync::atomic::Ordering;

use crane_core::index_list::IndexList;
use crane_core::slab::Slab;
use crane_core::wire::Endpoint;
use heapless::Vec;

use crate::capacities::DESCRIPTIONS;
use crate::numbers::{NONE, Numbers, numbers, place_of};
pub(crate) use crate::numbers::{TableEntry, lookup};
pub(crate) use crate::objects::{DescriptionKind, Notice, OfProcess, TimerIndex};

/// The number of descriptions in a table that is checked after each change.
const SMALL: usize = 1 << 8;

/// An open file description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description {
    /// The object behind it (see [`Descriptors::set_kind`]).
    kind: DescriptionKind,
    /// The number of descriptors that lead here, and of calls under way.
    pub references: u32,
    /// `O_NONBLOCK`.
    pub nonblocking: bool,
    /// Whether an IPv6 socket made the description.
    pub ipv6: bool,
    /// Of a listener: whether it was shut down, and accepts no more connections.
    pub shut: bool,
    /// Of a connection that was reset: whether the server knows. Like all errors of a socket, this
    /// one is reported once.
    pub reset_reported: bool,
    /// Whether closing resets the connection (`SO_LINGER` with a time of 0).
    pub resets: bool,
    /// Of a TCP socket: the options that the program set and that a connection inherits, by their
    /// places in `hooks::options`.
    pub options: u16,
    /// `IPV6_V6ONLY`.
    pub v6only: bool,
    /// The address that a socket is bound to, before it listens.
    pub bound: Option<Endpoint>,
    /// `SO_RCVTIMEO` in nanoseconds, or 0 for none.
    pub receive_timeout: u64,
    /// `SO_SNDTIMEO` in nanoseconds, or 0 for none.
    pub send_timeout: u64,
    /// Of a connection: the number of read bytes that the daemon knows of.
    pub reported: u64,
    /// The number of edges: it grows with each read or write on a channel, each arrival at a
    /// listener, and each readiness in an epoll instance.
    pub edges: u32,
    /// Of a timerfd: the number of expirations since the last read.
    pub expirations: u64,
    /// Whether a child process may use the description as well, so that only the kernel knows a
    /// pipe's state.
    pub shared: bool,
    /// Of a signalfd: the signals that it tells of. Only they change it, and wake whoever waits.
    pub signals: Option<u64>,
    /// The process that it stands for (see [`Descriptors::set_process`]).
    process: Option<OfProcess>,
    /// The signals that tell of its readiness.
    pub notice: Notice,
    /// Whether it is in [`Descriptors::outside`].
    listed: bool,
    /// Of one end of a pipe: whether the process has closed the other end.
    pub lone: bool,
    /// The number by which a thread waits for the description.
    pub number: i32,
    /// Of an object that only the kernel knows: the conditions that the kernel reported last and
    /// that no call has used since.
    pub seen: u32,
    /// The interests in the description (see `watch`).
    pub watched: IndexList,
    /// Of an epoll instance: its interests.
    pub interests: IndexList,
    /// Of an epoll instance: those of its interests that may be ready.
    pub candidates: IndexList,
}

impl Description {
    /// Returns the object behind it.
    #[inline]
    pub(crate) fn kind(&self) -> DescriptionKind {
        self.kind
    }

    /// Returns the process that it stands for.
    pub(crate) fn process(&self) -> Option<OfProcess> {
        self.process
    }

    /// Returns whether the description changes without a call of this process.
    pub(crate) fn is_outside(&self) -> bool {
        let is_kernels = self.kind == DescriptionKind::Kernel && self.process.is_none();
        is_kernels || self.shared || self.is_unix_listener()
    }

    /// Returns whether it listens at a path, where processes of the cell connect by the kernel.
    pub(crate) fn is_unix_listener(&self) -> bool {
        matches!(self.kind, DescriptionKind::Listener(_))
            && self.bound.is_some_and(|at| at.is_unix())
    }
}

/// A description as a call makes it.
const FRESH: Description = Description {
    kind: DescriptionKind::Kernel,
    references: 1,
    nonblocking: false,
    ipv6: false,
    shut: false,
    reset_reported: false,
    resets: false,
    options: 0,
    v6only: false,
    bound: None,
    receive_timeout: 0,
    send_timeout: 0,
    reported: 0,
    edges: 0,
    expirations: 0,
    shared: false,
    signals: None,
    process: None,
    notice: Notice::NONE,
    listed: false,
    lone: false,
    number: -1,
    seen: 0,
    watched: IndexList::EMPTY,
    interests: IndexList::EMPTY,
    candidates: IndexList::EMPTY,
};

/// The descriptions, and those that belong to connections and listeners.
pub(crate) struct Descriptors {
    table: Slab<Description, DESCRIPTIONS>,
    /// No number from here on was ever given a description.
    numbers: u32,
    /// The descriptions that change without a call of this process, in the order in which they
    /// began to.
    outside: Vec<TableEntry, DESCRIPTIONS>,
    /// The number of descriptions that stand for processes.
    of_processes: u32,
}

impl Descriptors {
    /// Creates a table without descriptions, whose bytes are all 0.
    #[cfg(test)]
    pub(crate) const fn new() -> Self {
        Self { table: Slab::new(), numbers: 0, outside: Vec::new(), of_processes: 0 }
    }

    /// Makes a description for a new number from the kernel. Returns `None` if the table is full or
    /// the number is too high to be followed.
    pub(crate) fn open(
        &mut self,
        descriptor: i32,
        kind: DescriptionKind,
        nonblocking: bool,
    ) -> Option<TableEntry> {
        let number = numbers().get(usize::try_from(descriptor).ok()?)?;
        let fresh = Description { kind, nonblocking, number: descriptor, ..FRESH };
        let index = self.table.insert(fresh).ok()?;
        self.list(TableEntry(index));
        number.store(index + 1, Ordering::Relaxed);
        self.numbers = self.numbers.max(descriptor as u32 + 1);
        self.check();
        Some(TableEntry(index))
    }

    /// Makes another number lead to the description (dup).
    pub(crate) fn share(&mut self, place: TableEntry, descriptor: i32) -> bool {
        let Some(number) = usize::try_from(descriptor).ok().and_then(|at| numbers().get(at)) else {
            return false;
        };
        self.at(place).references += 1;
        number.store(place.0 + 1, Ordering::Relaxed);
        self.numbers = self.numbers.max(descriptor as u32 + 1);
        self.check();
        true
    }

    /// Detaches a number from its description, and returns whether that was the last reference. If
    /// so, the caller ends the object behind it, and then calls [`Descriptors::free`].
    pub(crate) fn detach(&mut self, descriptor: i32) -> Option<(TableEntry, bool)> {
        let place = lookup(descriptor)?;
        numbers()[descriptor as usize].store(NONE, Ordering::Relaxed);
        Some((place, self.release(place)))
    }

    /// Adds a reference for a call: the description stays, even if its numbers are closed.
    pub(crate) fn hold(&mut self, place: TableEntry) {
        self.at(place).references += 1;
    }

    /// Removes a reference, and returns whether it was the last.
    #[must_use]
    pub(crate) fn release(&mut self, place: TableEntry) -> bool {
        let description = self.at(place);
        assert!(description.references > 0);
        description.references -= 1;
        description.references == 0
    }

    /// Frees the place of a description.
    pub(crate) fn free(&mut self, place: TableEntry) {
        let freed = self.table.remove(place.0);
        assert!(freed.references == 0);
        assert!(freed.watched.is_empty() && freed.interests.is_empty(), "it is watched");
        self.of_processes -= u32::from(freed.process.is_some());
        if freed.listed {
            self.unlist(place);
        }
        self.check();
    }

    /// Returns a description, to read it.
    pub(crate) fn description(&self, place: TableEntry) -> &Description {
        self.table.get(place.0).expect("a description that exists")
    }

    /// A description.
    pub(crate) fn at(&mut self, place: TableEntry) -> &mut Description {
        self.table.get_mut(place.0).expect("a description that exists")
    }

    /// Returns the descriptions, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TableEntry, &Description)> {
        self.table.iter().map(|(at, description)| (TableEntry(at), description))
    }

    /// Sets the object behind a description. Its readiness may change (see `readiness::changed`).
    pub(crate) fn set_kind(&mut self, place: TableEntry, kind: DescriptionKind) {
        self.at(place).kind = kind;
        self.list(place);
    }

    /// Has a description stand for a process.
    pub(crate) fn set_process(&mut self, place: TableEntry, process: OfProcess) {
        let before = self.at(place).process.replace(process);
        self.of_processes += u32::from(before.is_none());
        self.list(place);
    }

    /// Records the end of a process, by the kernel's number, at the first description that stands
    /// for it and does not know, and returns that.
    pub(crate) fn end_process(&mut self, number: i32) -> Option<TableEntry> {
        if self.of_processes == 0 {
            return None;
        }
        let running = OfProcess { number, ended: false };
        let place = self.iter().find(|(_, it)| it.process == Some(running))?.0;
        self.at(place).process = Some(OfProcess { ended: true, ..running });
        Some(place)
    }

    /// Makes two descriptions the ends of a channel, or one description both.
    pub(crate) fn pair(&mut self, one: TableEntry, other: TableEntry) {
        self.set_kind(one, DescriptionKind::Channel { peer: other });
        self.set_kind(other, DescriptionKind::Channel { peer: one });
        self.check();
    }

    /// Puts a description on the list of those that change without a call of this process, or takes
    /// it off.
    fn list(&mut self, place: TableEntry) {
        let description = self.at(place);
        let belongs = description.is_outside();
        let is_listed = std::mem::replace(&mut description.listed, belongs);
        if belongs && !is_listed {
            self.outside.push(place).expect("each description is in it once");
        } else if is_listed && !belongs {
            self.unlist(place);
        }
    }

    fn unlist(&mut self, place: TableEntry) {
        let at = self.outside.iter().position(|listed| *listed == place);
        self.outside.remove(at.expect("it is listed"));
    }

    /// Records, before a fork, that a child may use the pipes from now on.
    pub(crate) fn share_channels(&mut self) {
        for at in 0..self.table.reached() as u32 {
            if let Some(description) = self.table.get_mut(at)
                && matches!(description.kind, DescriptionKind::Channel { .. })
            {
                description.shared = true;
                self.list(TableEntry(at));
            }
        }
    }

    /// Returns a number above all that ever had a description.
    pub(crate) fn numbers(&self) -> u32 {
        self.numbers
    }

    /// Gives a child, whose numbers are empty, what this process has open (fork(2)).
    // specs: S15
    pub(crate) fn inherit(&mut self, child: &Numbers) {
        for (own, number) in numbers()[..self.numbers as usize].iter().zip(child) {
            let value = own.load(Ordering::Relaxed);
            number.store(value, Ordering::Relaxed);
            if let Some(place) = place_of(value) {
                self.hold(place);
            }
        }
    }

    /// Takes from a process what it has open, and returns the places of all its references. The
    /// caller releases each.
    pub(crate) fn leave<'a>(
        &self,
        process: &'a Numbers,
    ) -> impl Iterator<Item = TableEntry> + use<'a> {
        let below = self.numbers as usize;
        process[..below].iter().filter_map(|number| place_of(number.swap(NONE, Ordering::Relaxed)))
    }

    /// Returns the descriptions that change without a call of this process.
    pub(crate) fn outside(&self) -> &[TableEntry] {
        &self.outside
    }

    /// Checks what holds between any two calls, in time proportional to the numbers that there were
    /// at one time: each leads to a description that exists and that has a reference for it; no
    /// description is without a reference; both ends of a channel name each other.
    ///
    /// Called under debug assertions after each change of a small table.
    ///
    /// # Panics
    /// Panics if one of these does not hold, or the table is large.
    pub(crate) fn invariants(&self) {
        self.table.invariants();
        let mut leading = [0; SMALL];
        for number in &numbers()[..self.numbers as usize] {
            let number = number.load(Ordering::Relaxed);
            if let Some(place) = place_of(number) {
                leading[place.0 as usize] += 1;
            }
        }
        let leading_anywhere = leading.iter().filter(|count| **count > 0).count();
        let (mut led_to, mut listed) = (0, 0);
        for (place, description) in self.iter() {
            let Description { references, .. } = *description;
            let leading = leading[place.0 as usize];
            led_to += usize::from(leading > 0);
            assert!(leading <= references, "a number leads to what it has no reference of");
            assert!(references > 0, "a description has no reference");
            let is_listed = self.outside.contains(&place);
            listed += usize::from(is_listed);
            assert!(is_listed == description.is_outside(), "one from outside is missed");
            assert!(is_listed == description.listed, "a list does not match its mark");
            if let DescriptionKind::Channel { peer } = description.kind {
                let back = DescriptionKind::Channel { peer: place };
                assert!(self.description(peer).kind == back, "a channel's other end is another's");
            }
        }
        assert!(led_to == leading_anywhere, "a number leads to no description");
        assert!(listed == self.outside.len(), "a description is listed that does not exist");
    }

    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) && self.table.reached() <= SMALL {
            self.invariants();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::capacities::DESCRIPTORS;

    /// Clears the numbers, which all tests share, and reserves them for one test.
    pub(crate) fn take_numbers() -> MutexGuard<'static, ()> {
        static TAKEN: Mutex<()> = Mutex::new(());
        let guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        numbers().iter().for_each(|number| number.store(NONE, Ordering::Relaxed));
        guard
    }

    /// Returns a pipe with a second number for its first end.
    fn pipe() -> (MutexGuard<'static, ()>, Box<Descriptors>, [TableEntry; 2]) {
        let guard = take_numbers();
        let mut descriptors = Box::new(Descriptors::new());
        let ends = [10, 11].map(|number| {
            descriptors.open(number, DescriptionKind::Kernel, false).expect("room for two")
        });
        descriptors.pair(ends[0], ends[1]);
        assert!(descriptors.share(ends[0], 12));
        (guard, descriptors, ends)
    }

    #[test]
    fn a_description_lives_as_long_as_its_numbers_and_calls() {
        let (_guard, mut descriptors, [end, other]) = pipe();
        descriptors.set_kind(other, DescriptionKind::Channel { peer: other });
        descriptors.set_kind(end, DescriptionKind::Kernel);
        descriptors.hold(end);
        assert_eq!(descriptors.detach(10), Some((end, false)));
        assert_eq!(descriptors.detach(12), Some((end, false)));
        assert_eq!((lookup(12), descriptors.detach(12)), (None, None));
        assert!(descriptors.release(end));
        descriptors.free(end);
        assert_eq!(descriptors.open(13, DescriptionKind::Epoll, false), Some(end));
    }

    #[test]
    #[should_panic(expected = "a number leads to what it has no reference of")]
    fn a_number_without_a_reference_is_noticed() {
        let (_guard, mut descriptors, [end, _]) = pipe();
        descriptors.at(end).references -= 1;
        descriptors.invariants();
    }

    #[test]
    #[should_panic(expected = "a channel's other end is another's")]
    fn a_channel_with_one_end_is_noticed() {
        let (_guard, mut descriptors, [_, other]) = pipe();
        descriptors.set_kind(other, DescriptionKind::Kernel);
        descriptors.invariants();
    }

    #[test]
    #[should_panic(expected = "a description has no reference")]
    fn a_description_that_nothing_refers_to_is_noticed() {
        let (_guard, mut descriptors, _) = pipe();
        descriptors.table.insert(Description { references: 0, ..FRESH }).unwrap();
        descriptors.invariants();
    }

    #[test]
    #[should_panic(expected = "a number leads to no description")]
    fn a_number_without_a_description_is_noticed() {
        let (_guard, descriptors, _) = pipe();
        numbers()[11].store(7, Ordering::Relaxed);
        descriptors.invariants();
    }

    #[test]
    fn those_that_only_the_kernel_changes_are_listed_as_they_come() {
        let (_guard, mut descriptors, [end, other]) = pipe();
        assert_eq!(descriptors.outside(), []);
        let kernel = descriptors.open(13, DescriptionKind::Kernel, false).unwrap();
        descriptors.share_channels();
        descriptors.share_channels();
        assert_eq!(descriptors.outside(), [kernel, end, other]);
        descriptors.set_kind(kernel, DescriptionKind::Socket);
        assert_eq!(descriptors.outside(), [end, other]);
        descriptors.set_kind(other, DescriptionKind::Channel { peer: other });
        assert!(!descriptors.detach(10).unwrap().1 && descriptors.detach(12).unwrap().1);
        descriptors.free(end);
        assert_eq!(descriptors.outside(), [other]);
        descriptors.invariants();
    }

    #[test]
    #[should_panic(expected = "one from outside is missed")]
    fn one_from_outside_that_is_not_listed_is_noticed() {
        let (_guard, mut descriptors, [end, _]) = pipe();
        descriptors.at(end).shared = true;
        descriptors.invariants();
    }

    #[test]
    fn a_full_table_follows_no_further_number() {
        let guard = take_numbers();
        let mut descriptors = Box::new(Descriptors::new());
        let mut open = |number| descriptors.open(number, DescriptionKind::Socket, false);
        for number in 0..DESCRIPTIONS as i32 {
            assert!(open(number).is_some(), "{number}");
        }
        assert_eq!(open(DESCRIPTIONS as i32), None);
        assert_eq!(open(DESCRIPTORS as i32), None, "a number that is not followed");
        drop(guard);
    }
}
