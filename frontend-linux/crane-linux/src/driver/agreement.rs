//! Paxos's effects, and what links bring.

use std::rc::Rc;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{Effect, Effects, Input, Message, Reason, Record, Role, WriteNumber};
use tracing::debug;

use crate::event::{Event, describe};
use crate::log::Payload;
use crate::net::frame::Kind;
use crate::net::link::{Arrival, Link, put_message};

use super::Driver;

/// What is committed is written as a hint after so many slots, and when the replica stops.
const HINT_EVERY: u64 = 64;

impl Driver {
    /// Tells paxos of something, and carries out what it wants done. `payload` belongs to the input.
    pub(super) fn paxos(&mut self, input: Input, payload: Option<Payload>) {
        let mut out = Effects::new();
        self.node.step(self.clock.now(), input, &mut out);
        self.carry_out(&out, payload.as_ref());
    }

    pub(super) fn carry_out(&mut self, effects: &Effects, payload: Option<&Payload>) {
        for effect in effects {
            match *effect {
                Effect::Send { to, message } => self.send(to, &message, payload),
                Effect::Write { number, record } => self.append(number, &record, payload),
                Effect::Committed { up_to } => self.committed = self.committed.max(up_to),
                Effect::ServeCatchUp { to, from, up_to } => self.serve_catch_up(to, from, up_to),
                Effect::Role { role, reason } => self.on_role(role, reason),
                Effect::Members { members } => debug!("members by the log here: {members:?}"),
            }
        }
    }

    fn send(&mut self, to: NodeId, message: &Message, payload: Option<&Payload>) {
        let Some(link) = self.links[to.index()].clone() else { return };
        let Some((slot, descriptor)) = message.payload() else {
            return put_message(&link, message, None);
        };
        if let Some(payload) = payload
            && crate::log::describe(payload) == descriptor
        {
            return put_message(&link, message, Some(payload));
        }
        match self.log.read(slot) {
            Ok(Some((entry, Some(stored)))) if entry.content.payload() == Some(descriptor) => {
                put_message(&link, message, Some(&stored));
            }
            Ok(_) => debug!("slot {slot} has another entry by now: nothing is sent"),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn append(&mut self, number: WriteNumber, record: &Record, payload: Option<&Payload>) {
        let mut own = None;
        if let Record::Promise { ballot } = record
            && !ballot.belongs_to(self.me())
        {
            self.tell(Event::Promised { ballot: ballot.to_string() });
        }
        if let Record::Accept { entry, .. } = record
            && let Some(descriptor) = entry.content.payload()
        {
            let payload = payload.expect("an entry comes with its payload");
            assert_eq!(descriptor.length as usize, payload.len(), "another entry's payload");
            if let Some(stamp) = payload.first_chunk::<8>()
                && self.log.genesis().is_some()
            {
                self.agreed.saw(u64::from_le_bytes(*stamp));
            }
            own = Some(payload.clone());
        }
        self.log.append(number, record, own);
    }

    /// Entries that the log holds from before the start, committed or not, have stamps that this
    /// replica's must be above. The last one has the highest.
    pub(super) fn see_last_stamp(&mut self) {
        let Some(genesis) = self.log.genesis() else { return };
        let mut slot = self.node.last();
        while slot > genesis.max(self.log.front()) {
            match self.log.read(slot) {
                Ok(Some((_, Some(payload)))) => {
                    if let Some(stamp) = payload.first_chunk::<8>() {
                        self.agreed.saw(u64::from_le_bytes(*stamp));
                    }
                    return;
                }
                Ok(_) => slot = Slot(slot.0 - 1),
                Err(error) => return self.fail(error.to_string()),
            }
        }
    }

    fn serve_catch_up(&mut self, to: NodeId, from: Slot, up_to: Slot) {
        let Some(link) = self.links[to.index()].clone() else { return };
        for slot in (from.0..=up_to.0).map(Slot) {
            match self.log.read(slot) {
                Ok(Some((entry, payload))) => {
                    self.events.counters.slots_served += 1;
                    put_message(&link, &Message::Chosen { slot, entry }, payload.as_ref());
                }
                Ok(None) => return,
                Err(error) => return self.fail(error.to_string()),
            }
        }
    }

    fn on_role(&mut self, role: Role, reason: Reason) {
        let was = std::mem::replace(&mut self.role, role);
        if was == role {
            return;
        }
        self.tell(Event::Role {
            role: name_of(role).into(),
            primary: self.node.primary().map(NodeId::number),
            ballot: self.node.ballot().to_string(),
            why: describe(reason).into(),
        });
        let now = self.clock.now();
        self.lead.role_changed(now);
        if role == Role::Primary {
            self.agreed.consult_host();
        }
        if self.node.primary().is_some() {
            self.peers.hello.borrow_mut().joined = true;
            self.entry.start_over(now);
        }
        self.server.watch_state(role == Role::Primary);
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Up(link, hello) => {
                debug!("replica {} is of generation {}", link.node, hello.generation);
                self.meet(&hello);
                self.on_link_up(link);
            }
            Arrival::Down(link) if self.is_current(&link) => self.on_link_down(link.node),
            Arrival::Paxos(link, message, payload) if self.is_current(&link) => {
                self.note_vote(link.node, &message);
                self.paxos(Input::Message { from: link.node, message }, payload);
            }
            Arrival::Ops(link, ops) if self.is_current(&link) => self.on_ops(link.node, ops),
            Arrival::Server(link, report) if self.is_current(&link) => {
                self.on_server_report(link.node, report);
            }
            Arrival::Asked(query, answer) => {
                let text = self.answer(query);
                answer.signal(text);
            }
            Arrival::Refused(why) => self.fail(why),
            // Of a link that another one has replaced.
            Arrival::Down(_) | Arrival::Paxos(..) | Arrival::Ops(..) | Arrival::Server(..) => {}
        }
    }

    /// Who votes for whom: what this candidate is told. (What this replica promises, it writes down.)
    fn note_vote(&mut self, from: NodeId, message: &Message) {
        let by = from.number();
        match *message {
            Message::Promised { ballot, .. } if self.role == Role::Candidate => {
                self.tell(Event::VotedFor { by, ballot: ballot.to_string() });
            }
            Message::Refused { ballot, promised } => self.tell(Event::RefusedBy {
                by,
                ballot: ballot.to_string(),
                promised: promised.to_string(),
            }),
            _ => {}
        }
    }

    fn is_current(&self, link: &Rc<Link>) -> bool {
        self.links[link.node.index()].as_ref().is_some_and(|current| Rc::ptr_eq(current, link))
    }

    fn on_link_up(&mut self, link: Rc<Link>) {
        let node = link.node;
        if let Some(older) = self.links[node.index()].take() {
            older.drop_silently();
            self.on_link_down(node);
        }
        self.links[node.index()] = Some(link);
        self.events.tell(Event::LinkUp { node: node.number() });
        self.lead.link_up(node);
        self.tell_server_report(node);
        self.paxos(Input::LinkUp { node }, None);
        if self.node.primary() == Some(node) {
            self.entry.start_over(self.clock.now());
        }
    }

    fn on_link_down(&mut self, node: NodeId) {
        self.links[node.index()] = None;
        self.events.tell(Event::LinkDown { node: node.number() });
        self.lead.link_down(node, self.clock.now());
        self.paxos(Input::LinkDown { node }, None);
    }

    pub(super) fn tell_server_report(&mut self, node: NodeId) {
        let Some(link) = &self.links[node.index()] else { return };
        let report = self.reports[self.me().index()];
        let body = postcard::to_allocvec(&report).expect("plain data");
        link.put(Kind::Server, &[&body]);
    }

    pub(super) fn on_durable(&mut self, up_to: WriteNumber) {
        self.log.durable(up_to);
        self.paxos(Input::Durable { up_to }, None);
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
