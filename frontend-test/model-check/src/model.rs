//! A small group as a model: real nodes, messages that may arrive in any order or never, and disks.
//!
//! The model has no time: the effects of a timer may happen at any moment. A pre-vote is always
//! granted. As a pre-vote only holds candidacies back, the search covers more than what can happen.

use std::collections::BTreeMap;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, MESSAGE_BYTES_MAX,
    Members, Message, Node, RANGE_ENTRIES_MAX, Record, Role, SlotRange, StorageEpoch, VotingStatus,
    WriteNumber,
};
use crane_core::time::Instant;
use stateright::{Model, Property};

const WINDOW: usize = 4;
/// The entry that is proposed before the search begins.
const A: Descriptor = Descriptor { length: 1, digest: 101 };
const B: Descriptor = Descriptor { length: 1, digest: 102 };
const C: Descriptor = Descriptor { length: 1, digest: 103 };
const ENVELOPE_BYTES_MAX: usize = MESSAGE_BYTES_MAX * (1 + WINDOW);
const NOW: Instant = Instant::START;

/// The bounds of the search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The number of members.
    pub nodes: usize,
    /// Whether two former primaries have left logs that differ.
    pub begun: bool,
    /// How often a node starts an election.
    pub candidacies: u8,
    /// How many payloads are proposed.
    pub proposals: u8,
    /// How many payloads are proposed at once, at most.
    pub at_once: u8,
    /// How often a primary removes a member.
    pub removals: u8,
    /// How often a node stops and starts again.
    pub crashes: u8,
    /// How often a node loses its storage and starts again.
    pub losses: u8,
    /// Whether writes become durable later, so that a crash before that loses them.
    pub slow_disks: bool,
}

/// The model of a group within bounds.
#[derive(Clone)]
pub struct Group(pub Bounds);

/// A state of the group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    members: Vec<Member>,
    /// The messages in flight, sorted so that equal sets are equal states. Each arrives once or
    /// never.
    messages: BTreeMap<Envelope, u8>,
    /// The content of each slot that was first committed there.
    decided: Vec<Content>,
    candidacies: u8,
    proposals: u8,
    removals: u8,
    crashes: u8,
    losses: u8,
    agreed: bool,
}

/// A sender, a receiver, and a message with the entries of its slot range, encoded.
type Envelope = (u8, u8, Vec<u8>);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Member {
    node: Node<WINDOW>,
    disk: Disk,
    unsafe_writes: Vec<(WriteNumber, Record)>,
    memory: Disk,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Disk {
    stored: DurableState,
    log: Vec<Entry>,
}

/// A possible next step.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    StartElection(u8),
    Propose(u8, u8),
    Deliver(u8, u8, Message, Vec<Entry>),
    Sync(u8),
    Remove(u8, u8),
    Restart(u8),
    Lose(u8),
    Ask(u8),
}

impl Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
        let stored = DurableState { voting, ..DurableState::BLANK };
        let disk = Disk { stored, log: Vec::new() };
        let member = |number| Member {
            node: self.restore(number, &disk),
            disk: disk.clone(),
            unsafe_writes: Vec::new(),
            memory: disk.clone(),
        };
        let mut state = State {
            members: (1..=self.0.nodes as u8).map(member).collect(),
            messages: BTreeMap::new(),
            decided: Vec::new(),
            candidacies: 0,
            proposals: 0,
            removals: 0,
            crashes: 0,
            losses: 0,
            agreed: true,
        };
        if self.0.begun {
            Group(Bounds { slow_disks: false, ..self.0 }).begin(&mut state);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, member) in state.members.iter().enumerate() {
            let number = index as u8 + 1;
            let role = member.node.role();
            if state.candidacies < self.0.candidacies && role != Role::Primary {
                actions.push(Action::StartElection(number));
            }
            if role == Role::Primary {
                let most = self.0.at_once.min(self.0.proposals - state.proposals);
                actions.extend((1..=most).map(|count| Action::Propose(number, count)));
            }
            if !member.unsafe_writes.is_empty() {
                actions.push(Action::Sync(number));
            }
            if state.removals < self.0.removals && role == Role::Primary {
                let removed = (1..=self.0.nodes as u8).map(|other| Action::Remove(number, other));
                actions.extend(removed);
            }
            if state.crashes < self.0.crashes {
                actions.push(Action::Restart(number));
            }
            if state.losses < self.0.losses && member.node.voting().is_voter() {
                actions.push(Action::Lose(number));
            }
            if matches!(member.node.voting(), VotingStatus::Rejoining { .. }) {
                actions.push(Action::Ask(number));
            }
        }
        for (from, to, bytes) in state.messages.keys() {
            let (message, entries) = decode(bytes);
            actions.push(Action::Deliver(*from, *to, message, entries));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::StartElection(number) => {
                state.candidacies += 1;
                self.start_election(&mut state, number);
            }
            Action::Propose(number, count) => {
                let before = u64::from(state.proposals);
                let digests = before + 1..=before + u64::from(count);
                let payloads: Vec<_> =
                    digests.map(|digest| Descriptor { length: 1, digest }).collect();
                state.proposals += self.propose(&mut state, number, &payloads)? as u8;
            }
            Action::Deliver(from, to, message, entries) => {
                take(&mut state.messages, &(from, to, encode(&message, &entries)));
                self.hear(&mut state, to, from, &message, &entries);
            }
            Action::Sync(number) => self.sync(&mut state, number),
            Action::Remove(number, other) => {
                state.removals += 1;
                let node = &mut state.members[number as usize - 1].node;
                let mut members = node.members();
                members.voters = members.voters.without(id(other));
                let mut out = Effects::new();
                node.change_members(NOW, members, &mut out).ok()?;
                self.carry_out(&mut state, number, out);
            }
            Action::Lose(number) => {
                state.losses += 1;
                // The node has heard that the group exists, and rejoins it.
                let voting =
                    VotingStatus::Rejoining { epoch: StorageEpoch(u64::from(state.losses)) };
                let stored = DurableState { voting, ..DurableState::BLANK };
                let disk = Disk { stored, log: Vec::new() };
                let member = &mut state.members[number as usize - 1];
                member.node = self.restore(number, &disk);
                (member.memory, member.disk) = (disk.clone(), disk);
                member.unsafe_writes.clear();
            }
            // The node's request and the effect of a heartbeat reach a primary in one step.
            Action::Ask(number) => {
                let voting = state.members[number as usize - 1].node.voting();
                let hello = Message::Hello { nonce: 1, voting, named: StorageEpoch::FIRST };
                for other in 1..=self.0.nodes as u8 {
                    if state.members[other as usize - 1].node.role() == Role::Primary {
                        self.hear(&mut state, other, number, &hello, &[]);
                        self.step(&mut state, other, Input::LinkUp { node: id(number) });
                    }
                }
            }
            Action::Restart(number) => {
                state.crashes += 1;
                let member = &mut state.members[number as usize - 1];
                member.unsafe_writes.clear();
                member.memory = member.disk.clone();
                member.node = self.restore(number, &member.disk);
            }
        }
        for member in &mut state.members {
            member.node.forget_time();
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("committed entries are agreed on and stay", |_, state: &State| {
                state.agreed
            }),
            Property::sometimes("all payloads are committed", |group: &Group, state: &State| {
                state.decided.len()
                    == 2 * usize::from(group.0.begun) + usize::from(group.0.proposals)
            }),
        ]
    }
}

impl Group {
    /// Leaves logs that differ: node 1 leads and proposes two payloads, of which node 3 gets the
    /// first. Then node 2 leads, adopts that payload and proposes another. At last all nodes
    /// restart, and the messages in flight are lost.
    fn begin(&self, state: &mut State) {
        self.start_election(state, 1);
        self.pass(state, 1, 3);
        self.pass(state, 3, 1);
        self.propose(state, 1, &[A]);
        self.pass(state, 1, 3);
        self.propose(state, 1, &[B]);
        state.messages.clear();
        self.start_election(state, 2);
        for _ in ["promise", "entry"] {
            self.pass(state, 2, 3);
            self.pass(state, 3, 2);
        }
        self.propose(state, 2, &[C]);
        state.messages.clear();
        let mut logs = Vec::new();
        for (number, member) in (1..).zip(&mut state.members) {
            member.node = self.restore(number, &member.disk);
            logs.push(member.disk.log.iter().map(|entry| entry.content).collect::<Vec<_>>());
        }
        let [a, b, c] = [A, B, C].map(Content::Payload);
        assert_eq!(logs, [vec![a, b], vec![a, c], vec![a]]);
        // A quorum has the first payload, even if no node knows that.
        state.decided = vec![a];
    }

    /// Delivers the messages in flight from one node to another.
    fn pass(&self, state: &mut State, from: u8, to: u8) {
        let in_flight = |(other, at, _): &&Envelope| (*other, *at) == (from, to);
        let envelopes: Vec<_> = state.messages.keys().filter(in_flight).cloned().collect();
        for envelope in envelopes {
            take(&mut state.messages, &envelope);
            let (message, entries) = decode(&envelope.2);
            self.hear(state, to, from, &message, &entries);
        }
    }

    /// Proposes payloads. Returns how many the node took, or `None` if it refused.
    fn propose(&self, state: &mut State, number: u8, payloads: &[Descriptor]) -> Option<usize> {
        let mut out = Effects::new();
        let node = &mut state.members[number as usize - 1].node;
        let taken = node.propose(NOW, payloads, &mut out).ok()?;
        self.carry_out(state, number, out);
        Some(taken)
    }

    fn restore(&self, number: u8, disk: &Disk) -> Node<WINDOW> {
        let config = Config::new(id(number), Members::first(self.0.nodes), 1);
        let slots = (1..).map(Slot).zip(disk.log.iter().copied());
        let mut node = Node::restore(config, NOW, disk.stored, slots);
        node.forget_time();
        node
    }

    /// Lets a node's timer run out, and grants its pre-vote.
    fn start_election(&self, state: &mut State, number: u8) {
        let node = &mut state.members[number as usize - 1].node;
        let mut out = Effects::new();
        node.step(Instant::from_micros(u64::MAX / 2), Input::Wake, &mut out);
        let asked = out.iter().find_map(|effect| match *effect {
            Effect::Send { to, message: Message::PreVote { ballot } } => Some((to, ballot)),
            _ => None,
        });
        node.forget_time();
        self.carry_out(state, number, out);
        let Some((_, ballot)) = asked else { return };
        for other in (1..=self.0.nodes as u8).filter(|other| *other != number) {
            let (promised, committed) = (Default::default(), Slot::NONE);
            let message = Message::PreVoteReply { ballot, granted: true, promised, committed };
            self.hear(state, number, other, &message, &[]);
        }
    }

    fn hear(&self, state: &mut State, to: u8, from: u8, message: &Message, entries: &[Entry]) {
        self.step(state, to, Input::Message { from: id(from), message, entries });
    }

    fn step(&self, state: &mut State, number: u8, input: Input) {
        let mut out = Effects::new();
        state.members[number as usize - 1].node.step(NOW, input, &mut out);
        self.carry_out(state, number, out);
    }

    fn carry_out(&self, state: &mut State, number: u8, out: Effects) {
        for effect in out {
            match effect {
                Effect::Send { to, message }
                    if self.matters(&state.members[number as usize - 1].node, &message) =>
                {
                    state.send(number, to, &message);
                }
                Effect::Write { number: write, record } => {
                    state.members[number as usize - 1].write(write, record);
                }
                Effect::Append { number: first, range } => {
                    let member = &mut state.members[number as usize - 1];
                    let records: Vec<_> = member.node.records(first, range).collect();
                    records.into_iter().for_each(|(write, record)| member.write(write, record));
                }
                Effect::Committed { up_to } => state.committed(number, up_to),
                Effect::ServeCatchUp { to, from, up_to } => {
                    let range = SlotRange::between(from, up_to);
                    assert!(range.count as usize <= RANGE_ENTRIES_MAX, "the window is shorter");
                    state.send(number, to, &Message::Chosen { range });
                }
                _ => {}
            }
        }
        if !self.0.slow_disks && !state.members[number as usize - 1].unsafe_writes.is_empty() {
            self.sync(state, number);
        }
    }

    /// Returns whether a message can influence which entries are chosen. Others are dropped.
    fn matters(&self, from: &Node<WINDOW>, message: &Message) -> bool {
        match message {
            Message::PreVote { .. } | Message::PreVoteReply { .. } | Message::Commit { .. } => {
                false
            }
            Message::Refused { .. } | Message::Hello { .. } | Message::HelloBack { .. } => false,
            // Without a vote, the answer only says where to continue. That matters after a loss,
            // and for a log that differs from the primary's.
            Message::Accepted { epoch, .. } => {
                epoch.is_some() || !from.voting().is_voter() || self.0.begun
            }
            _ => true,
        }
    }

    fn sync(&self, state: &mut State, number: u8) {
        let member = &mut state.members[number as usize - 1];
        let mut up_to = WriteNumber(0);
        for (write, record) in std::mem::take(&mut member.unsafe_writes) {
            member.disk.apply(&record);
            up_to = write;
        }
        self.step(state, number, Input::Durable { up_to });
    }
}

impl State {
    /// Sends a message, with the entries of its slot range from the sender's log.
    fn send(&mut self, from: u8, to: NodeId, message: &Message) {
        let log = &self.members[from as usize - 1].memory.log;
        let entries = match message.range() {
            Some(SlotRange { first, count }) => &log[first.0 as usize - 1..][..count as usize],
            None => &[],
        };
        let envelope = (from, to.number(), encode(message, entries));
        *self.messages.entry(envelope).or_default() = 1;
    }

    fn committed(&mut self, number: u8, up_to: Slot) {
        let log = &self.members[number as usize - 1].memory.log;
        for (index, entry) in log[..up_to.0 as usize].iter().enumerate() {
            match self.decided.get(index) {
                None => self.decided.push(entry.content),
                Some(decided) => self.agreed &= *decided == entry.content,
            }
        }
    }
}

impl Member {
    fn write(&mut self, number: WriteNumber, record: Record) {
        self.memory.apply(&record);
        self.unsafe_writes.push((number, record));
    }
}

impl Disk {
    fn apply(&mut self, record: &Record) {
        match *record {
            Record::Promise { ballot } => self.stored.promised = ballot,
            Record::Accept { slot, entry } => {
                self.log.truncate(slot.0 as usize - 1);
                self.log.push(entry);
                self.stored.accepted = self.stored.accepted.max(entry.ballot);
            }
            Record::Adopt { ballot, up_to } => {
                self.log.truncate(up_to.0 as usize);
                self.stored.accepted = self.stored.accepted.max(ballot);
            }
            Record::VotingStatus(voting) => self.stored.voting = voting,
        }
    }
}

fn take(messages: &mut BTreeMap<Envelope, u8>, envelope: &Envelope) {
    messages.remove(envelope).expect("a delivered message was in flight");
}

fn encode(message: &Message, entries: &[Entry]) -> Vec<u8> {
    let mut space = [0; ENVELOPE_BYTES_MAX];
    let bytes = postcard::to_slice(&(message, entries), &mut space).expect("every message fits");
    bytes.to_vec()
}

fn decode(bytes: &[u8]) -> (Message, Vec<Entry>) {
    postcard::from_bytes(bytes).expect("an encoded message can be decoded")
}

fn id(number: u8) -> NodeId {
    NodeId::new(number).expect("a small number")
}
