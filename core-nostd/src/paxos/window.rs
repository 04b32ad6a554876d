//! The end of the log: the slots that are undecided here, or not durable yet.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;

use super::{
    Ballot, Content, Entry, Life, Members, RUN_BYTES_MAX, RUN_ENTRIES_MAX, Run, WriteNumber,
};

/// What a log up to some slot comes to: all that must be known of it once its entries are gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// The last slot that is included.
    pub slot: Slot,
    /// The ballot of the entry in it.
    pub ballot: Ballot,
    /// The members by then.
    pub members: Members,
    /// By node, from node 1: the life whose votes count.
    pub lives: [Life; NODES_MAX],
}

impl Anchor {
    /// Before slot 1.
    pub const fn genesis(members: Members) -> Self {
        Self { slot: Slot::NONE, ballot: Ballot::ZERO, members, lives: [Life::FIRST; NODES_MAX] }
    }

    /// Includes the entry of the next slot.
    // specs: M2
    pub fn include(&mut self, entry: &Entry) {
        self.slot = self.slot.next();
        self.ballot = entry.ballot;
        match entry.content {
            Content::Rejoin { node, life } => self.lives[node.index()] = life,
            Content::Change(members) => self.members = members,
            Content::Payload(_) => {}
        }
    }

    /// The life of `node` whose votes count.
    pub fn life(&self, node: NodeId) -> Life {
        self.lives[node.index()]
    }
}

/// The slots after `base`, up to `end`. Guarantees:
///
/// 1. There are at most `WINDOW` of them, without gaps.
/// 2. `end` is what `base` comes to when the entries of the window are included.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Window<const WINDOW: usize> {
    base: Anchor,
    end: Anchor,
    cells: [Option<Cell>; WINDOW],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Cell {
    entry: Entry,
    write: WriteNumber,
}

impl<const WINDOW: usize> Window<WINDOW> {
    pub(super) fn new(base: Anchor) -> Self {
        const { assert!(WINDOW >= 1, "a slot must fit") };
        Self { base, end: base, cells: [None; WINDOW] }
    }

    pub(super) fn base(&self) -> &Anchor {
        &self.base
    }

    pub(super) fn end(&self) -> &Anchor {
        &self.end
    }

    pub(super) fn last(&self) -> Slot {
        self.end.slot
    }

    /// Whether an entry for this slot would have its place.
    pub(super) fn has_room(&self, slot: Slot) -> bool {
        slot.0 <= self.base.slot.0 + WINDOW as u64
    }

    /// How many entries can still be appended.
    pub(super) fn room(&self) -> usize {
        WINDOW - (self.last().0 - self.base.slot.0) as usize
    }

    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.cell(slot).map(|cell| &cell.entry)
    }

    /// The ballot of the entry in `slot`, if that is the base or in the window.
    pub(super) fn ballot(&self, slot: Slot) -> Option<Ballot> {
        if slot == self.base.slot {
            return Some(self.base.ballot);
        }
        self.entry(slot).map(|entry| entry.ballot)
    }

    /// The longest run from `first` to `last` at most, both in the window, that may travel in one message.
    pub(super) fn run(&self, first: Slot, last: Slot) -> Run {
        let mut bytes = 0;
        let mut end = first;
        while end <= last && end.0 - first.0 < RUN_ENTRIES_MAX as u64 {
            bytes += self.entry(end).expect("the window has no gaps").length();
            if bytes > RUN_BYTES_MAX && end > first {
                break;
            }
            end = end.next();
        }
        Run { first, count: (end.0 - first.0) as u32 }
    }

    /// The last slot after `known` whose entry was made by a write up to `settled`, with all between;
    /// else `known`.
    pub(super) fn written_by(&self, settled: WriteNumber, known: Slot) -> Slot {
        let mut slot = known;
        while let Some(cell) = self.cell(slot.next())
            && cell.write <= settled
        {
            slot = slot.next();
        }
        slot
    }

    pub(super) fn append(&mut self, entry: &Entry, write: WriteNumber) {
        let slot = self.last().next();
        assert!(self.has_room(slot), "an entry was appended to a full window");
        self.end.include(entry);
        self.cells[place::<WINDOW>(slot)] = Some(Cell { entry: *entry, write });
    }

    /// Takes away the entries from `slot` on.
    pub(super) fn truncate(&mut self, slot: Slot) {
        assert!(slot > self.base.slot, "the base of the window is decided");
        while self.last() >= slot {
            let last = self.last();
            self.cells[place::<WINDOW>(last)] = None;
            self.end.slot = Slot(last.0 - 1);
        }
        let kept = self.last();
        self.end = self.base;
        while self.end.slot < kept {
            let next = self.end.slot.next();
            let entry = self.cells[place::<WINDOW>(next)].expect("the window has no gaps").entry;
            self.end.include(&entry);
        }
    }

    /// Moves the base up to `slot`.
    pub(super) fn release(&mut self, slot: Slot) {
        assert!(slot <= self.last(), "what is released was there");
        while self.base.slot < slot {
            let next = self.base.slot.next();
            let cell = self.cells[place::<WINDOW>(next)].take().expect("the window has no gaps");
            self.base.include(&cell.entry);
        }
    }

    /// All writes are durable: which were which does not matter any more.
    pub(super) fn forget_writes(&mut self) {
        for cell in self.cells.iter_mut().flatten() {
            cell.write = WriteNumber(0);
        }
    }

    fn cell(&self, slot: Slot) -> Option<&Cell> {
        if slot > self.base.slot && slot <= self.last() {
            self.cells[place::<WINDOW>(slot)].as_ref()
        } else {
            None
        }
    }
}

const fn place<const WINDOW: usize>(slot: Slot) -> usize {
    (slot.0 % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::Descriptor;
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn entry(round: u64, content: Content) -> Entry {
        Entry { ballot: Ballot { round, node: Some(node(1)) }, content }
    }

    fn payload(round: u64) -> Entry {
        entry(round, Content::Payload(Descriptor { length: 1, digest: 1 }))
    }

    #[test]
    fn a_window_is_full_when_its_slots_are_undecided() {
        let mut window = Window::<4>::new(Anchor::genesis(Members::first(3)));
        for number in 1..=4 {
            window.append(&payload(1), WriteNumber(number));
        }
        assert!(window.room() == 0 && !window.has_room(Slot(5)));
        window.release(Slot(1));
        assert!(window.room() == 1 && window.has_room(Slot(5)) && !window.has_room(Slot(6)));
    }

    #[test]
    fn what_is_cut_off_no_longer_says_who_the_members_are() {
        let mut window = Window::<8>::new(Anchor::genesis(Members::first(3)));
        window.append(&payload(1), WriteNumber(1));
        let life = Life(9);
        window.append(&entry(1, Content::Rejoin { node: node(2), life }), WriteNumber(2));
        window.append(&entry(1, Content::Change(Members::first(4))), WriteNumber(3));
        assert_eq!((window.end().life(node(2)), window.end().members.voters.len()), (life, 4));
        window.truncate(Slot(3));
        assert_eq!((window.end().life(node(2)), window.end().members.voters.len()), (life, 3));
        window.release(Slot(1));
        window.truncate(Slot(2));
        assert_eq!(window.end(), window.base());
        assert_eq!(window.ballot(Slot(1)), Some(payload(1).ballot));
        assert_eq!((window.entry(Slot(1)), window.entry(Slot(2))), (None, None));
    }
}
