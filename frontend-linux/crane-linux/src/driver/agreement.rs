//! Paxos's effects, and what links bring.

use std::rc::Rc;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Descriptor, Effect, Effects, Input, Message, Reason, Record, Role, SlotRange, WriteNumber,
};
use tracing::debug;

use crate::event::{Event, describe};
use crate::log::Payload;
use crate::net::frame::FrameKind;
use crate::net::link::Link;
use crate::net::message::{Collected, Received};

use super::Driver;

/// What is committed is written as a hint after so many slots, and when the replica stops.
const HINT_EVERY: u64 = 64;

/// Payloads that were handed in together with the input that a step answers, slot by slot.
#[derive(Clone, Copy)]
pub(super) struct InputPayloads<'a> {
    /// The slot of the first.
    pub(super) first: Slot,
    /// None for an entry that has none.
    pub(super) payloads: &'a [Option<Payload>],
}

impl InputPayloads<'_> {
    pub(super) const NONE: InputPayloads<'static> =
        InputPayloads { first: Slot::NONE, payloads: &[] };

    /// The payload of the entry in a slot, which describes it so.
    ///
    /// # Panics
    /// When it is not there, or another one: the log would promise what it has not.
    fn payload(&self, slot: Slot, descriptor: Descriptor) -> &Payload {
        let place = slot.0.checked_sub(self.first.0).map(|place| place as usize);
        let payload = place.and_then(|place| self.payloads.get(place)?.as_ref());
        let payload = payload.expect("an entry comes with its payload");
        assert_eq!(descriptor.length as usize, payload.len(), "another entry's payload");
        payload
    }
}

impl Driver {
    /// Tells paxos of something, and carries out what it wants done. What was `handed` in belongs
    /// to the input.
    pub(super) fn paxos(&mut self, input: Input<'_>, handed: InputPayloads<'_>) {
        let mut out = Effects::new();
        self.node.step(self.clock.now(), input, &mut out);
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

    /// Sends a message with the entries of its run. What has just been appended is in the log's
    /// memory until it is durable: that is never read from the disk for it.
    fn send(&mut self, to: NodeId, message: &Message) {
        let Some(link) = self.links[to.index()].clone() else { return };
        let Some(range) = message.range() else { return link.put_message(message, &[]) };
        let mut entries = Vec::with_capacity(range.count as usize);
        for slot in range.slots() {
            match self.files.look_up(&mut self.log, slot) {
                Ok(Some(kept)) => entries.push(kept),
                Ok(None) => return debug!("slot {slot} has no entry any more: nothing is sent"),
                Err(error) => return self.fail(error.to_string()),
            }
        }
        link.put_message(message, &entries);
    }

    fn write_down(&mut self, number: WriteNumber, record: &Record) {
        if let Record::Promise { ballot } = record
            && !ballot.belongs_to(self.me())
        {
            self.record_event(Event::Promised { ballot: ballot.to_string() });
        }
        self.log.append(number, record, None);
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
                self.agreed.saw(u64::from_le_bytes(*timestamp));
            }
            self.log.append(number, &record, payload);
        }
    }

    fn serve_catch_up(&mut self, to: NodeId, from: Slot, up_to: Slot) {
        let Some(link) = self.links[to.index()].clone() else { return };
        let mut collected = Collected::default();
        let mut first = from;
        let put = |first, collected: &Collected| {
            let range = SlotRange { first, count: collected.range.len() as u32 };
            link.put_message(&Message::Chosen { range }, &collected.range);
        };
        for slot in (from.0..=up_to.0).map(Slot) {
            let kept = match self.files.look_up(&mut self.log, slot) {
                Ok(Some(kept)) => kept,
                Ok(None) => break,
                Err(error) => return self.fail(error.to_string()),
            };
            if !collected.has_room(&kept) {
                put(first, &collected);
                collected.clear();
                first = slot;
            }
            collected.push(kept);
            self.events.counters.slots_served += 1;
        }
        if !collected.range.is_empty() {
            put(first, &collected);
        }
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
        let now = self.clock.now();
        self.proposer.role_changed(now);
        if role == Role::Primary {
            self.agreed.consult_host();
        }
        if self.node.primary().is_some() {
            self.peers.hello.borrow_mut().joined = true;
            self.clients.start_over(now);
        }
        self.server.watch_state(role == Role::Primary);
    }

    pub(super) fn on_message(&mut self, from: NodeId, received: &Received) {
        let Received { message, entries, payloads } = received;
        self.note_vote(from, message);
        let first = message.range().map_or(Slot::NONE, |range| range.first);
        let input = Input::Message { from, message, entries };
        self.paxos(input, InputPayloads { first, payloads });
    }

    /// Who votes for whom: what this candidate is told. (What this replica promises, it writes
    /// down.)
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

    pub(super) fn is_current(&self, link: &Rc<Link>) -> bool {
        self.links[link.node.index()].as_ref().is_some_and(|current| Rc::ptr_eq(current, link))
    }

    pub(super) fn on_link_up(&mut self, link: Rc<Link>) {
        let node = link.node;
        if let Some(older) = self.links[node.index()].take() {
            older.drop_silently();
            self.on_link_down(node);
        }
        self.links[node.index()] = Some(link);
        self.events.record(Event::LinkUp { node: node.number() });
        self.proposer.link_up(node);
        self.send_server_report(node);
        self.paxos(Input::LinkUp { node }, InputPayloads::NONE);
        if self.node.primary() == Some(node) {
            self.clients.start_over(self.clock.now());
        }
    }

    pub(super) fn on_link_down(&mut self, node: NodeId) {
        self.links[node.index()] = None;
        self.events.record(Event::LinkDown { node: node.number() });
        self.proposer.link_down(node, self.clock.now());
        self.paxos(Input::LinkDown { node }, InputPayloads::NONE);
    }

    pub(super) fn send_server_report(&mut self, node: NodeId) {
        let Some(link) = &self.links[node.index()] else { return };
        let report = self.reports[self.me().index()];
        let body = postcard::to_allocvec(&report).expect("plain data");
        link.put(FrameKind::Server, &[&body]);
    }

    pub(super) fn on_durable(&mut self, up_to: WriteNumber) {
        self.log.durable(up_to);
        self.paxos(Input::Durable { up_to }, InputPayloads::NONE);
    }

    /// Gives what was appended to the storage. Says whether anything follows from it at once.
    pub(super) fn write(&mut self) -> bool {
        if self.committed.0 >= self.hinted.0 + HINT_EVERY {
            self.hint_committed();
        }
        let Some(batch) = self.log.take_batch() else { return false };
        self.events.counters.disk_batches += 1;
        match self.storage.write(batch) {
            Ok(None) => false,
            Ok(Some(up_to)) => {
                self.on_durable(up_to);
                true
            }
            Err(why) => {
                self.fail(why);
                false
            }
        }
    }

    pub(super) fn hint_committed(&mut self) {
        if self.committed > self.hinted {
            self.hinted = self.committed;
            self.log.append_committed(self.committed);
        }
    }
}

/// A role as `status` names it.
pub(super) fn name_of(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Backup { .. } => "backup",
        Role::Candidate => "candidate",
        Role::Recovering { .. } => "recovering",
    }
}
