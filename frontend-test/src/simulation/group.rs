//! A simulated group: real nodes, a simulated network, simulated disks, one clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Anchor, Config, Descriptor, Effect, Effects, Input, Members, Message, Node, NodeSet,
    ProposeError,
};
use crane_core::time::{Duration, Instant};

use super::checks::Checks;
use super::disk::{Contents, Disk, Payload};
use super::network::Network;
use super::random::Random;

/// Microseconds of simulated time.
pub type Micros = u64;

/// What is to happen at some time.
#[derive(Clone, Debug)]
enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        message: Message,
        payload: Option<Payload>,
    },
    Wake {
        node: NodeId,
    },
    Synced {
        node: NodeId,
        run: u64,
        count: usize,
    },
    Link {
        at: NodeId,
        of: NodeId,
        up: bool,
    },
    Start {
        node: NodeId,
    },
    /// A state transfer: a checkpoint taken at this anchor.
    Install {
        to: NodeId,
        anchor: Anchor,
    },
}

/// One member: a node while it runs, and a disk always.
#[derive(Debug)]
struct Place<const WINDOW: usize> {
    id: NodeId,
    node: Option<Box<Node<WINDOW>>>,
    disk: Disk,
    /// What a frontend keeps in memory: the log with its payloads, as far as it was written.
    memory: Contents,
    /// Which run of the program this is; what belongs to another one is stale.
    run: u64,
    syncing: bool,
    wake_at: Micros,
    /// The node's clock runs at `rate` thousandths of the simulated one, and started elsewhere.
    rate: u64,
    offset: u64,
    /// The commit index that its frontend has stored, at the latest.
    hint: Slot,
    /// Whether storage was lost, and the node has not voted since.
    lost: bool,
}

/// How fast disks are.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// Shortest time of a sync.
    pub min: Micros,
    /// Longest.
    pub max: Micros,
}

/// A whole group, stepped one event at a time.
#[derive(Debug)]
pub struct Group<const WINDOW: usize> {
    /// Simulated time.
    pub now: Micros,
    /// The source of all that is random.
    pub random: Random,
    /// The links.
    pub network: Network,
    /// What must hold.
    pub checks: Checks,
    /// The disks.
    pub disk_speed: DiskSpeed,
    first_members: Members,
    places: Vec<Place<WINDOW>>,
    events: BinaryHeap<Reverse<(Micros, u64)>>,
    queued: std::collections::HashMap<u64, Event>,
    sequence: u64,
    proposed: Payload,
    steps: u64,
}

impl<const WINDOW: usize> Group<WINDOW> {
    /// A new group of `count` members and some more nodes that may join, with empty disks, all about
    /// to start.
    pub fn new(
        count: usize,
        spare: usize,
        mut random: Random,
        network: Network,
        disk_speed: DiskSpeed,
    ) -> Self {
        let ids: Vec<NodeId> = (1..=(count + spare) as u8).filter_map(NodeId::new).collect();
        let members = Members::first(count);
        let places = ids
            .iter()
            .map(|id| Place {
                id: *id,
                node: None,
                disk: Disk::default(),
                memory: Contents::default(),
                run: 0,
                syncing: false,
                wake_at: Micros::MAX,
                rate: random.range(900, 1100),
                offset: random.range(0, 1 << 40),
                hint: Slot::NONE,
                lost: false,
            })
            .collect();
        let mut group = Self {
            now: 0,
            random,
            network,
            checks: Checks::new(members),
            first_members: members,
            disk_speed,
            places,
            events: BinaryHeap::new(),
            queued: Default::default(),
            sequence: 0,
            proposed: 0,
            steps: 0,
        };
        for node in ids {
            let at = group.random.range(0, 20_000);
            group.schedule(at, Event::Start { node });
        }
        group
    }

    /// The members' names.
    pub fn ids(&self) -> Vec<NodeId> {
        self.places.iter().map(|place| place.id).collect()
    }

    /// The node of this name, if it runs.
    pub fn node(&self, id: NodeId) -> Option<&Node<WINDOW>> {
        self.places[id.index()].node.as_deref()
    }

    /// Its log, as its frontend has it in memory.
    pub fn memory(&self, id: NodeId) -> &Contents {
        &self.places[id.index()].memory
    }

    /// How many steps of nodes there were.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Lets events happen up to `until`.
    pub fn run_until(&mut self, until: Micros) {
        while let Some(Reverse((at, sequence))) = self.events.peek().copied() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = self.now.max(at);
            let event = self.queued.remove(&sequence).expect("every scheduled event is kept");
            self.happen(event);
        }
        self.now = until;
    }

    /// Has some node that takes itself for the primary propose a payload.
    pub fn propose(&mut self) {
        let ids = self.ids();
        let start = self.random.range(0, ids.len() as u64) as usize;
        for offset in 0..ids.len() {
            let id = ids[(start + offset) % ids.len()];
            let now = self.local(id);
            let payload = self.proposed + 1;
            let descriptor = describe(payload);
            let Some(node) = &mut self.places[id.index()].node else { continue };
            let mut out = Effects::new();
            match node.propose(now, descriptor, &mut out) {
                Ok(slot) => {
                    self.proposed = payload;
                    self.checks.on_proposed(id, slot, payload);
                    self.carry_out(id, out, Some(payload));
                    return;
                }
                Err(ProposeError::NotPrimary { .. } | ProposeError::Full) => {}
            }
        }
    }

    /// Stops a node's program. With `power`, what is not safe on its disk may be lost.
    pub fn crash(&mut self, id: NodeId, power: bool) {
        let place = &mut self.places[id.index()];
        if place.node.take().is_none() {
            return;
        }
        place.run += 1;
        place.syncing = false;
        place.wake_at = Micros::MAX;
        if power {
            place.disk.crash(&mut self.random);
        } else {
            place.disk.flush();
        }
        self.checks.on_stopped(id);
        for other in self.ids() {
            if other != id && self.random.permille(800) {
                let at = self.now + self.random.range(50, 2_000);
                self.schedule(at, Event::Link { at: other, of: id, up: false });
            }
        }
    }

    /// Takes away all that a stopped node had stored, if the group can bear it.
    pub fn lose_disk(&mut self, id: NodeId) -> bool {
        let members = self.checks.members();
        if self.runs(id) || self.checks.may_change() {
            return false;
        }
        let votes = |place: &Place<WINDOW>| place.disk.safe().stored.standing.is_voter();
        let formed = self.places.iter().any(votes);
        let is_without = |node: NodeId| {
            let place = &self.places[node.index()];
            node != id && (place.lost || (formed && !votes(place)))
        };
        let without: NodeSet = members.voters.iter().filter(|node| is_without(*node)).collect();
        let one_more = without.union(NodeSet::EMPTY.with(id).intersection(members.voters));
        if one_more.len() > members.voters.len() - members.majority() {
            return false;
        }
        let place = &mut self.places[id.index()];
        place.lost = true;
        place.disk.wipe();
        place.hint = Slot::NONE;
        true
    }

    /// Starts a stopped node.
    pub fn start(&mut self, id: NodeId) {
        let at = self.now;
        self.schedule(at, Event::Start { node: id });
    }

    /// Cuts a node's log where it is committed and durable, as after a checkpoint.
    pub fn cut_log(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        let anchor = node.anchor();
        if place.disk.waiting() == 0 && anchor.slot > place.memory.cut() {
            place.disk.start_at(anchor);
            place.memory.start_at(anchor);
        }
    }

    /// A checkpoint has come: the node starts again from there, if that is news.
    fn install(&mut self, id: NodeId, anchor: Anchor) {
        if self.node(id).is_none_or(|node| node.committed() >= anchor.slot) {
            return;
        }
        self.crash(id, false);
        let place = &mut self.places[id.index()];
        place.disk.start_at(anchor);
        place.hint = anchor.slot;
        self.restore(id);
    }

    /// Has a primary change the members, or hand its role over, in a way drawn at random.
    pub fn reconfigure(&mut self) {
        let ids = self.ids();
        let node = *self.random.pick(&ids);
        let choice = self.random.range(0, 6);
        let lost: NodeSet =
            self.places.iter().filter(|place| place.lost).map(|place| place.id).collect();
        for id in ids {
            let now = self.local(id);
            let Some(at) = &mut self.places[id.index()].node else { continue };
            let mut members = at.members();
            match choice {
                0 => members.learners = members.learners.with(node),
                1 | 2 => {
                    members.learners = members.learners.without(node);
                    members.voters = members.voters.with(node);
                }
                3 => {
                    members.voters = members.voters.without(node);
                    members.witnesses = members.witnesses.without(node);
                }
                4 => members.witnesses = members.witnesses.with(node),
                _ => {}
            }
            // Somebody has to run the server, and people do not rely on those whose disk is lost.
            let at_hand = members.voters.difference(lost);
            if at_hand.difference(members.witnesses).is_empty() || !members.is_majority(at_hand) {
                continue;
            }
            let mut out = Effects::new();
            let done = if choice == 5 {
                at.hand_over(now, node, &mut out).is_ok()
            } else {
                at.change_members(now, members, &mut out).is_ok()
            };
            if done {
                return self.carry_out(id, out, None);
            }
        }
    }

    /// Closes the link between two nodes and opens it again soon; both notice.
    pub fn close_link(&mut self, one: NodeId, other: NodeId) {
        let up = self.now + self.random.range(1_000, 100_000);
        for (at, of) in [(one, other), (other, one)] {
            let down = self.now + self.random.range(0, 500);
            self.schedule(down, Event::Link { at, of, up: false });
            self.schedule(up, Event::Link { at, of, up: true });
        }
    }

    /// Tells a node whether it is fit to be primary.
    pub fn set_eager(&mut self, id: NodeId, eager: bool) {
        if let Some(node) = &mut self.places[id.index()].node {
            node.set_eager(eager);
        }
    }

    /// Whether a node runs.
    pub fn runs(&self, id: NodeId) -> bool {
        self.places[id.index()].node.is_some()
    }

    fn local(&self, id: NodeId) -> Instant {
        let place = &self.places[id.index()];
        Instant::from_micros(place.offset + self.now / 1000 * place.rate + self.now % 1000)
    }

    fn schedule(&mut self, at: Micros, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence)));
        self.queued.insert(self.sequence, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message, payload } => {
                if let (Some((_, descriptor)), Some(payload)) = (message.payload(), payload) {
                    assert_eq!(descriptor, describe(payload), "a payload of another entry came");
                }
                self.step(to, Input::Message { from, message }, payload);
            }
            Event::Wake { node } => {
                if self.places[node.index()].wake_at <= self.now {
                    self.places[node.index()].wake_at = Micros::MAX;
                    self.step(node, Input::Wake, None);
                }
            }
            Event::Synced { node, run, count } => {
                let place = &mut self.places[node.index()];
                if place.run != run || place.node.is_none() {
                    return;
                }
                place.syncing = false;
                if let Some(up_to) = place.disk.sync(count) {
                    self.step(node, Input::Durable { up_to }, None);
                }
                self.sync(node);
            }
            Event::Link { at, of, up } => {
                let input =
                    if up { Input::LinkUp { node: of } } else { Input::LinkDown { node: of } };
                self.step(at, input, None);
            }
            Event::Start { node } => self.restore(node),
            Event::Install { to, anchor } => self.install(to, anchor),
        }
    }

    fn restore(&mut self, id: NodeId) {
        if self.runs(id) {
            return;
        }
        let now = self.local(id);
        let nonce = self.random.draw() | 1;
        let place = &mut self.places[id.index()];
        place.run += 1;
        place.memory = place.disk.safe().clone();
        let mut config = Config::new(id, self.first_members, nonce);
        config.heartbeat = Duration::from_millis(20);
        let mut stored = place.memory.stored;
        if self.random.permille(500) {
            stored.committed = place.hint;
        }
        let node = Node::restore(config, now, stored, place.memory.slots());
        place.node = Some(Box::new(node));
        self.checks.on_started(id, self.places[id.index()].memory.cut());
        self.step(id, Input::Wake, None);
        for other in self.ids() {
            if other != id && self.runs(other) {
                let at = self.now + self.random.range(50, 5_000);
                self.schedule(at, Event::Link { at: other, of: id, up: true });
                self.schedule(at, Event::Link { at: id, of: other, up: true });
            }
        }
    }

    fn step(&mut self, id: NodeId, input: Input, payload: Option<Payload>) {
        let now = self.local(id);
        let Some(node) = &mut self.places[id.index()].node else { return };
        let mut out = Effects::new();
        node.step(now, input, &mut out);
        self.carry_out(id, out, payload);
    }

    fn carry_out(&mut self, id: NodeId, out: Effects, payload: Option<Payload>) {
        self.steps += 1;
        for effect in out {
            self.checks.on_effect(id, &effect);
            match effect {
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Write { number, record } => {
                    let place = &mut self.places[id.index()];
                    let payload = payload.filter(|_| super::checks::takes_payload(&record));
                    place.memory.apply(&record, payload);
                    place.disk.write(number, record, payload);
                    self.checks.on_write(id, &record);
                    self.sync(id);
                }
                Effect::Committed { up_to } => self.committed(id, up_to),
                Effect::ServeCatchUp { to, from, up_to } => self.serve(id, to, from, up_to),
                Effect::Role { .. } | Effect::Members { .. } => {}
            }
        }
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        if node.standing().is_voter() {
            place.lost = false;
        }
        place.hint = node.anchor().slot;
        self.checks.on_state(id, node);
        let deadline = node.deadline().as_micros().saturating_sub(place.offset);
        let at = (deadline / place.rate * 1000 + deadline % place.rate).max(self.now) + 1;
        if at < place.wake_at {
            place.wake_at = at;
            self.schedule(at, Event::Wake { node: id });
        }
    }

    fn committed(&mut self, id: NodeId, up_to: Slot) {
        let from = self.checks.committed_by(id).next();
        let mut slot = from;
        while slot <= up_to {
            let (entry, payload) = *self.places[id.index()]
                .memory
                .entry(slot)
                .expect("what is committed here was written here");
            if self.checks.on_committed(id, slot, entry, payload) {
                // Who has lost its disk may have voted with what it lost.
                let keeps = |place: &&Place<WINDOW>| {
                    place.lost || place.disk.safe().votes_for(slot, &entry)
                };
                let keepers: NodeSet =
                    self.places.iter().filter(keeps).map(|place| place.id).collect();
                let node = self.places[id.index()].node.as_ref().expect("it has just spoken");
                let enough = [node.members(), node.anchor().members, self.checks.members()]
                    .iter()
                    .any(|members| members.is_majority(keepers));
                assert!(enough, "slot {slot} was committed with copies at {keepers:?} only");
            }
            slot = slot.next();
        }
    }

    fn serve(&mut self, id: NodeId, to: NodeId, from: Slot, up_to: Slot) {
        let memory = &self.places[id.index()].memory;
        if let Some(anchor) = memory.stored.anchor
            && from <= anchor.slot
        {
            for at in self.network.arrivals(self.now, id, to, &mut self.random) {
                self.schedule(at, Event::Install { to, anchor });
            }
            return;
        }
        let mut slot = from;
        while slot <= up_to {
            let (entry, _) = *self.places[id.index()]
                .memory
                .entry(slot)
                .expect("what is to be served is in the log");
            self.send(id, to, Message::Chosen { slot, entry });
            slot = slot.next();
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let payload = message.payload().map(|(slot, descriptor)| {
            let (_, payload) = self.places[from.index()]
                .memory
                .entry(slot)
                .expect("a payload that is sent was written");
            let payload = payload.expect("an entry with a payload was written with it");
            assert_eq!(describe(payload), descriptor, "another payload was written for the slot");
            payload
        });
        // What a node says goes over the wire format.
        let mut space = [0; crane_core::paxos::MESSAGE_BYTES_MAX];
        let length = message.encode(&mut space).expect("every message fits");
        let message = Message::decode(&space[..length]).expect("what was encoded can be decoded");
        for at in self.network.arrivals(self.now, from, to, &mut self.random) {
            self.schedule(at, Event::Deliver { from, to, message, payload });
        }
    }

    fn sync(&mut self, id: NodeId) {
        let place = &self.places[id.index()];
        if place.syncing || place.disk.waiting() == 0 || place.node.is_none() {
            return;
        }
        let (run, count) = (place.run, place.disk.waiting());
        let at = self.now + self.random.range(self.disk_speed.min, self.disk_speed.max + 1);
        self.places[id.index()].syncing = true;
        self.schedule(at, Event::Synced { node: id, run, count });
    }
}

/// The descriptor of a payload: here, its length and digest are both made of its number.
pub fn describe(payload: Payload) -> Descriptor {
    Descriptor { length: 8 + (payload % 64) as u32, digest: payload }
}
