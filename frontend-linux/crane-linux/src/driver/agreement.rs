//! Carrying out the effects of agreement, and taking in the arrivals of links.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Descriptor, Effect, Effects, Input, Message, Reason, Record, Role, SlotRange, StorageGap,
    VotingStatus, WriteNumber,
};
use tracing::debug;

use crate::event::{Event, describe};
use crate::log::{Payload, Synced};
use crate::net::frame::FrameKind;
use crate::net::message::Received;

use super::{Driver, Host};

/// The number of slots after which the commit index is written as a hint. It is also written when
/// the replica stops.
const HINT_EVERY: u64 = 64;

/// The payloads that came with the input which a step answers, slot by slot.
#[derive(Clone, Copy)]
pub(super) struct InputPayloads<'a> {
    /// The slot of the first payload.
    pub(super) first: Slot,
    /// The payloads; `None` for an entry without one.
    pub(super) payloads: &'a [Option<Payload>],
}

impl InputPayloads<'_> {
    pub(super) const NONE: InputPayloads<'static> =
        InputPayloads { first: Slot::NONE, payloads: &[] };

    /// Returns the payload of the entry in a slot, which must match its descriptor.
    ///
    /// # Panics
    /// Panics if the payload is missing or does not match: the log would promise an entry that it
    /// does not have.
    fn payload(&self, slot: Slot, descriptor: Descriptor) -> &Payload {
        let place = slot.0.checked_sub(self.first.0).map(|place| place as usize);
        let payload = place.and_then(|place| self.payloads.get(place)?.as_ref());
        let payload = payload.expect("an entry comes with its payload");
        assert_eq!(descriptor.length as usize, payload.len(), "another entry's payload");
        payload
    }
}

impl<H: Host> Driver<H> {
    /// Gives agreement an input, and carries out the effects. The payloads `handed` belong to the
    /// input.
    pub(super) fn paxos(&mut self, input: Input<'_>, handed: InputPayloads<'_>) {
        let mut out = Effects::new();
        self.node.step(self.now(), input, &mut out);
        self.carry_out(&out, handed);
    }

    pub(super) fn carry_out(&mut self, effects: &Effects, handed: InputPayloads<'_>) {
        for effect in effects {
            match *effect {
                Effect::Send { to, message } => self.send(to, &message),
                Effect::Write { number, record } => self.write_down(number, &record),
                Effect::Append { number, range } => self.append(number, range, handed),
                Effect::Committed { up_to } => self.committed = self.committed.max(up_to),
                Effect::ServeCatchUp { to, from, up_to } => self.serve_catch_up(to, from, up_to),
                Effect::Role { role, reason } => self.on_role(role, reason),
                Effect::Members { members } => debug!("members by the log here: {members:?}"),
            }
        }
    }

    fn write_down(&mut self, number: WriteNumber, record: &Record) {
        if let Record::Promise { ballot } = record
            && !ballot.belongs_to(self.me())
        {
            self.record_event(Event::Promised { ballot: ballot.to_string() });
        }
        if let Record::VotingStatus(VotingStatus::Rejoining { .. }) = record {
            self.on_storage_lost();
        }
        self.log.append(number, record, None);
    }

    /// Says what this replica's storage lacks: the replica begins another epoch of it.
    // specs: R8, R11
    fn on_storage_lost(&mut self) {
        let data = self.settings.data.display().to_string();
        let gap = self.node.storage_gap();
        let (what, found) = match gap {
            Some(StorageGap { by, recalled, promised, end }) => (
                format!(
                    "replica {by} recalls that this one has promised ballot {} and acknowledged \
                     slot {} under ballot {}, and {data} ended with slot {} under ballot {}, with \
                     a promise of ballot {promised}: it is an old copy, or has lost its last \
                     writes",
                    recalled.promised, recalled.end.slot, recalled.end.ballot, end.slot, end.ballot,
                ),
                end.slot,
            ),
            None if self.node.voting().is_voter() => (
                format!(
                    "the group's log names another epoch of this replica's storage than {data}, \
                     which is an old copy"
                ),
                self.node.last(),
            ),
            None => (format!("{data} is new, and the group is not"), Slot::NONE),
        };
        let text = format!(
            "{what}. This replica rejoins as one that has lost its storage: it fetches what is \
             missing from the others, and votes again once the group has agreed to that"
        );
        self.warn_operator(text.clone());
        self.record_silently(Event::StorageLost {
            by: gap.map(|gap| gap.by.number()),
            acknowledged: gap.map_or(0, |gap| gap.recalled.end.slot.0),
            found: found.0,
            text,
        });
    }

    fn append(&mut self, number: WriteNumber, range: SlotRange, handed: InputPayloads<'_>) {
        for (number, record) in self.node.records(number, range) {
            let payload = match record {
                Record::Accept { slot, entry } => {
                    let descriptor = entry.content.payload();
                    descriptor.map(|descriptor| handed.payload(slot, descriptor).clone())
                }
                _ => None,
            };
            if let Some(timestamp) = payload.as_ref().and_then(|payload| payload.first_chunk::<8>())
                && self.log.genesis().is_some()
            {
                let local = self.moment.since_start;
                self.timestamps.saw(local, u64::from_le_bytes(*timestamp));
            }
            self.log.append(number, &record, payload);
        }
    }

    /// Takes the timestamp of an entry: later timestamps of this replica are above it.
    pub(super) fn saw_timestamp(&mut self, timestamp: u64) {
        self.timestamps.saw(self.moment.since_start, timestamp);
    }

    /// Returns the timestamp of the next entry, which is above all others.
    pub(super) fn next_timestamp(&mut self) -> u64 {
        self.timestamps.timestamp(self.moment.since_start)
    }

    fn on_role(&mut self, role: Role, reason: Reason) {
        let was = std::mem::replace(&mut self.role, role);
        if was == role {
            return;
        }
        self.record_event(Event::Role {
            role: name_of(role).into(),
            primary: self.node.primary().map(NodeId::number),
            ballot: self.node.ballot().to_string(),
            why: describe(reason).into(),
        });
        let now = self.now();
        self.proposer.role_changed(now);
        if was == Role::Primary {
            self.health.vigil.role_ended(now);
        }
        if role == Role::Primary {
            self.timestamps.became_primary();
            (self.clock_dates.steer_at, self.clock_dates.begin_by) = (now, None);
        }
        if self.node.primary().is_some() {
            self.set_joined();
            self.clients.start_over(now);
        }
        self.host.watch_state(role == Role::Primary);
    }

    /// Records that the replica has been in touch with its group.
    fn set_joined(&mut self) {
        if !std::mem::replace(&mut self.hello.joined, true) {
            self.host.set_hello(&self.hello);
        }
    }

    pub(super) fn on_message(&mut self, from: NodeId, received: &Received) {
        let Received { message, entries, payloads } = received;
        self.note_vote(from, message);
        let first = message.range().map_or(Slot::NONE, |range| range.first);
        let input = Input::Message { from, message, entries };
        self.paxos(input, InputPayloads { first, payloads });
    }

    /// Records the votes that this candidate receives. (Promises of this replica are records of the
    /// log.)
    fn note_vote(&mut self, from: NodeId, message: &Message) {
        let by = from.number();
        match *message {
            Message::Promised { ballot, .. } if self.role == Role::Candidate => {
                self.record_event(Event::VotedFor { by, ballot: ballot.to_string() });
            }
            Message::Refused { ballot, promised } => self.record_event(Event::RefusedBy {
                by,
                ballot: ballot.to_string(),
                promised: promised.to_string(),
            }),
            _ => {}
        }
    }

    /// Handles a new link. (The members that its hello names have been handled already.)
    pub(super) fn link_up(&mut self, node: NodeId) {
        self.linked = self.linked.with(node);
        self.health.vigil.report_again();
        self.record_silently(Event::LinkUp { node: node.number() });
        self.proposer.link_up(node);
        self.send_server_report(node);
        self.paxos(Input::LinkUp { node }, InputPayloads::NONE);
        if self.node.primary() == Some(node) {
            self.clients.start_over(self.now());
        }
    }

    pub(super) fn on_link_down(&mut self, node: NodeId) {
        self.linked = self.linked.without(node);
        self.health.vigil.forget(node);
        self.owed.forget(node);
        self.divergence.awaited.take_if(|awaited| *awaited == node);
        self.record_silently(Event::LinkDown { node: node.number() });
        self.proposer.link_down(node, self.now());
        self.paxos(Input::LinkDown { node }, InputPayloads::NONE);
    }

    pub(super) fn send_server_report(&mut self, node: NodeId) {
        let report = self.reports[self.me().index()];
        let body = postcard::to_allocvec(&report).expect("plain data");
        self.host.send_frame(node, FrameKind::Server, &body);
    }

    pub(super) fn on_durable(&mut self, Synced { up_to, sync }: Synced) {
        self.health.vigil.synced(self.now(), sync);
        self.log.durable(up_to);
        self.paxos(Input::Durable { up_to }, InputPayloads::NONE);
    }

    /// Passes the appended records to the disk.
    pub(super) fn write(&mut self) {
        if self.committed.0 >= self.hinted.0 + HINT_EVERY {
            self.hint_committed();
        }
        if let Some(mut batch) = self.log.take_batch() {
            self.events.counters.disk_batches += 1;
            batch.sync = self.health.vigil.sync_due(self.moment.instant());
            self.host.write(batch);
        }
    }

    pub(super) fn hint_committed(&mut self) {
        if self.committed > self.hinted {
            self.hinted = self.committed;
            self.log.append_committed(self.committed);
        }
    }
}

/// Returns the name of a role in `status`.
pub(super) fn name_of(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Backup { .. } => "backup",
        Role::Candidate => "candidate",
        Role::Recovering { .. } => "recovering",
    }
}
