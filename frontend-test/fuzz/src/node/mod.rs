//! A node of paxos that gets any message from any peer, at any time and in any order. The node must
//! answer within its bounds, or ignore the message.
//!
//! The body keeps only the duties that the node's documentation gives to its caller: writes are
//! reported durable only after the node asked for them, and after a crash the node starts from what
//! it had written.
//!
//! The bytes choose the steps. Numbers in messages mostly come from the node's own state or from
//! its messages, so that they matter. So do entries, of which the node then knows a part. Many
//! messages answer one of the node, so that it makes progress. The body does not check agreement,
//! which no protocol of this kind keeps when members lie; the simulation checks it, with honest
//! members.

mod said;

use std::collections::VecDeque;

use arbitrary::{Result, Unstructured};
use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, CATCH_UP_SLOTS_MAX, Config, Descriptor, DurableState, Effect, Effects, Entry, Input,
    MESSAGE_BYTES_MAX, Members, Message, Node, RANGE_BYTES_MAX, RANGE_ENTRIES_MAX, Record,
    StorageEpoch, VotingStatus, WriteNumber,
};
use crane_core::time::{Duration, Instant};

use said::{any_node, descriptor, length_of_range};

use crate::wire;

const STEPS_MAX: usize = 600;

/// The number of the node's last messages that may be answered.
const ASKED_MAX: usize = 16;

/// A window so small that it fills.
const NARROW: usize = 8;

/// A window that is full after two whole slot ranges.
const WIDE: usize = 128;

/// A node with its storage, and with the messages that it has sent.
struct Host<const WINDOW: usize> {
    node: Node<WINDOW>,
    config: Config,
    now: Instant,
    records: Vec<Record>,
    /// The state that the records add up to.
    storage: Storage,
    durable: usize,
    /// The number of writes of former runs.
    before: usize,
    committed: Slot,
    ballots: Vec<Ballot>,
    epochs: Vec<StorageEpoch>,
    /// The node's messages, the last first.
    asked: VecDeque<(NodeId, Message)>,
    nonce: u64,
}

/// Runs a node with the steps that the bytes choose.
pub(crate) fn run(bytes: &[u8]) {
    let mut from = Unstructured::new(bytes);
    let _ = play(&mut from);
}

fn play(from: &mut Unstructured<'_>) -> Result<()> {
    let count = from.int_in_range(1..=NODES_MAX)?;
    let me = NodeId::new(from.int_in_range(1..=count as u8)?).expect("at most 7");
    let mut config = Config::new(me, Members::first(count), 1);
    config.storage_check = Duration::from_millis(*from.choose(&[0, 50, 10_000])?);
    if from.ratio(2, 3)? {
        Host::<NARROW>::new(config).live(from)
    } else {
        Host::<WIDE>::new(config).live(from)
    }
}

/// The payloads of an input, by slot; `None` where an entry has no payload.
struct InputPayloads {
    first: Slot,
    payloads: Vec<Option<Descriptor>>,
}

impl InputPayloads {
    const NONE: Self = Self { first: Slot::NONE, payloads: Vec::new() };

    fn payload(&self, slot: Slot) -> Option<Descriptor> {
        let place = slot.0.checked_sub(self.first.0)?;
        *self.payloads.get(usize::try_from(place).ok()?)?
    }
}

impl<const WINDOW: usize> Host<WINDOW> {
    fn live(mut self, from: &mut Unstructured<'_>) -> Result<()> {
        if from.ratio(7, 8)? {
            self.records
                .push(Record::VotingStatus(VotingStatus::Voter { epoch: StorageEpoch::FIRST }));
            self.durable = 1;
            self.crash(0);
        }
        for _ in 0..STEPS_MAX {
            if from.is_empty() {
                break;
            }
            self.happen(from)?;
        }
        Ok(())
    }

    fn new(config: Config) -> Self {
        let node = Node::restore(config.clone(), Instant::START, DurableState::BLANK, []);
        Self {
            node,
            nonce: config.nonce,
            config,
            now: Instant::START,
            records: Vec::new(),
            storage: Storage::new(),
            durable: 0,
            before: 0,
            committed: Slot::NONE,
            ballots: vec![Ballot::ZERO],
            epochs: vec![StorageEpoch::FIRST],
            asked: VecDeque::new(),
        }
    }

    fn happen(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let mut out = Effects::new();
        let mut payloads = InputPayloads::NONE;
        match from.int_in_range(0..=31_u8)? {
            0..=3 => {
                let deadline = self.node.deadline();
                self.now = self.now.max(deadline);
                self.node.step(self.now, Input::Wake, &mut out);
            }
            4 => {
                let most = if from.ratio(7, 8)? { 30_000 } else { u32::MAX };
                let time = Duration::from_micros(from.int_in_range(0..=most)?.into());
                self.now = self.now + time;
                self.node.step(self.now, Input::Wake, &mut out);
            }
            5 => {
                let node = any_node(from)?;
                let up = from.arbitrary()?;
                if node == self.config.me {
                    return Ok(());
                }
                let input = if up { Input::LinkUp { node } } else { Input::LinkDown { node } };
                self.node.step(self.now, input, &mut out);
            }
            6..=10 => {
                let written = self.records.len();
                self.durable = from
                    .int_in_range(self.durable..=written)?
                    .max(if from.arbitrary()? { written } else { 0 });
                let up_to = WriteNumber(self.durable.saturating_sub(self.before) as u64);
                self.node.step(self.now, Input::Durable { up_to }, &mut out);
            }
            11..=13 => payloads = self.propose(from, &mut out)?,
            14 => {
                let members = self.members(from)?;
                let changed = self.node.change_members(self.now, members, &mut out);
                assert!(changed.is_ok() || out.is_empty(), "a refused change has effects");
            }
            15 => {
                let to = any_node(from)?;
                let transferred = self.node.transfer_leadership(self.now, to, &mut out);
                assert!(transferred.is_ok() || out.is_empty(), "a refused transfer has effects");
            }
            16 => self.node.set_in_step(from.arbitrary()?),
            17 => {
                let more = from.int_in_range(0..=self.records.len() - self.durable)?;
                self.crash(more);
            }
            18..=24 => {
                let Some((sender, message)) = self.answer(from)? else { return Ok(()) };
                payloads = self.hear(from, sender, &message, &mut out)?;
            }
            _ => {
                let followed = self.node.primary().filter(|node| *node != self.config.me);
                let any = any_node(from)?;
                let sender = if from.arbitrary()? { followed.unwrap_or(any) } else { any };
                let Some(message) = self.message(from, sender)? else { return Ok(()) };
                payloads = self.hear(from, sender, &message, &mut out)?;
            }
        }
        self.carry_out(&out, &payloads);
        Ok(())
    }

    fn hear(
        &mut self,
        from: &mut Unstructured<'_>,
        sender: NodeId,
        message: &Message,
        out: &mut Effects,
    ) -> Result<InputPayloads> {
        let entries = self.entries(from, sender, message.range())?;
        self.node.step(self.now, Input::Message { from: sender, message, entries: &entries }, out);
        let named = message.range().map_or(0, |range| range.count as usize);
        let is_whole = named == entries.len() && named <= RANGE_ENTRIES_MAX;
        let appended = out.iter().any(|effect| matches!(effect, Effect::Append { .. }));
        assert!(is_whole || !appended, "{message:?} with {} entries", entries.len());
        let first = message.range().map_or(Slot::NONE, |range| range.first);
        let payloads = entries.iter().map(|entry| entry.content.payload()).collect();
        Ok(InputPayloads { first, payloads })
    }

    fn propose(&mut self, from: &mut Unstructured<'_>, out: &mut Effects) -> Result<InputPayloads> {
        let count = length_of_range(from)?;
        let descriptors = (0..count).map(|_| descriptor(from)).collect::<Result<Vec<_>>>()?;
        let (first, room) = (self.node.last().next(), self.node.capacity_left());
        match self.node.propose(self.now, &descriptors, out) {
            Ok(taken) => {
                assert!(taken <= room && taken <= count, "more payloads were proposed than fit");
                assert!(taken > 0 || count == 0, "no payload was proposed");
                assert_eq!(self.node.last().next().0, first.0 + taken as u64);
            }
            Err(_) => assert!(out.is_empty(), "a refused proposal has effects"),
        }
        Ok(InputPayloads { first, payloads: descriptors.into_iter().map(Some).collect() })
    }

    /// Carries out effects as a driver does, and checks the properties that a driver relies on.
    fn carry_out(&mut self, out: &Effects, payloads: &InputPayloads) {
        for effect in out {
            match *effect {
                Effect::Send { to, message } => {
                    assert_ne!(to, self.config.me, "the node sends to itself: {message:?}");
                    self.send(&message);
                    self.asked.push_front((to, message));
                }
                Effect::Write { number, record } => {
                    assert!(
                        !matches!(record, Record::Accept { .. }),
                        "an entry was written, not appended"
                    );
                    self.write(number, record);
                }
                Effect::Append { number, range } => {
                    let records: Vec<_> = self.node.records(number, range).collect();
                    assert_eq!(records.len(), range.count as usize);
                    for ((number, record), slot) in records.into_iter().zip(range.slots()) {
                        let Record::Accept { slot: of, entry } = record else {
                            panic!("a record without an entry was appended: {record:?}");
                        };
                        assert_eq!(of, slot);
                        if let Some(payload) = entry.content.payload() {
                            let known = payloads.payload(slot);
                            assert_eq!(Some(payload), known, "a payload that the driver lacks");
                        }
                        self.write(number, record);
                    }
                }
                Effect::Committed { up_to } => {
                    assert!(up_to > self.committed, "the committed index does not rise");
                    assert!(up_to <= self.node.last(), "a committed slot is not in the log");
                    self.committed = up_to;
                }
                Effect::ServeCatchUp { from, up_to, .. } => {
                    // The first step after a start may serve slots before it reports them
                    // committed.
                    let committed = self.node.committed();
                    let range = from > Slot::NONE && from <= up_to && up_to <= committed;
                    assert!(range, "{from} to {up_to} of {committed}, reported {}", self.committed);
                    assert!(up_to.0 - from.0 < CATCH_UP_SLOTS_MAX);
                }
                Effect::Role { .. } | Effect::Members { .. } => {}
            }
        }
        assert_eq!(
            self.storage.log.len() as u64,
            self.node.last().0,
            "the storage lacks a part of the log"
        );
        self.ballots.truncate(64);
        self.epochs.truncate(64);
        self.asked.truncate(ASKED_MAX);
    }

    /// Checks that the entries of a sent message are in the storage at that time.
    fn send(&mut self, message: &Message) {
        assert!(wire::encoded_message(message).len() <= MESSAGE_BYTES_MAX);
        match *message {
            Message::PreVote { ballot } | Message::Prepare { ballot } => self.ballots.push(ballot),
            Message::Promised { epoch, .. } => self.epochs.push(epoch),
            Message::Accept { before, range, .. } | Message::Copy { before, range, .. } => {
                let previous = self.storage.entry(Slot(range.first.0 - 1));
                let there = previous.map_or(Ballot::ZERO, |entry| entry.ballot);
                assert_eq!(before, there, "the ballot before {range:?}");
            }
            _ => {}
        }
        let Some(range) = message.range() else { return };
        assert!((1..=RANGE_ENTRIES_MAX).contains(&(range.count as usize)), "{range:?}");
        let length = |slot| {
            let entry = self.storage.entry(slot).expect("a sent entry was written");
            entry.content.payload().map_or(0, |payload| u64::from(payload.length))
        };
        let bytes: u64 = range.slots().map(length).sum();
        assert!(bytes <= RANGE_BYTES_MAX || range.count == 1, "{range:?} has {bytes} bytes");
    }

    fn write(&mut self, number: WriteNumber, record: Record) {
        self.records.push(record);
        assert_eq!(number.0 as usize, self.records.len() - self.before, "a gap between writes");
        self.storage.write(&record);
    }

    /// Restarts the node from its durable records and from `more` records that the disk has kept.
    fn crash(&mut self, more: usize) {
        self.records.truncate(self.durable + more);
        (self.durable, self.before) = (self.records.len(), self.records.len());
        self.nonce += 1;
        self.config.nonce = self.nonce;
        self.epochs.push(StorageEpoch(self.nonce));
        self.storage = Storage::new();
        self.records.iter().for_each(|record| self.storage.write(record));
        let log = (1..).map(Slot).zip(self.storage.log.iter().copied());
        self.node = Node::restore(self.config.clone(), self.now, self.storage.stored, log);
        self.committed = Slot::NONE;
    }
}

/// The state that records add up to, as the log on disk restores it.
struct Storage {
    stored: DurableState,
    log: Vec<Entry>,
}

impl Storage {
    const fn new() -> Self {
        Self { stored: DurableState::BLANK, log: Vec::new() }
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.log.get(usize::try_from(slot.0.checked_sub(1)?).ok()?)
    }

    fn write(&mut self, record: &Record) {
        let Self { stored, log } = self;
        match *record {
            Record::Promise { ballot } => {
                assert!(ballot > stored.promised, "a promise does not rise");
                stored.promised = ballot;
            }
            Record::VotingStatus(voting) => stored.voting = voting,
            Record::Adopt { ballot, up_to } => {
                stored.accepted = stored.accepted.max(ballot);
                assert!(up_to.0 as usize <= log.len(), "an adopted slot is not in the log");
                log.truncate(up_to.0 as usize);
            }
            Record::Accept { slot, entry } => {
                stored.accepted = stored.accepted.max(entry.ballot);
                assert!(slot > Slot::NONE && slot.0 as usize <= log.len() + 1, "a gap in the log");
                log.truncate(slot.0 as usize - 1);
                log.push(entry);
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // `Unstructured` cannot turn values into bytes, but any long input makes a run.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..24).map(|seed| (0..1000 + 120 * seed).map(|_| next()).collect()).collect()
}
