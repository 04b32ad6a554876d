//! A node of paxos, told anything by anybody, at any time, in any order: it answers within its
//! bounds or ignores it. Only what its documentation calls the caller's duty is kept: writes are
//! told to be durable when they were asked for, and after a crash it starts from what it had
//! written.
//!
//! Bytes choose what happens; numbers in messages are mostly taken from what the node itself knows
//! or has said, so that they matter. Nothing is checked of agreement, which no protocol keeps up
//! against members that lie: that is simulation's task, with honest ones.

use arbitrary::{Result, Unstructured};
use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, CATCH_UP_SLOTS_MAX, Config, Content, Descriptor, Effect, Effects, Entry, Input, Life,
    LogEnd, MESSAGE_BYTES_MAX, Members, Message, Node, Record, Standing, Stored, WriteNumber,
};
use crane_core::time::{Duration, Instant};

use crate::wire;

const STEPS_MAX: usize = 600;

/// Small, so that it fills.
type Small = Node<8>;

/// A node with its storage and what it has been heard to say.
struct Host {
    node: Small,
    config: Config,
    now: Instant,
    records: Vec<Record>,
    durable: usize,
    /// Writes of former runs.
    before: usize,
    committed: Slot,
    ballots: Vec<Ballot>,
    lives: Vec<Life>,
    nonce: u64,
}

/// Does with a node what the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut from = Unstructured::new(bytes);
    let _ = play(&mut from);
}

fn play(from: &mut Unstructured<'_>) -> Result<()> {
    let count = from.int_in_range(1..=NODES_MAX)?;
    let me = NodeId::new(from.int_in_range(1..=count as u8)?).expect("at most 7");
    let mut host = Host::new(Config::new(me, Members::first(count), 1));
    if from.arbitrary()? {
        host.records.push(Record::Standing(Standing::Voter { life: Life::FIRST }));
        host.durable = 1;
        host.crash(0);
    }
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        host.happen(from)?;
    }
    Ok(())
}

impl Host {
    fn new(config: Config) -> Self {
        let node = Node::restore(config.clone(), Instant::START, Stored::BLANK, []);
        Self {
            node,
            nonce: config.nonce,
            config,
            now: Instant::START,
            records: Vec::new(),
            durable: 0,
            before: 0,
            committed: Slot::NONE,
            ballots: vec![Ballot::ZERO],
            lives: vec![Life::FIRST],
        }
    }

    fn happen(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let mut out = Effects::new();
        let mut payload = None;
        match from.int_in_range(0..=31_u8)? {
            0..=3 => {
                let deadline = self.node.deadline();
                self.now = self.now.max(deadline);
                self.node.step(self.now, Input::Wake, &mut out);
            }
            4 => {
                self.now = self.now + Duration::from_micros(from.arbitrary::<u32>()?.into());
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
            11..=13 => {
                let descriptor = descriptor(from)?;
                payload = Some(descriptor);
                let room = self.node.capacity_left();
                let proposed = self.node.propose(self.now, descriptor, &mut out);
                assert!(proposed.is_err() || room > 0, "proposed without room");
                assert!(proposed.is_ok() || out.is_empty(), "nothing has changed");
            }
            14 => {
                let members = members(from)?;
                let changed = self.node.change_members(self.now, members, &mut out);
                assert!(changed.is_ok() || out.is_empty(), "nothing has changed");
            }
            15 => {
                let to = any_node(from)?;
                let handed = self.node.hand_over(self.now, to, &mut out);
                assert!(handed.is_ok() || out.is_empty(), "nothing has changed");
            }
            16 => self.node.set_eager(from.arbitrary()?),
            17 => {
                let more = from.int_in_range(0..=self.records.len() - self.durable)?;
                self.crash(more);
            }
            _ => {
                let Some((sender, message)) = self.message(from)? else { return Ok(()) };
                payload = message.payload().map(|(_, descriptor)| descriptor);
                self.node.step(self.now, Input::Message { from: sender, message }, &mut out);
            }
        }
        self.carry_out(&out, payload);
        Ok(())
    }

    /// A message as a peer's frame brings it: whatever can be decoded.
    fn message(&self, from: &mut Unstructured<'_>) -> Result<Option<(NodeId, Message)>> {
        let sender = any_node(from)?;
        let asked = self.ballot(from, sender)?;
        let message = match from.int_in_range(0..=15_u8)? {
            0 => Message::Hello {
                nonce: from.arbitrary()?,
                standing: self.standing(from)?,
                named: self.life(from)?,
            },
            1 => Message::HelloBack {
                nonce: if from.ratio(7, 8)? { self.nonce } else { from.arbitrary()? },
                standing: self.standing(from)?,
                named: self.life(from)?,
            },
            2 => Message::Canvass { ballot: asked },
            3 => Message::Support {
                ballot: asked,
                granted: from.arbitrary()?,
                promised: self.ballot(from, sender)?,
                committed: self.slot(from)?,
            },
            4 => Message::Prepare { ballot: asked },
            5 => Message::Promised {
                ballot: asked,
                life: self.life(from)?,
                end: LogEnd { ballot: self.ballot(from, sender)?, slot: self.slot(from)? },
                committed: self.slot(from)?,
            },
            6 => Message::Refused { ballot: asked, promised: self.ballot(from, sender)? },
            7 => Message::Fetch {
                ballot: asked,
                committed: self.slot(from)?,
                from: self.slot(from)?,
                before: self.ballot(from, sender)?,
            },
            8 => Message::Copy {
                ballot: asked,
                slot: self.slot(from)?,
                before: self.ballot(from, sender)?,
                entry: self.entry(from, sender)?,
            },
            9 => Message::Chosen { slot: self.slot(from)?, entry: self.entry(from, sender)? },
            10 | 11 => Message::Accept {
                ballot: asked,
                slot: self.slot(from)?,
                before: self.ballot(from, sender)?,
                entry: self.entry(from, sender)?,
                committed: self.slot(from)?,
                start: self.slot(from)?,
            },
            12 => Message::Accepted {
                ballot: asked,
                up_to: self.slot(from)?,
                received: self.slot(from)?,
                life: if from.ratio(3, 4)? { Some(self.life(from)?) } else { None },
                beat: from.int_in_range(0..=3)?,
            },
            13 => Message::Commit { ballot: asked, committed: self.slot(from)? },
            14 => Message::Heartbeat {
                ballot: asked,
                committed: self.slot(from)?,
                last: self.slot(from)?,
                last_ballot: self.ballot(from, sender)?,
                start: self.slot(from)?,
                beat: from.arbitrary()?,
            },
            _ => Message::Succeed { ballot: asked },
        };
        // What a peer cannot say is not told.
        let decoded = Message::decode(&wire::encoded_message(&message));
        Ok(decoded.ok().map(|message| (sender, message)))
    }

    /// The node's own ballot, one that it was heard to use, one above of the sender's, or any.
    fn ballot(&self, from: &mut Unstructured<'_>, sender: NodeId) -> Result<Ballot> {
        let own = self.node.ballot();
        Ok(match from.int_in_range(0..=15_u8)? {
            0..=4 => own,
            5..=7 => *from.choose(&self.ballots)?,
            8..=11 => Ballot { round: own.round.saturating_add(1), node: Some(sender) },
            12 => Ballot { round: own.round, node: Some(sender) },
            13 => self.node.end().ballot,
            14 => Ballot { round: u64::MAX - from.int_in_range(0..=2)?, node: Some(sender) },
            _ => {
                let node = if from.arbitrary()? { Some(any_node(from)?) } else { None };
                Ballot { round: from.int_in_range(0..=5)?, node }
            }
        })
    }

    fn slot(&self, from: &mut Unstructured<'_>) -> Result<Slot> {
        let near = match from.int_in_range(0..=15_u8)? {
            0..=5 => self.node.committed(),
            6..=11 => self.node.last(),
            12 => self.node.durable(),
            13 => Slot(u64::MAX - 2),
            _ => Slot(from.int_in_range(0..=20)?),
        };
        Ok(Slot(near.0.saturating_add(from.int_in_range(0..=4)?).saturating_sub(2)))
    }

    fn life(&self, from: &mut Unstructured<'_>) -> Result<Life> {
        if from.ratio(7, 8)? { Ok(*from.choose(&self.lives)?) } else { Ok(Life(from.arbitrary()?)) }
    }

    fn standing(&self, from: &mut Unstructured<'_>) -> Result<Standing> {
        Ok(match from.int_in_range(0..=3_u8)? {
            0 => Standing::Blank,
            1 => Standing::Ready,
            2 => Standing::Rejoining { life: self.life(from)? },
            _ => Standing::Voter { life: self.life(from)? },
        })
    }

    fn entry(&self, from: &mut Unstructured<'_>, sender: NodeId) -> Result<Entry> {
        let ballot = self.ballot(from, sender)?;
        let content = match from.int_in_range(0..=7_u8)? {
            0 => Content::Rejoin { node: any_node(from)?, life: self.life(from)? },
            1 => Content::Change(members(from)?),
            _ => Content::Payload(descriptor(from)?),
        };
        Ok(Entry { ballot, content })
    }

    /// What a driver does, and what it relies on.
    fn carry_out(&mut self, out: &Effects, payload: Option<Descriptor>) {
        for effect in out {
            match *effect {
                Effect::Send { to, message } => {
                    assert_ne!(to, self.config.me, "to itself: {message:?}");
                    assert!(wire::encoded_message(&message).len() <= MESSAGE_BYTES_MAX);
                    match message {
                        Message::Canvass { ballot } | Message::Prepare { ballot } => {
                            self.ballots.push(ballot);
                        }
                        Message::Promised { life, .. } => self.lives.push(life),
                        _ => {}
                    }
                }
                Effect::Write { number, record } => {
                    self.records.push(record);
                    assert_eq!(number.0 as usize, self.records.len() - self.before, "a gap");
                    if let Record::Accept { entry, .. } = record
                        && let Some(descriptor) = entry.content.payload()
                    {
                        assert_eq!(Some(descriptor), payload, "a payload that nobody has");
                    }
                }
                Effect::Committed { up_to } => {
                    assert!(up_to > self.committed, "the commit index only rises");
                    assert!(up_to <= self.node.last(), "committed what is not in the log");
                    self.committed = up_to;
                }
                Effect::ServeCatchUp { from, up_to, .. } => {
                    // Told or not: the first step after a start may answer before it tells.
                    let committed = self.node.committed();
                    let range = from > Slot::NONE && from <= up_to && up_to <= committed;
                    assert!(range, "{from} to {up_to} of {committed}, told {}", self.committed);
                    assert!(up_to.0 - from.0 < CATCH_UP_SLOTS_MAX);
                }
                Effect::Role { .. } | Effect::Members { .. } => {}
            }
        }
        let log = stored(&self.records).1;
        assert_eq!(log.len() as u64, self.node.last().0, "the storage has the log");
        self.ballots.truncate(64);
        self.lives.truncate(64);
    }

    /// The node is started again from what is durable, and what the disk has kept beside.
    fn crash(&mut self, more: usize) {
        self.records.truncate(self.durable + more);
        (self.durable, self.before) = (self.records.len(), self.records.len());
        self.nonce += 1;
        self.config.nonce = self.nonce;
        self.lives.push(Life(self.nonce));
        let (stored, log) = stored(&self.records);
        let log = (1..).map(Slot).zip(log);
        self.node = Node::restore(self.config.clone(), self.now, stored, log);
        self.committed = Slot::NONE;
    }
}

/// What records come to, as the log on disk reads them.
fn stored(records: &[Record]) -> (Stored, Vec<Entry>) {
    let (mut stored, mut log) = (Stored::BLANK, Vec::new());
    for record in records {
        match *record {
            Record::Promise { ballot } => {
                assert!(ballot > stored.promised, "promises only rise");
                stored.promised = ballot;
            }
            Record::Standing(standing) => stored.standing = standing,
            Record::Adopt { ballot, up_to } => {
                stored.accepted = stored.accepted.max(ballot);
                assert!(up_to.0 as usize <= log.len(), "adopted what is not there");
                log.truncate(up_to.0 as usize);
            }
            Record::Accept { slot, entry } => {
                stored.accepted = stored.accepted.max(entry.ballot);
                assert!(slot > Slot::NONE && slot.0 as usize <= log.len() + 1, "a gap");
                log.truncate(slot.0 as usize - 1);
                log.push(entry);
            }
        }
    }
    (stored, log)
}

fn any_node(from: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(NodeId::new(from.int_in_range(1..=NODES_MAX as u8)?).expect("at most 7"))
}

fn descriptor(from: &mut Unstructured<'_>) -> Result<Descriptor> {
    let length = if from.ratio(15, 16)? { from.int_in_range(0..=900)? } else { u32::MAX };
    Ok(Descriptor { length, digest: from.arbitrary::<u8>()?.into() })
}

fn members(from: &mut Unstructured<'_>) -> Result<Members> {
    let mut set = || -> Result<_> {
        let bits = from.arbitrary::<u8>()?;
        Ok((1..=7).filter(|n| bits & (1 << (n - 1)) != 0).filter_map(NodeId::new).collect())
    };
    Ok(Members { voters: set()?, learners: set()?, witnesses: set()? })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // `Unstructured` has no way back from values to bytes: any long enough input is a run.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..24).map(|_| (0..1500).map(|_| next()).collect()).collect()
}
