//! The end of the log: the slots that are undecided or not durable on this node.

use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;

use super::{
    Ballot, Content, Descriptor, Entry, Members, RANGE_BYTES_MAX, RANGE_ENTRIES_MAX, SlotRange,
    StorageEpoch, WriteNumber,
};

/// The state of a log at a slot: everything that remains of the entries up to that slot once they
/// are deleted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The slot, whose entry is the last one that is included.
    pub slot: Slot,
    /// The ballot of the entry in that slot.
    pub ballot: Ballot,
    /// The members at that slot.
    pub members: Members,
    /// The epochs whose votes count, by node, from node 1.
    pub epochs: [StorageEpoch; NODES_MAX],
}

impl SnapshotMeta {
    /// Returns the state before slot 1.
    pub const fn genesis(members: Members) -> Self {
        Self {
            slot: Slot::NONE,
            ballot: Ballot::ZERO,
            members,
            epochs: [StorageEpoch::FIRST; NODES_MAX],
        }
    }

    /// Adds the entry of the next slot.
    // specs: M2
    pub fn include(&mut self, entry: &Entry) {
        self.slot = self.slot.next();
        self.ballot = entry.ballot;
        match entry.content {
            Content::Rejoin { node, epoch } => self.epochs[node.index()] = epoch,
            Content::Change(members) => self.members = members,
            Content::Payload(_) => {}
        }
    }

    /// Returns the epoch of `node` whose votes count.
    pub fn epoch(&self, node: NodeId) -> StorageEpoch {
        self.epochs[node.index()]
    }
}

/// The slots after `base`, up to `end`. Guarantees:
///
/// 1. There are at most `WINDOW` of them, without gaps.
/// 2. `end` is `base` with the entries of the window added.
/// 3. The numbers of the writes do not fall from slot to slot.
#[derive(Clone, Debug)]
pub(super) struct Window<const WINDOW: usize> {
    /// The state below the window.
    base: SnapshotMeta,
    /// The state after the window's last entry; not below `base`.
    end: SnapshotMeta,
    /// The sum of the lengths of all payloads up to `base`, counted from an arbitrary number.
    bytes: u64,
    /// The number of entries in the window that are not payloads.
    own: u32,
    /// The cells by slot, modulo `WINDOW`. Cells outside the window are ignored.
    cells: [WindowCell; WINDOW],
}

/// A slot of the window.
#[derive(Clone, Copy, Debug)]
struct WindowCell {
    /// The entry in the slot.
    entry: Entry,
    /// The write that makes the entry durable; 0 if the entry is known to be durable.
    write: WriteNumber,
    /// The sum of the lengths of all payloads up to this one.
    bytes: u64,
}

impl WindowCell {
    /// The contents of a cell that no slot has used.
    const UNUSED: Self = Self {
        entry: Entry { ballot: Ballot::ZERO, content: Content::Payload(Descriptor::NONE) },
        write: WriteNumber(0),
        bytes: 0,
    };
}

impl<const WINDOW: usize> Window<WINDOW> {
    /// Creates a window without slots.
    pub(super) fn new(base: SnapshotMeta) -> Self {
        const { assert!(WINDOW >= 1, "a window needs a slot") };
        Self { base, end: base, bytes: 0, own: 0, cells: [WindowCell::UNUSED; WINDOW] }
    }

    /// Returns the state below the window.
    pub(super) fn base(&self) -> &SnapshotMeta {
        &self.base
    }

    /// Returns the state after the window's last entry.
    pub(super) fn end(&self) -> &SnapshotMeta {
        &self.end
    }

    /// Returns the last slot of the log, which is the base's if the window is empty.
    pub(super) fn last(&self) -> Slot {
        self.end.slot
    }

    /// Returns whether the window has room for the entry of this slot.
    pub(super) fn has_room(&self, slot: Slot) -> bool {
        self.room_from(slot) > 0
    }

    /// Returns how many entries the window has room for from this slot on. The slot must be
    /// undecided.
    pub(super) fn room_from(&self, slot: Slot) -> usize {
        (self.base.slot.0 + WINDOW as u64 + 1).saturating_sub(slot.0) as usize
    }

    /// Returns how many more entries the window has room for.
    pub(super) fn room(&self) -> usize {
        self.room_from(self.last().next())
    }

    /// Returns the entry in a slot of the window.
    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.cell(slot).map(|cell| &cell.entry)
    }

    /// Returns the ballot of the entry in `slot`, if that is the base or in the window.
    pub(super) fn ballot(&self, slot: Slot) -> Option<Ballot> {
        if slot == self.base.slot {
            return Some(self.base.ballot);
        }
        self.entry(slot).map(|entry| entry.ballot)
    }

    /// Returns the bytes of the payloads up to `slot`, which is the base or in the window.
    pub(super) fn bytes_until(&self, slot: Slot) -> u64 {
        self.bytes_up_to(slot) - self.bytes
    }

    /// Returns the bytes of the payloads after `slot`, which is the base or in the window.
    pub(super) fn bytes_after(&self, slot: Slot) -> u64 {
        self.bytes_up_to(self.last()) - self.bytes_up_to(slot)
    }

    /// Returns the bytes of all payloads up to `slot`, which is the base or in the window.
    fn bytes_up_to(&self, slot: Slot) -> u64 {
        self.cell(slot).map_or(self.bytes, |cell| cell.bytes)
    }

    /// Returns the longest range from `first` to at most `last`, both in the window, that fits into
    /// one message.
    pub(super) fn range(&self, first: Slot, last: Slot) -> SlotRange {
        let before = self.bytes_up_to(Slot(first.0 - 1));
        let mut end = Slot(first.0 + RANGE_ENTRIES_MAX as u64 - 1).min(last);
        while end > first && self.bytes_up_to(end) - before > RANGE_BYTES_MAX {
            end = Slot(end.0 - 1);
        }
        SlotRange::between(first, end)
    }

    /// Returns the last slot whose entry was written by a write up to `settled`. All lower slots
    /// were as well.
    #[inline]
    pub(super) fn written_by(&self, settled: WriteNumber) -> Slot {
        let is_written = |slot: Slot| self.cell(slot).is_none_or(|cell| cell.write <= settled);
        // In most cases the whole window is written.
        let (mut written, mut unwritten) = (self.base.slot, self.last());
        if is_written(unwritten) {
            return unwritten;
        }
        while written.next() < unwritten {
            let middle = Slot(written.0.midpoint(unwritten.0));
            if is_written(middle) {
                written = middle;
            } else {
                unwritten = middle;
            }
        }
        written
    }

    /// Appends an entry, which `write` makes durable.
    pub(super) fn append(&mut self, entry: Entry, write: WriteNumber) {
        self.extend(core::iter::once(entry), write);
    }

    /// Appends entries. `write` makes the first one durable, and the writes after it the others.
    #[inline]
    pub(super) fn extend(
        &mut self,
        entries: impl ExactSizeIterator<Item = Entry>,
        WriteNumber(mut write): WriteNumber,
    ) {
        assert!(entries.len() <= self.room(), "entries were appended to a full window");
        let mut bytes = self.bytes_up_to(self.last());
        for entry in entries {
            if let Content::Payload(Descriptor { length, .. }) = entry.content {
                self.end.slot = self.end.slot.next();
                self.end.ballot = entry.ballot;
                bytes += u64::from(length);
            } else {
                self.end.include(&entry);
                self.own += 1;
            }
            let cell = WindowCell { entry, write: WriteNumber(write), bytes };
            self.cells[place::<WINDOW>(self.end.slot)] = cell;
            write += 1;
        }
    }

    /// Removes the entries from `slot` on.
    pub(super) fn truncate(&mut self, slot: Slot) {
        assert!(slot > self.base.slot, "the base of the window is decided");
        let kept = Slot(slot.0 - 1).min(self.last());
        (self.end, self.own) = (self.base, 0);
        while self.end.slot < kept {
            let entry = self.cells[place::<WINDOW>(self.end.slot.next())].entry;
            self.end.include(&entry);
            self.own += u32::from(entry.content.payload().is_none());
        }
    }

    /// Moves the base up to `slot`.
    #[inline]
    pub(super) fn release(&mut self, slot: Slot) {
        if slot > self.base.slot {
            self.include_up_to(slot);
        }
    }

    /// Moves the base up to `slot`, which is in the window.
    fn include_up_to(&mut self, slot: Slot) {
        assert!(slot <= self.last(), "the base moves beyond the window");
        let last = &self.cells[place::<WINDOW>(slot)];
        self.bytes = last.bytes;
        // Payloads leave only the ballot of the last one.
        if self.own == 0 {
            (self.base.slot, self.base.ballot) = (slot, last.entry.ballot);
        }
        while self.base.slot < slot {
            let entry = self.cells[place::<WINDOW>(self.base.slot.next())].entry;
            self.base.include(&entry);
            self.own -= u32::from(entry.content.payload().is_none());
        }
    }

    /// Checks the guarantees of the type, in time proportional to the number of entries: the slots
    /// fit, and the end, the sums and the count of entries that are not payloads match the entries.
    ///
    /// Called always in simulation, and under debug assertions after each step of a node with a
    /// small window.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub(super) fn invariants(&self) {
        let (first, last) = (self.base.slot.next(), self.last());
        assert!(first <= last.next(), "a window ends before its base");
        assert!(last.0 - self.base.slot.0 <= WINDOW as u64, "a window has too many slots");
        let (mut end, mut own, mut bytes) = (self.base, 0, self.bytes);
        let mut write = WriteNumber(0);
        for slot in (first.0..=last.0).map(Slot) {
            let cell = &self.cells[place::<WINDOW>(slot)];
            let payload = cell.entry.content.payload();
            end.include(&cell.entry);
            own += u32::from(payload.is_none());
            bytes += payload.map_or(0, |payload| u64::from(payload.length));
            assert!(cell.bytes == bytes, "the bytes up to a slot are miscounted");
            assert!(cell.write >= write, "an entry is written before the one below it");
            write = cell.write;
        }
        assert!(end == self.end, "the end of a window does not match its entries");
        assert!(own == self.own, "entries that are no payloads are miscounted");
    }

    /// Forgets the numbers of the writes, all of which are durable.
    pub(super) fn forget_writes(&mut self) {
        for cell in &mut self.cells {
            cell.write = WriteNumber(0);
        }
    }

    /// Miscounts the entries that are not payloads, for tests of the checks.
    #[cfg(test)]
    pub(super) const fn miscount(&mut self) {
        self.own += 1;
    }

    /// Returns the cell of a slot, if the slot is in the window.
    #[inline]
    fn cell(&self, slot: Slot) -> Option<&WindowCell> {
        if slot > self.base.slot && slot <= self.last() {
            Some(&self.cells[place::<WINDOW>(slot)])
        } else {
            None
        }
    }

    /// Returns the parts of a window that equality compares: the base, and the entries with their
    /// writes.
    fn parts(&self) -> (&SnapshotMeta, impl Iterator<Item = (&Entry, WriteNumber)>) {
        let slots = (self.base.slot.0 + 1..=self.last().0).map(Slot);
        let cells = slots.map(|slot| &self.cells[place::<WINDOW>(slot)]);
        (&self.base, cells.map(|cell| (&cell.entry, cell.write)))
    }
}

impl<const WINDOW: usize> PartialEq for Window<WINDOW> {
    fn eq(&self, other: &Self) -> bool {
        let ((base, cells), (other_base, other_cells)) = (self.parts(), other.parts());
        base == other_base && cells.eq(other_cells)
    }
}

impl<const WINDOW: usize> Eq for Window<WINDOW> {}

impl<const WINDOW: usize> Hash for Window<WINDOW> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (base, cells) = self.parts();
        base.hash(state);
        self.last().hash(state);
        cells.for_each(|cell| cell.hash(state));
    }
}

/// Returns the index of a slot's cell.
const fn place<const WINDOW: usize>(slot: Slot) -> usize {
    (slot.0 % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn entry(round: u64, content: Content) -> Entry {
        Entry { ballot: Ballot::new(round, Some(node(1))), content }
    }

    fn payload(round: u64) -> Entry {
        entry(round, Content::Payload(Descriptor { length: 1, digest: 1 }))
    }

    /// Returns a window that holds two payloads, a change of members and another payload, and whose
    /// base has moved by a slot.
    fn sound() -> Window<8> {
        let mut window = Window::new(SnapshotMeta::genesis(Members::first(3)));
        let change = entry(1, Content::Change(Members::first(4)));
        let entries = [payload(1), payload(1), change, payload(2)];
        window.extend(entries.into_iter(), WriteNumber(1));
        window.release(Slot(1));
        window.invariants();
        window
    }

    #[test]
    fn a_window_stays_sound_as_it_moves_and_is_cut() {
        for cut in 2..=5 {
            for release in 1..cut {
                let mut window = sound();
                window.truncate(Slot(cut));
                window.invariants();
                window.release(Slot(release));
                window.invariants();
                window.append(payload(3), WriteNumber(9));
                window.forget_writes();
                window.invariants();
            }
        }
    }

    #[test]
    #[should_panic(expected = "a window ends before its base")]
    fn an_end_before_the_base_is_noticed() {
        let mut window = sound();
        window.end.slot = Slot::NONE;
        window.invariants();
    }

    #[test]
    #[should_panic(expected = "a window has too many slots")]
    fn a_slot_too_many_is_noticed() {
        let mut window = sound();
        window.end.slot = Slot(window.base.slot.0 + 9);
        window.invariants();
    }

    #[test]
    #[should_panic(expected = "the bytes up to a slot are miscounted")]
    fn miscounted_bytes_are_noticed() {
        let mut window = sound();
        window.cells[3].bytes += 1;
        window.invariants();
    }

    #[test]
    #[should_panic(expected = "an entry is written before the one below it")]
    fn writes_out_of_order_are_noticed() {
        let mut window = sound();
        window.cells[2].write = WriteNumber(7);
        window.invariants();
    }

    #[test]
    #[should_panic(expected = "the end of a window does not match its entries")]
    fn a_wrong_end_is_noticed() {
        let mut window = sound();
        window.end.members = Members::first(3);
        window.invariants();
    }

    #[test]
    #[should_panic(expected = "entries that are no payloads are miscounted")]
    fn miscounted_entries_are_noticed() {
        let mut window = sound();
        window.own += 1;
        window.invariants();
    }

    #[test]
    fn a_window_is_full_when_its_slots_are_undecided() {
        let mut window = Window::<4>::new(SnapshotMeta::genesis(Members::first(3)));
        for number in 1..=4 {
            window.append(payload(1), WriteNumber(number));
        }
        assert!(window.room() == 0 && !window.has_room(Slot(5)));
        window.release(Slot(1));
        assert!(window.room() == 1 && window.has_room(Slot(5)) && !window.has_room(Slot(6)));
    }

    #[test]
    fn entries_that_are_cut_off_name_no_members_or_epochs() {
        let mut window = Window::<8>::new(SnapshotMeta::genesis(Members::first(3)));
        window.append(payload(1), WriteNumber(1));
        let epoch = StorageEpoch(9);
        window.append(entry(1, Content::Rejoin { node: node(2), epoch }), WriteNumber(2));
        window.append(entry(1, Content::Change(Members::first(4))), WriteNumber(3));
        assert_eq!((window.end().epoch(node(2)), window.end().members.voters.len()), (epoch, 4));
        window.truncate(Slot(3));
        assert_eq!((window.end().epoch(node(2)), window.end().members.voters.len()), (epoch, 3));
        window.release(Slot(1));
        window.truncate(Slot(2));
        assert_eq!(window.end(), window.base());
        assert_eq!(window.ballot(Slot(1)), Some(payload(1).ballot));
        assert_eq!((window.entry(Slot(1)), window.entry(Slot(2))), (None, None));
    }
}
