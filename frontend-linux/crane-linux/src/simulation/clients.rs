//! The clients: each connects to a replica, sends requests, reads the answers in order, and behaves
//! badly now and then.

use std::collections::VecDeque;

use crane_core::limits::DRAINED_STEP;

use super::queue::Nanos;
use super::requests::answer_bytes;

/// How long a client waits for an answer before it connects elsewhere.
pub(super) const PATIENT_FOR: Nanos = 4_000_000_000;

/// How clients behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manners {
    /// They leave in order and by resets, and do not wait for long.
    Any,
    /// They send much, and wait for their answers as long as their connections last.
    Patient,
    /// They are patient and send little, for long runs.
    Slow,
}

/// A client.
#[derive(Debug, Default)]
pub(super) struct SimClient {
    /// The connection, if there is one.
    pub(super) open: Option<ClientLink>,
    /// The number of the connection or attempt; actions of an earlier one have no effect.
    pub(super) attempt: u64,
    /// The number of requests that were answered.
    pub(super) answered: u64,
    /// Whether it sends no new requests.
    pub(super) rests: bool,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientLink {
    /// The place of the replica.
    pub(super) at: usize,
    pub(super) key: u64,
    /// The requests without an answer, with the times at which they were sent.
    pub(super) asked: VecDeque<(u64, Nanos)>,
    /// Whether the client sends nothing more.
    pub(super) shut: bool,
    /// Until when it reads nothing, if it does not.
    pub(super) stalled: Option<Nanos>,
    /// The bytes that have arrived and were not read.
    pub(super) unread: Vec<u8>,
    /// The number of bytes of answers that it has taken, and of those that the server knows of.
    taken: u64,
    reported: u64,
}

impl ClientLink {
    /// Creates a connection on which nothing was sent.
    pub(super) fn new(at: usize, key: u64) -> Self {
        Self {
            at,
            key,
            asked: VecDeque::new(),
            shut: false,
            stalled: None,
            unread: Vec::new(),
            taken: 0,
            reported: 0,
        }
    }

    /// Takes bytes of answers, which come in order. Returns the requests that are answered now.
    ///
    /// # Panics
    /// Panics if the bytes answer anything but the oldest request.
    pub(super) fn take_answers(&mut self, bytes: &[u8]) -> Vec<u64> {
        self.taken += bytes.len() as u64;
        let mut answered = Vec::new();
        for request in answered_by(bytes) {
            let (asked, _) = self.asked.pop_front().expect("an answer follows a request");
            assert_eq!(request, asked, "the answer to another request came");
            answered.push(request);
        }
        answered
    }

    /// Returns the total of taken bytes when it is to be reported, as the product's proxy does.
    pub(super) fn drained(&mut self) -> Option<u64> {
        let is_due = self.taken - self.reported >= DRAINED_STEP as u64;
        is_due.then(|| {
            self.reported = self.taken;
            self.taken
        })
    }

    /// Returns since when the oldest request waits for its answer.
    pub(super) fn waits_since(&self) -> Option<Nanos> {
        self.asked.front().map(|(_, at)| *at)
    }
}

/// Returns the requests that bytes answer, each as a whole.
pub(super) fn answered_by(mut bytes: &[u8]) -> Vec<u64> {
    let mut requests = Vec::new();
    while let Some(request) = bytes.first_chunk() {
        let request = u64::from_le_bytes(*request);
        requests.push(request);
        bytes = bytes.get(answer_bytes(request)..).expect("an answer comes as a whole");
    }
    requests
}
