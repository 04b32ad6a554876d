//! The clients' side of the group: what they do, and what reaches them.

use crane_core::wire::Endpoint;

use crate::driver::ClientInput;

use super::clients::{ClientLink, Manners, PATIENT_FOR, SimClient, answered_by};
use super::group::{MICROSECOND, MILLISECOND, SimEvent, SimGroup};
use super::queue::Nanos;
use super::requests::fatal;
use super::server::PORT;

/// The time on the way between clients and replicas, which keeps the order.
const ON_THE_WAY: Nanos = 60 * MICROSECOND;
/// How many requests a client sends at a time at most, and how many may wait for their answers.
const REQUESTS_MAX: u64 = 4;
const ASKED_MAX: usize = 6;
/// How often a client stops reading for a while, of a thousand actions.
const STALLS: u64 = 10;
/// How often a client leaves, by a reset or in order, of a thousand actions.
const LEAVES: u64 = 15;

impl SimGroup {
    /// Lets a client do the next thing.
    pub(super) fn act(&mut self, client: usize, attempt: u64) {
        if self.clients[client].attempt != attempt {
            return;
        }
        let Some(open) = &self.clients[client].open else { return self.connect(client) };
        if open.stalled.is_some_and(|until| until <= self.now) {
            return self.read_on(client);
        }
        let (waits, shut) = (open.waits_since(), open.shut);
        let count = open.asked.len();
        let late = waits.is_some_and(|since| self.now - since > PATIENT_FOR);
        if self.manners == Manners::Any && (late || !shut && self.random.permille(LEAVES)) {
            return self.leave(client);
        }
        if self.manners == Manners::Any && self.random.permille(STALLS) {
            let until = self.now + self.random.range(100, 6000) * MILLISECOND;
            let open = self.clients[client].open.as_mut().expect("it is connected");
            self.happened.stalls += u32::from(open.stalled.is_none());
            open.stalled.get_or_insert(until);
        }
        if self.manners == Manners::Any && !shut && count == 0 && self.random.permille(LEAVES) {
            let open = self.clients[client].open.as_mut().expect("it is connected");
            open.shut = true;
            let (at, key) = (open.at, open.key);
            self.reach_replica(at, key, ClientInput::Shut);
        } else if !shut && count < ASKED_MAX && !self.clients[client].rests {
            self.ask(client);
        }
        let pause = match self.manners {
            Manners::Any => 80 * MILLISECOND,
            Manners::Patient => 60 * MILLISECOND,
            Manners::Slow => 400 * MILLISECOND,
        };
        self.act_in(client, MILLISECOND, pause);
    }

    fn act_in(&mut self, client: usize, low: Nanos, high: Nanos) {
        let attempt = self.clients[client].attempt;
        self.schedule_in(low, high, SimEvent::Act { client, attempt });
    }

    /// Connects a client to a replica whose port is open, or lets it try again later.
    fn connect(&mut self, client: usize) {
        let at = self.random.range(0, 3) as usize;
        if self.clients[client].rests || !self.replicas[at].is_open() {
            return self.act_in(client, 20 * MILLISECOND, 200 * MILLISECOND);
        }
        self.last_key += 1;
        let key = self.last_key;
        self.clients[client].open = Some(ClientLink::new(at, key));
        self.keys.insert(key, client);
        let local = Endpoint::from_ipv4([10, 0, 0, at as u8 + 1], PORT);
        let peer = Endpoint::from_ipv4([10, 0, 1, client as u8], 5000);
        self.reach_replica(at, key, ClientInput::Connected { local, peer });
        self.act_in(client, 0, MILLISECOND);
    }

    fn ask(&mut self, client: usize) {
        let count = self.random.range(1, REQUESTS_MAX + 1);
        let requests: Vec<u64> = (0..count).map(|_| self.next_request()).collect();
        self.send_requests(client, &requests);
    }

    fn send_requests(&mut self, client: usize, requests: &[u64]) {
        let now = self.now;
        let open = self.clients[client].open.as_mut().expect("it is connected");
        open.asked.extend(requests.iter().map(|request| (*request, now)));
        let bytes = requests.iter().flat_map(|request| request.to_le_bytes()).collect();
        let (at, key) = (open.at, open.key);
        self.reach_replica(at, key, ClientInput::Sent(bytes));
    }

    /// Has a client send the program what it crashes of. Returns the client and the attempt, if one
    /// is connected and sends.
    pub(super) fn send_fatal(&mut self) -> Option<(usize, u64)> {
        let sends = |client: &SimClient| client.open.as_ref().is_some_and(|open| !open.shut);
        let client = self.clients.iter().position(sends)?;
        let request = fatal(self.happened.crashes.into());
        self.happened.crashes += 1;
        self.send_requests(client, &[request]);
        Some((client, self.clients[client].attempt))
    }

    fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Resets a client's connection from its side.
    fn leave(&mut self, client: usize) {
        let open = self.clients[client].open.take().expect("it is connected");
        self.keys.remove(&open.key);
        self.reach_replica(open.at, open.key, ClientInput::Gone);
        self.reach_replica(open.at, open.key, ClientInput::Over);
        self.clients[client].attempt += 1;
        self.act_in(client, MILLISECOND, 50 * MILLISECOND);
    }

    fn reach_replica(&mut self, at: usize, key: u64, what: ClientInput) {
        let run = self.replicas[at].run;
        let bytes = if let ClientInput::Sent(bytes) = &what { bytes.len() } else { 0 };
        self.sent = (self.sent.0 + bytes as u64, self.sent.1 + 1);
        self.schedule(self.now + ON_THE_WAY, SimEvent::FromClient { at, run, key, what });
    }

    /// Returns the connections at a replica.
    pub(super) fn keys_at(&self, at: usize) -> Vec<u64> {
        let open = self.clients.iter().filter_map(|client| client.open.as_ref());
        open.filter(|open| open.at == at).map(|open| open.key).collect()
    }

    /// Sends answers to a client, none of which may be lost any more.
    pub(super) fn send_answer(&mut self, key: u64, bytes: Vec<u8>) {
        for request in answered_by(&bytes) {
            let kept = self.replicas.iter().filter(|replica| replica.files.has_durable(request));
            let kept = kept.count();
            assert!(kept >= 2, "request {request} is answered, and durable on {kept} replicas");
        }
        self.schedule(self.now + ON_THE_WAY, SimEvent::Answer { key, bytes });
    }

    pub(super) fn on_answer(&mut self, key: u64, bytes: &[u8]) {
        let Some(client) = self.keys.get(&key) else { return };
        let client = &mut self.clients[*client];
        let open = client.open.as_mut().expect("its connection is known");
        if open.stalled.is_some() {
            return open.unread.extend_from_slice(bytes);
        }
        let answered = open.take_answers(bytes);
        client.answered += answered.len() as u64;
        self.acknowledged.extend(answered);
        if let Some(total) = open.drained() {
            let at = open.at;
            self.reach_replica(at, key, ClientInput::Drained(total));
        }
    }

    /// Lets a client that has stalled read what has arrived, and go on.
    fn read_on(&mut self, client: usize) {
        let open = self.clients[client].open.as_mut().expect("it is connected");
        open.stalled = None;
        let (key, unread) = (open.key, std::mem::take(&mut open.unread));
        if !unread.is_empty() {
            self.on_answer(key, &unread);
        }
        self.act_in(client, 0, MILLISECOND);
    }

    /// Ends a client's connection from the replica's side.
    pub(super) fn on_end_of_client(&mut self, key: u64) {
        let Some(client) = self.keys.remove(&key) else { return };
        let open = self.clients[client].open.take().expect("its connection is known");
        self.reach_replica(open.at, key, ClientInput::Over);
        self.clients[client].attempt += 1;
        self.act_in(client, MILLISECOND, 50 * MILLISECOND);
    }
}
