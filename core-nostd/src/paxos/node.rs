//! One member of the group, as a state machine: its state, and which handler sees an input.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::time::{Duration, Instant};

use super::acceptor::PrimarySeen;
use super::candidate::Promise;
use super::primary::Leadership;
use super::replication::{Acknowledged, Progress};
use super::window::Window;
use super::{
    Ballot, Config, Effect, Effects, Entry, Input, Members, Message, Reason, Record, Role,
    SnapshotMeta, StorageEpoch, VotingStatus, WriteNumber,
};

/// A member of the group. `WINDOW` is how many slots may be undecided, or decided and not yet
/// durable here; it is the same on all nodes, does not shrink over a group's life, and is best a
/// power of two.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node<const WINDOW: usize> {
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) random: u64,
    pub(super) in_step: bool,

    // What this node has accepted.
    pub(super) promised: Ballot,
    pub(super) promise_write: WriteNumber,
    pub(super) answer_due: bool,
    pub(super) accepted: Ballot,
    pub(super) accepted_write: WriteNumber,
    pub(super) log: Window<WINDOW>,
    pub(super) committed: Slot,
    pub(super) durable: Slot,
    pub(super) written: WriteNumber,
    pub(super) settled: WriteNumber,

    // Whether it may vote.
    pub(super) voting: VotingStatus,
    pub(super) voting_due: Option<(WriteNumber, VotingStatus)>,
    pub(super) rejoined: Option<Slot>,
    pub(super) epochs_used: u64,
    pub(super) named: StorageEpoch,
    pub(super) met: [Option<VotingStatus>; NODES_MAX],
    pub(super) hello_at: Instant,

    // Whom it follows, and how long it waits for that one.
    pub(super) following: Option<Ballot>,
    pub(super) matched: Slot,
    pub(super) acknowledged: Slot,
    pub(super) vote_told: bool,
    pub(super) primary_heard: Instant,
    pub(super) own_timeout: Duration,
    pub(super) election_at: Instant,
    pub(super) attempts: u8,
    pub(super) why: Reason,
    pub(super) learning: Option<(NodeId, Slot)>,
    pub(super) ballot_seen: Ballot,
    pub(super) heard: [Option<Instant>; NODES_MAX],

    // What it does, and what that needs.
    pub(super) part: RoleState,
    pub(super) promises: [Option<Promise>; NODES_MAX],
    pub(super) lead: Leadership,
    pub(super) progress: [Progress; NODES_MAX],

    // What the driver was told.
    role_emitted: Role,
    committed_emitted: Slot,
    members_emitted: Members,
}

/// What a node does at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RoleState {
    /// Waits, or follows a primary.
    Backup,
    /// Asks whether it would be elected.
    PreCandidate { ballot: Ballot, granted: super::NodeSet },
    /// Collects promises, then entries.
    Candidate(super::candidate::Candidacy),
    /// Proposes under this ballot.
    Primary { ballot: Ballot },
}

/// What stable storage holds when a node starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DurableState {
    /// From the last [`Record::Promise`]; zero if there is none.
    pub promised: Ballot,
    /// From the last [`Record::VotingStatus`].
    pub voting: VotingStatus,
    /// The highest ballot in any [`Record::Accept`] or [`Record::Adopt`], also if that entry is no
    /// longer part of the log; zero if there is none.
    pub accepted: Ballot,
    /// Every slot up to here is known to have been committed. A hint: 0 is right, too. The frontend
    /// writes it when it likes to, and what it keeps here it may also admit before anyone is heard.
    pub committed: Slot,
    /// Where the log starts, if its front has been cut off; everything below is committed.
    pub snapshot: Option<SnapshotMeta>,
}

impl DurableState {
    /// An empty data directory.
    pub const BLANK: DurableState = DurableState {
        promised: Ballot::ZERO,
        accepted: Ballot::ZERO,
        voting: VotingStatus::Blank,
        committed: Slot::NONE,
        snapshot: None,
    };
}

/// What a node knows of another member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Contact {
    /// When it was last heard from, since this node's start.
    pub heard: Option<Instant>,
    /// As primary: up to which slot its log is durable and this one's, as far as is known.
    pub matched: Slot,
}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Starts a node from what its storage holds. `log` gives every entry that is in the log, in
    /// the order of the slots and without gaps, from slot 1 or from the one after the snapshot.
    /// Nothing comes out; call with [`Input::Wake`] next.
    ///
    /// # Panics
    /// When `config` or `log` break what is said here and in [`Config`].
    pub fn restore(
        config: Config,
        now: Instant,
        stored: DurableState,
        log: impl IntoIterator<Item = (Slot, Entry)>,
    ) -> Self {
        assert!(config.nonce != 0, "a nonce of 0 is no nonce");
        assert!(config.members.is_sound(), "the members do not fit together");
        let snapshot = stored.snapshot.unwrap_or(SnapshotMeta::genesis(config.members));
        let mut window = Window::new(snapshot);
        let mut rejoined = match stored.voting {
            VotingStatus::Rejoining { epoch } | VotingStatus::Voter { epoch }
                if epoch != StorageEpoch::FIRST && snapshot.epoch(config.me) == epoch =>
            {
                Some(snapshot.slot)
            }
            _ => None,
        };
        for (slot, entry) in log {
            assert_eq!(slot, window.last().next(), "the log has a gap");
            // What did not fit at the time was not accepted: that it is here shows how much was
            // committed by then.
            if !window.has_room(slot) {
                window.release(Slot(slot.0 - WINDOW as u64));
            }
            if stored.voting.is_named_by(config.me, &entry.content) {
                rejoined = Some(slot);
            }
            window.append(entry, WriteNumber(0));
        }
        let committed = stored.committed.min(window.last()).max(window.base().slot);
        window.release(committed);
        let accepted = stored.accepted.max(window.end().ballot);
        let last = window.last();
        let members_emitted = window.end().members;
        let mut node = Self {
            now,
            random: config.nonce ^ (u64::from(config.me.number()) << 56),
            in_step: true,
            promised: stored.promised.max(accepted),
            promise_write: WriteNumber(0),
            answer_due: false,
            accepted,
            accepted_write: WriteNumber(0),
            log: window,
            committed,
            durable: last,
            written: WriteNumber(0),
            settled: WriteNumber(0),
            voting: stored.voting,
            voting_due: None,
            rejoined,
            epochs_used: 0,
            named: StorageEpoch::FIRST,
            met: [None; NODES_MAX],
            hello_at: now,
            following: None,
            matched: committed,
            acknowledged: Slot::NONE,
            vote_told: false,
            primary_heard: now,
            own_timeout: Duration::ZERO,
            election_at: now,
            attempts: 0,
            why: Reason::Started,
            learning: None,
            ballot_seen: Ballot::ZERO,
            heard: [None; NODES_MAX],
            part: RoleState::Backup,
            promises: [None; NODES_MAX],
            lead: Leadership::default(),
            progress: [Progress::default(); NODES_MAX],
            role_emitted: Role::Recovering { primary: None },
            committed_emitted: Slot::NONE,
            members_emitted,
            config,
        };
        node.wait_for_primary();
        node.invariants();
        node
    }

    /// Lets the node know of something that happened, and collects what it wants done.
    ///
    /// # Panics
    /// When `out` is not empty, or an invariant of the protocol turns out to be broken: better
    /// stopped than wrong.
    pub fn step(&mut self, now: Instant, input: Input<'_>, out: &mut Effects) {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        match input {
            Input::Wake => {}
            Input::Message { from, message, entries } => {
                self.on_message(from, message, entries, out);
            }
            Input::LinkUp { node } => self.on_link_up(node, out),
            Input::LinkDown { node } => self.on_link_down(node, out),
            Input::Durable { up_to } => self.on_durable(up_to, out),
        }
        self.on_time(out);
        self.conclude(out);
    }

    // specs: R3
    fn on_message(
        &mut self,
        from: NodeId,
        message: &Message,
        entries: &[Entry],
        out: &mut Effects,
    ) {
        let complete = match message.range() {
            Some(range) => range.is_sound() && range.count as usize == entries.len(),
            None => entries.is_empty(),
        };
        if from == self.config.me || !complete {
            return;
        }
        self.heard[from.index()] = Some(self.now);
        match *message {
            Message::Hello { nonce, voting, named } => {
                self.on_hello(from, nonce, voting, named, out);
            }
            Message::HelloBack { nonce, voting, named } => {
                self.on_hello_back(from, nonce, voting, named, out);
            }
            // Only who votes, or has voted, says anything else.
            _ if matches!(self.voting, VotingStatus::Blank | VotingStatus::Ready) => {
                self.on_group_exists(out);
            }
            Message::PreVote { ballot } => self.on_pre_vote(from, ballot, out),
            Message::PreVoteReply { ballot, granted, promised, committed } => {
                self.on_pre_vote_reply(from, ballot, granted, promised, committed, out);
            }
            Message::Prepare { ballot } => self.on_prepare(from, ballot, out),
            Message::Promised { ballot, epoch, end, committed } => {
                self.on_promised(from, ballot, Promise { epoch, end, committed }, out);
            }
            Message::Refused { ballot, promised } => self.on_refused(ballot, promised, out),
            Message::Fetch { ballot, committed, from: first, before } => {
                self.on_fetch(from, ballot, committed, (first, before), out);
            }
            Message::Copy { ballot, range, before } => {
                self.on_copies(from, ballot, range.first, before, entries, out);
            }
            Message::Chosen { range } => self.on_chosen(range, entries, out),
            Message::Accept { ballot, range, before, committed, start } => {
                let seen = PrimarySeen { ballot, committed, start };
                self.on_accept(from, seen, range.first, before, entries, out);
            }
            Message::Accepted { ballot, up_to, received, epoch, beat } => {
                self.on_accepted(from, ballot, Acknowledged { up_to, received, epoch, beat });
            }
            Message::Commit { ballot, committed } => self.on_commit(from, ballot, committed, out),
            Message::Heartbeat { ballot, committed, last, last_ballot, start, beat } => {
                let seen = PrimarySeen { ballot, committed, start };
                self.on_heartbeat(from, seen, last, last_ballot, beat, out);
            }
            Message::TakeOver { ballot } => self.on_take_over(from, ballot, out),
        }
    }

    fn on_time(&mut self, out: &mut Effects) {
        if !self.voting.is_voter() && self.now >= self.hello_at {
            self.say_hello(out);
        }
        match self.part {
            RoleState::Backup | RoleState::PreCandidate { .. } if self.now >= self.election_at => {
                self.on_election_timeout(out);
            }
            RoleState::Candidate(candidacy) if self.now >= candidacy.next_at() => {
                self.on_candidate_waiting(candidacy, out);
            }
            RoleState::Primary { ballot } if self.now >= self.lead.beat_at => {
                self.on_beat(ballot, out)
            }
            _ => {}
        }
    }

    /// What every step ends with: what follows from the new state, whatever brought it about.
    #[inline(always)]
    pub(super) fn conclude(&mut self, out: &mut Effects) {
        if let RoleState::Primary { ballot } = self.part {
            self.conclude_lead(ballot, out);
        }
        if self.committed > self.committed_emitted {
            self.committed_emitted = self.committed;
            push(out, Effect::Committed { up_to: self.committed });
        }
        let members = self.members();
        if members != self.members_emitted {
            self.on_members(members, out);
        }
        self.log.release(self.committed.min(self.durable));
        self.check_voting(out);
        if matches!(self.part, RoleState::Primary { .. }) && self.members_gone() {
            self.step_down(Reason::Removed, out);
        }
        self.invariants();
    }

    /// The log says of other members now.
    #[cold]
    fn on_members(&mut self, members: Members, out: &mut Effects) {
        self.members_emitted = members;
        self.draw_own_timeout();
        self.lead.recount = true;
        push(out, Effect::Members { members });
    }

    /// When to call with [`Input::Wake`], at the latest. May be past: then at once.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let part = match self.part {
            RoleState::Backup | RoleState::PreCandidate { .. } => self.election_at,
            RoleState::Candidate(candidacy) => candidacy.next_at(),
            RoleState::Primary { .. } if self.lead.unsent => self.now,
            RoleState::Primary { .. } => self.lead.beat_at,
        };
        if self.voting.is_voter() { part } else { part.min(self.hello_at) }
    }

    /// The epoch that this node votes with.
    pub(super) fn epoch(&self) -> Option<StorageEpoch> {
        match self.voting {
            VotingStatus::Voter { epoch } => Some(epoch),
            _ => None,
        }
    }

    pub(super) fn others(&self) -> super::NodeSet {
        self.members().all().without(self.config.me)
    }

    pub(super) fn write(&mut self, record: Record, out: &mut Effects) -> WriteNumber {
        self.written.0 += 1;
        push(out, Effect::Write { number: self.written, record });
        self.written
    }

    /// Tells the driver of the role, if it has changed.
    pub(super) fn emit_role(&mut self, reason: Reason, out: &mut Effects) {
        let role = self.role();
        if role != self.role_emitted {
            self.role_emitted = role;
            say!(
                info,
                "node {}: {:?}, {:?}",
                self.config.me.number(),
                shown!(role),
                shown!(reason)
            );
            push(out, Effect::Role { role, reason });
        }
    }

    /// A number below `bound`, different on each node and in each range (splitmix64, Steele, Lea
    /// and Flood, 2014). It spreads timeouts and decides nothing.
    pub(super) fn draw(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    #[inline(always)]
    fn invariants(&self) {
        let base = self.log.base().slot;
        assert!(base <= self.committed && base <= self.durable, "the window starts too late");
        assert!(self.committed <= self.log.last(), "committed what is not in the log");
        assert!(self.durable <= self.log.last(), "durable beyond the log");
        assert!(self.accepted <= self.promised, "accepted above the promise");
        assert!(self.matched <= self.log.last(), "agreed beyond the log");
        assert!(self.settled <= self.written, "durable before it was written");
        if let RoleState::Primary { ballot } = self.part {
            assert!(ballot == self.promised, "a primary has promised nobody else");
            assert!(self.voting.is_voter(), "a primary may vote");
        }
    }
}

#[inline(always)]
pub(super) fn push(out: &mut Effects, effect: Effect) {
    assert!(out.push(effect).is_ok(), "the effects of a step exceed their bound");
}

#[inline(always)]
pub(super) fn send(out: &mut Effects, to: NodeId, message: Message) {
    push(out, Effect::Send { to, message });
}
