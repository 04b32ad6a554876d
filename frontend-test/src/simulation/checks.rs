//! The invariants that hold at every moment of a run.

use std::hash::{Hash, Hasher};

use crane_core::execution::Mark;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, Content, Effect, Effects, Entry, LogEnd, Members, Message, Node, Record, Role,
    StorageEpoch, VotingStatus, WriteNumber,
};

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use super::clients::{BYTES_KEPT_MAX, EntryReplica, OPS_KEPT_MAX, SEND_MAX};
use super::disk::{Contents, Payload};

/// The number of effects of a step beside sent entries: three for each other member, and eight.
const EFFECTS_OWN_MAX: usize = 3 * (NODES_MAX - 1) + 8;

/// Checks everything that nodes do. Panics if an invariant does not hold, with a message that names
/// the rule.
#[derive(Clone)]
pub struct Checks {
    /// The entry in each slot, once a node has called it committed.
    chosen: Vec<(Entry, Option<Payload>)>,
    /// The content that a node has ever written for a slot under a ballot.
    written: FxHashMap<(Slot, Ballot), Content>,
    /// The committed index of each node in this run, and its highest in all runs.
    committed: Vec<(Slot, Slot)>,
    promised: Vec<Ballot>,
    proposed: FxHashMap<Payload, Slot>,
    /// The mark at the admission of each slot, by the first server that admitted it.
    marks: FxHashMap<Slot, Mark>,
    /// The highest promise and acknowledgement of each node under each epoch of its storage.
    heard: FxHashMap<(NodeId, StorageEpoch), (Ballot, LogEnd)>,
    /// The ops that each primary has taken of each entry replica.
    taken: FxHashSet<(Ballot, NodeId, Generation, u64)>,
    members: Members,
    /// The highest slot for which a node has ever written a change of members.
    change: Slot,
    /// The timestamp of the last entry that was committed.
    timestamp: u64,
    /// The most effects that a step had.
    effects: usize,
    hash: FxHasher,
}

impl Checks {
    /// Creates the checks of a group that starts with these members.
    pub fn new(members: Members) -> Self {
        Self {
            chosen: Vec::new(),
            written: FxHashMap::default(),
            committed: vec![(Slot::NONE, Slot::NONE); NODES_MAX],
            promised: vec![Ballot::ZERO; NODES_MAX],
            proposed: FxHashMap::default(),
            marks: FxHashMap::default(),
            heard: FxHashMap::default(),
            taken: FxHashSet::default(),
            members,
            change: Slot::NONE,
            timestamp: 0,
            effects: 0,
            hash: Default::default(),
        }
    }

    /// Returns how many slots any node has committed.
    pub fn chosen(&self) -> Slot {
        Slot(self.chosen.len() as u64)
    }

    /// Returns the last slot that a node has called committed in this run.
    pub fn committed_by(&self, id: NodeId) -> Slot {
        self.committed[id.index()].0
    }

    /// Returns a number that is equal for two runs only if they had the same events.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Returns the number of proposed payloads, and how many of them are committed.
    pub fn counts(&self) -> (usize, usize) {
        let committed = self.chosen.iter().filter(|(_, payload)| payload.is_some()).count();
        (self.proposed.len(), committed)
    }

    /// The most effects that a step had.
    pub fn effects(&self) -> usize {
        self.effects
    }

    /// Returns the members, by the committed log.
    pub fn members(&self) -> Members {
        self.members
    }

    /// Returns whether the members may be others, because a change was written and its slot is
    /// open.
    pub fn may_change(&self) -> bool {
        self.change > self.chosen()
    }

    pub(super) fn on_started(&mut self, id: NodeId, cut: Slot) {
        self.committed[id.index()].0 = cut;
    }

    pub(super) fn on_stopped(&mut self, id: NodeId) {
        self.promised[id.index()] = Ballot::ZERO;
    }

    pub(super) fn on_proposed(&mut self, slot: Slot, payload: Payload) {
        self.proposed.insert(payload, slot);
    }

    pub(super) fn on_effect(&mut self, id: NodeId, effect: &Effect) {
        (id, effect).hash(&mut self.hash);
    }

    /// Adds a record of an effect to the hash of the run's events.
    pub(super) fn on_record(&mut self, number: WriteNumber, record: &Record) {
        (number, record).hash(&mut self.hash);
    }

    /// Checks that a step has few effects beside sent entries, however many entries it sends.
    pub(super) fn on_effects(&mut self, effects: &Effects) {
        self.effects = self.effects.max(effects.len());
        let carries = |effect: &Effect| {
            matches!(
                effect,
                Effect::Send { message: Message::Accept { .. } | Message::Copy { .. }, .. }
            )
        };
        let own = effects.iter().filter(|effect| !carries(effect)).count();
        assert!(own <= EFFECTS_OWN_MAX, "a step has {own} effects of its own");
    }

    /// Checks that the pending ops of an entry replica, and the bytes that its frontend keeps, are
    /// bounded.
    pub(super) fn on_kept(&self, id: NodeId, clients: &EntryReplica) {
        let (ops, bytes) = clients.kept();
        assert!(ops <= OPS_KEPT_MAX, "node {id} keeps {ops} ops for its clients");
        assert!(bytes < BYTES_KEPT_MAX + SEND_MAX, "node {id} keeps {bytes} bytes of its clients");
    }

    /// Checks that a primary takes each op of an entry replica once.
    pub(super) fn on_taken(
        &mut self,
        ballot: Ballot,
        from: NodeId,
        generation: Generation,
        ticket: u64,
    ) {
        let is_new = self.taken.insert((ballot, from, generation, ticket));
        assert!(is_new, "an op is taken twice: of node {from}, ticket {ticket}");
    }

    /// Checks that a primary bounds the undecided bytes, beside the window that bounds their
    /// number. One payload is always allowed.
    pub(super) fn on_undecided(&self, id: NodeId, lengths: &[u32], bytes_max: u64) {
        let bytes = lengths.iter().copied().map(u64::from).sum::<u64>();
        assert!(
            lengths.len() <= 1 || bytes <= bytes_max,
            "node {id} has {bytes} bytes in {} payloads undecided",
            lengths.len()
        );
    }

    /// Checks that agreed time does not go back, whichever node makes the timestamps.
    pub(super) fn on_timestamp(&mut self, slot: Slot, timestamp: u64) {
        assert!(
            timestamp > self.timestamp,
            "the timestamp of slot {slot} is {timestamp}, after {}",
            self.timestamp
        );
        self.timestamp = timestamp;
    }

    /// Checks that a node has on its disk what it promises or acknowledges, and all of that which
    /// has arrived before under this epoch.
    pub(super) fn on_said(&self, id: NodeId, message: &Message, safe: &Contents) {
        let end = LogEnd { ballot: safe.stored.accepted, slot: safe.last() };
        let promised = safe.stored.promised.max(safe.stored.accepted);
        if let Some((epoch, _)) = vote(message)
            && let Some(before) = self.heard.get(&(id, epoch))
        {
            let keeps = promised >= before.0 && end >= before.1;
            assert!(keeps, "node {id} has forgotten {before:?}: it has {promised} and {end:?}");
        }
        match *message {
            Message::Promised { ballot, .. } | Message::Prepare { ballot } => {
                // An accepted ballot counts as promised, and is stored so.
                assert!(promised >= ballot, "node {id} promises what it may forget");
            }
            Message::Accepted { ballot, up_to, epoch: Some(_), .. } => {
                assert!(safe.stored.accepted == ballot, "node {id} votes under another ballot");
                assert!(safe.last() >= up_to, "node {id} votes for what it may forget");
            }
            _ => {}
        }
    }

    /// Keeps the promise or acknowledgement that has arrived at a node that runs. One that has not
    /// counts nowhere, and nobody recalls it.
    pub(super) fn on_heard(&mut self, from: NodeId, message: &Message) {
        if let Some((epoch, (ballot, end))) = vote(message) {
            let before = self.heard.entry((from, epoch)).or_default();
            *before = (before.0.max(ballot), before.1.max(end));
        }
    }

    /// Checks that one ballot proposes one content for a slot, that one change of members is open
    /// at a time, and that a node which lost its storage votes only when the group has agreed to
    /// that.
    pub(super) fn on_write(&mut self, id: NodeId, record: &Record, memory: &Contents) {
        if let Record::VotingStatus(VotingStatus::Voter { epoch }) = *record
            && epoch != StorageEpoch::FIRST
        {
            let named = Content::Rejoin { node: id, epoch };
            let chosen = self.chosen.iter().any(|(entry, _)| entry.content == named);
            assert!(chosen, "node {id} votes before the group knows its new epoch");
        }
        if let Record::Accept { slot, entry } = record {
            if matches!(entry.content, Content::Change(_)) {
                self.change = self.change.max(*slot);
                let open = (self.chosen().0 + 1..slot.0).map(Slot);
                let mut open = open.filter_map(|slot| memory.entry(slot));
                let other = open.any(|(entry, _)| matches!(entry.content, Content::Change(_)));
                let proposes = entry.ballot.belongs_to(id);
                assert!(!(other && proposes), "two changes of members are open at once");
            }
            let content = self.written.entry((*slot, entry.ballot)).or_insert(entry.content);
            assert_eq!(*content, entry.content, "ballot {} says two things", entry.ballot);
        }
    }

    /// Checks agreement, and that each proposal is committed once. Returns whether no node has
    /// called the slot committed before.
    pub(super) fn on_committed(
        &mut self,
        id: NodeId,
        slot: Slot,
        entry: Entry,
        payload: Option<Payload>,
    ) -> bool {
        let (now, _) = &mut self.committed[id.index()];
        assert_eq!(slot, now.next(), "node {id} leaves out a slot");
        *now = slot;
        let index = slot.0 as usize - 1;
        if let Some(chosen) = self.chosen.get(index) {
            assert_eq!(*chosen, (entry, payload), "agreement: node {id}, slot {slot}");
            return false;
        }
        assert_eq!(index, self.chosen.len(), "a slot was committed before the one below it");
        if let Some(payload) = payload {
            let proposed = self.proposed[&payload];
            assert_eq!(proposed, slot, "payload {payload} was proposed for another slot");
        }
        if let Content::Change(members) = entry.content {
            self.members = members;
        }
        self.chosen.push((entry, payload));
        true
    }

    /// Checks that one script leads to one execution, whatever the timing of its arrival.
    pub(super) fn on_mark(&mut self, id: NodeId, mark: Mark) {
        let first = self.marks.entry(mark.slot).or_insert(mark);
        assert_eq!(*first, mark, "the server of node {id} went another way");
    }

    /// Checks a node's own view of its state.
    pub(super) fn on_state<const WINDOW: usize>(&mut self, id: NodeId, node: &Node<WINDOW>) {
        let promised = &mut self.promised[id.index()];
        assert!(node.ballot() >= *promised, "node {id} takes a promise back");
        *promised = node.ballot();
        let open = node.last().0 - node.snapshot().slot.0;
        assert!(open <= WINDOW as u64, "node {id} keeps {open} entries in a window of {WINDOW}");
        if node.role() == Role::Primary {
            assert!(node.ballot().belongs_to(id), "node {id} leads under another's ballot");
        }
    }
}

/// Returns the epoch of a promise or an acknowledgement, with the ballot and the end of the log.
fn vote(message: &Message) -> Option<(StorageEpoch, (Ballot, LogEnd))> {
    match *message {
        Message::Promised { epoch, ballot, .. } => Some((epoch, (ballot, LogEnd::default()))),
        Message::Accepted { epoch: Some(epoch), ballot, up_to, .. } => {
            Some((epoch, (ballot, LogEnd { ballot, slot: up_to })))
        }
        _ => None,
    }
}
