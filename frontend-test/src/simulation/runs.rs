//! Slot ranges in a simulated group, whose entries travel with one message or are written together.

use std::rc::Rc;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Entry, Input, MESSAGE_BYTES_MAX, Message, RANGE_BYTES_MAX, RANGE_ENTRIES_MAX, Record,
    SlotRange, WriteNumber,
};

use super::disk::{Contents, Payload};
use super::faults::Stop;
use super::group::{Event, Group, Place};
use crate::specification::event::Event as Told;

/// The entries of a message's slot range, and their payloads. All copies of the message share them.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) entries: Rc<[Entry]>,
    payloads: Rc<[Option<Payload>]>,
}

/// A message that went over the wire format.
#[derive(Clone, Debug)]
pub(super) struct Said {
    message: Message,
    /// The decoded message.
    read: Message,
    pub(super) carried: Option<Carried>,
}

/// The machine that asks for entries to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Proposal,
    Accept,
    Copy,
    Chosen,
}

/// The payloads that accompany a node's input: those of a message's range or of a proposal.
#[derive(Clone, Copy)]
pub(super) struct Brought<'a> {
    by: By,
    /// The slot of the first payload, which the others follow.
    first: Slot,
    payloads: &'a [Option<Payload>],
}

impl<'a> Brought<'a> {
    /// Returns no payloads.
    pub(super) const NONE: Brought<'static> =
        Brought { by: By::Proposal, first: Slot::NONE, payloads: &[] };

    /// Returns the payloads of a proposal, for the slots from `first` on.
    pub(super) fn by_proposal(first: Slot, payloads: &'a [Option<Payload>]) -> Self {
        Brought { by: By::Proposal, first, payloads }
    }

    /// Returns the payloads of a message.
    pub(super) fn by_message(message: &Message, carried: Option<&'a Carried>) -> Self {
        let by = match message {
            Message::Accept { .. } => By::Accept,
            Message::Copy { .. } => By::Copy,
            Message::Chosen { .. } => By::Chosen,
            _ => return Brought::NONE,
        };
        let (range, carried) = message.range().zip(carried).expect("these messages carry a range");
        Brought { by, first: range.first, payloads: &carried.payloads }
    }

    /// Returns the payload that is stored with a record.
    fn payload(&self, record: &Record) -> Option<Payload> {
        let Record::Accept { slot, entry } = record else { return None };
        entry.content.payload()?;
        let place = slot.0.checked_sub(self.first.0);
        let payload = place.and_then(|place| *self.payloads.get(place as usize)?);
        Some(payload.expect("the payload of what is written was handed in"))
    }
}

/// The counts of entries that were written together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Runs {
    /// The writes of a primary, as its proposals.
    pub proposed: u64,
    /// The writes of a backup.
    pub accepted: u64,
    /// The writes of a candidate that completes its log.
    pub copied: u64,
    /// The writes of a node that catches up.
    pub chosen: u64,
    /// The writes of a part of a slot range, whose rest was known or had no room.
    pub parts: u64,
    /// The writes of which a disk took only the first entries.
    pub torn: u64,
}

impl std::ops::AddAssign for Runs {
    fn add_assign(&mut self, other: Self) {
        self.proposed += other.proposed;
        self.accepted += other.accepted;
        self.copied += other.copied;
        self.chosen += other.chosen;
        self.parts += other.parts;
        self.torn += other.torn;
    }
}

impl Runs {
    /// Returns whether each of these happened.
    pub fn is_each(&self) -> bool {
        let Self { proposed, accepted, copied, chosen, parts, torn } = *self;
        ![proposed, accepted, copied, chosen, parts, torn].contains(&0)
    }

    fn count(&mut self, range: SlotRange, brought: &Brought<'_>) {
        if range.count < 2 {
            return;
        }
        *match brought.by {
            By::Proposal => &mut self.proposed,
            By::Accept => &mut self.accepted,
            By::Copy => &mut self.copied,
            By::Chosen => &mut self.chosen,
        } += 1;
        self.parts += u64::from((range.count as usize) < brought.payloads.len());
    }
}

impl<const WINDOW: usize> Group<WINDOW> {
    /// Checks that the payloads of a message match its sender's entries.
    pub(super) fn look_at_payloads(&self, carried: &Carried) {
        for (entry, payload) in carried.entries.iter().zip(&*carried.payloads) {
            let described = payload.map(|payload| self.describe(payload));
            assert_eq!(entry.content.payload(), described, "a payload of another entry came");
        }
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.recorder.add(from, || Told::Said { to, message });
        self.checks.on_said(from, &message, self.places[from.index()].disk.safe());
        // A node's message passes through the wire format, once even if it goes to several nodes.
        if self.said.as_ref().is_none_or(|said| said.message != message) {
            let mut space = [0; MESSAGE_BYTES_MAX];
            let length = message.encode(&mut space).expect("every message fits");
            let read = Message::decode(&space[..length]).expect("what was encoded can be decoded");
            let carried = message.range().map(|range| self.carry(from, range));
            self.said = Some(Said { message, read, carried });
        }
        let run = self.places[from.index()].run;
        for at in self.network.arrivals(self.now, from, to, &mut self.random) {
            let Said { read, carried, .. } = self.said.clone().expect("just filled");
            self.schedule(at, Event::Deliver { from, to, run, message: read, carried });
        }
    }

    pub(super) fn deliver(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &Message,
        carried: Option<&Carried>,
    ) {
        if self.runs(to) {
            self.checks.on_heard(from, message);
        }
        let entries = carried.map_or(&[][..], |carried| &carried.entries);
        carried.iter().for_each(|carried| self.look_at_payloads(carried));
        let brought = Brought::by_message(message, carried);
        self.step(to, Input::Message { from, message, entries }, brought);
    }

    /// Returns the entries of a slot range, with their payloads, from the sender's present log.
    fn carry(&self, from: NodeId, range: SlotRange) -> Carried {
        let memory = &self.places[from.index()].memory;
        let stored = |slot| *memory.entry(slot).expect("an entry that is sent was written");
        let entries: Rc<[Entry]> = range.slots().map(|slot| read_back(&stored(slot).0)).collect();
        let payloads: Rc<[_]> = range.slots().map(|slot| stored(slot).1).collect();
        let carried = Carried { entries, payloads };
        self.look_at_payloads(&carried);
        let bytes: u64 = carried.entries.iter().map(length).sum();
        let fits = carried.entries.len() <= RANGE_ENTRIES_MAX && bytes <= RANGE_BYTES_MAX;
        assert!(fits || range.count == 1, "node {from} sends {bytes} bytes in {range:?}");
        carried
    }

    /// Catches a member up, from the log, or from a checkpoint if the log does not reach back far
    /// enough.
    pub(super) fn serve(&mut self, id: NodeId, to: NodeId, from: Slot, up_to: Slot) {
        let Place { memory, checkpoint, .. } = &self.places[id.index()];
        if let Some(snapshot) = memory.stored.snapshot
            && let Some(checkpoint) = checkpoint.clone()
            && from <= snapshot.slot
        {
            for at in self.network.arrivals(self.now, id, to, &mut self.random) {
                let checkpoint = checkpoint.clone();
                self.schedule(at, Event::Install { to, snapshot, checkpoint });
            }
            return;
        }
        let longest = *self.random.pick(&[1, 3, RANGE_ENTRIES_MAX as u32]);
        let mut first = from;
        while first <= up_to {
            let range = longest_run(&self.places[id.index()].memory, first, up_to, longest);
            self.send(id, to, Message::Chosen { range });
            first = range.last().next();
        }
    }

    /// Writes a slot range, one record after another. Returns whether the disk took all of them;
    /// otherwise the program has stopped.
    pub(super) fn append(
        &mut self,
        id: NodeId,
        number: WriteNumber,
        range: SlotRange,
        brought: Brought<'_>,
    ) -> bool {
        // Payloads of an earlier message may now belong to another entry.
        self.said = None;
        let node = self.places[id.index()].node.as_deref().expect("a node that has just sent");
        let mut records = std::mem::take(&mut self.records);
        records.extend(node.records(number, range));
        assert_eq!(records.len(), range.count as usize, "each slot of a range has its record");
        for (written, (number, record)) in records.drain(..).enumerate() {
            self.checks.on_record(number, &record);
            if !self.write(id, number, record, brought) {
                self.written_runs.torn += u64::from(written > 0);
                return false;
            }
        }
        self.records = records;
        self.written_runs.count(range, &brought);
        true
    }

    /// Writes a record. Returns whether the disk took it; otherwise the program has stopped.
    pub(super) fn write(
        &mut self,
        id: NodeId,
        number: WriteNumber,
        record: Record,
        brought: Brought<'_>,
    ) -> bool {
        let refused = self.disk_faults.writes > 0
            && self.unaware.is_none()
            && self.random.draw() % 1_000_000 < self.disk_faults.writes;
        if refused {
            self.stop(id, Stop::WriteFailed);
            return false;
        }
        self.recorder.add(id, || Told::Wrote { number, record });
        let payload = brought.payload(&record);
        self.places[id.index()].memory.apply(&record, payload);
        self.see_stamp(id, payload);
        let place = &mut self.places[id.index()];
        place.disk.write(number, record, payload);
        self.checks.on_write(id, &record, &place.memory);
        true
    }
}

/// Returns the longest slot range of a log that may travel in one message.
fn longest_run(memory: &Contents, first: Slot, up_to: Slot, longest: u32) -> SlotRange {
    let length = |slot| length(&memory.entry(slot).expect("what is to be served is in the log").0);
    let mut range = SlotRange::one(first);
    let mut bytes = length(first);
    while range.last() < up_to && range.count < longest {
        bytes += length(range.last().next());
        if bytes > RANGE_BYTES_MAX {
            break;
        }
        range.count += 1;
    }
    range
}

/// Returns the number of bytes of an entry's payload.
fn length(entry: &Entry) -> u64 {
    entry.content.payload().map_or(0, |payload| u64::from(payload.length))
}

/// Returns an entry that has passed through the wire format.
fn read_back(entry: &Entry) -> Entry {
    let mut space = [0; MESSAGE_BYTES_MAX];
    let bytes = postcard::to_slice(entry, &mut space).expect("every entry fits");
    postcard::from_bytes(bytes).expect("what was encoded can be decoded")
}
