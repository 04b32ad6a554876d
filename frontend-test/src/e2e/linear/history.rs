//! A history: the clients' requests with their times and answers.

use std::collections::HashMap;

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads the value.
    Get,
    /// Sets a new value.
    Set(String),
    /// Appends to the value.
    Append(String),
    /// Increments the number.
    Increment,
}

/// The answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer to [`Request::Get`], with `None` if the key has never been written.
    Value(Option<String>),
    /// The answer to [`Request::Set`].
    Done,
    /// The answer to [`Request::Append`], the new length, or to [`Request::Increment`], the new
    /// number.
    Number(i64),
    /// No answer came: the request may have happened, may happen later, or never.
    Unknown,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Event {
    /// The client.
    pub client: u32,
    /// The key of the request.
    pub key: String,
    /// Nanoseconds from the start of the history until it was sent.
    pub asked: i64,
    /// Nanoseconds from the start of the history until its answer came; `i64::MAX` if none came.
    pub told: i64,
    /// The request.
    pub request: Request,
    /// The answer.
    pub answer: Answer,
}

/// All events of one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The events, in no order.
    pub events: Vec<Event>,
}

impl History {
    /// Adds an event. Reads without an answer prove nothing and are ignored.
    pub fn add(&mut self, event: Event) {
        if event.answer != Answer::Unknown || event.request != Request::Get {
            self.events.push(event);
        }
    }

    /// Returns the numbers of answered requests and of requests of unknown fate.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let unknown = self.events.iter().filter(|event| event.answer == Answer::Unknown).count();
        (self.events.len() - unknown, unknown)
    }

    /// Returns the events of each key.
    #[must_use]
    pub fn by_key(&self) -> HashMap<&str, Vec<&Event>> {
        let mut keys: HashMap<&str, Vec<&Event>> = HashMap::new();
        for event in &self.events {
            keys.entry(&event.key).or_default().push(event);
        }
        keys
    }

    /// Returns the history with one stale read, chosen by `seed`: it has the answer of an earlier
    /// read, although other writes were acknowledged between them. A backup that lags would give
    /// this answer if it answered alone. Returns `None` if the history has no place for such a
    /// read.
    #[must_use]
    pub fn with_stale_read(&self, seed: u64) -> Option<Self> {
        let mut reads: Vec<usize> =
            (0..self.events.len()).filter(|at| self.events[*at].request == Request::Get).collect();
        if reads.is_empty() {
            return None;
        }
        let turn = usize::try_from(seed.wrapping_mul(0x9e37_79b9) % reads.len() as u64).ok()?;
        reads.rotate_left(turn);
        let keys = self.by_key();
        let (late, stale) = reads.iter().find_map(|at| {
            let late = &self.events[*at];
            let earlier = keys[late.key.as_str()].iter().find(|early| {
                early.request == Request::Get
                    && early.answer != late.answer
                    && self.overwritten_between(early, late, &keys)
            })?;
            Some((*at, earlier.answer.clone()))
        })?;
        let mut planted = self.clone();
        planted.events[late].answer = stale;
        Some(planted)
    }

    /// Returns whether some SET began after the answer to `early`, and was acknowledged before
    /// `late` was asked. No value is set twice, so the answer to `early` cannot become right again.
    fn overwritten_between(
        &self,
        early: &Event,
        late: &Event,
        keys: &HashMap<&str, Vec<&Event>>,
    ) -> bool {
        keys[late.key.as_str()].iter().any(|event| {
            matches!(event.request, Request::Set(_))
                && event.answer == Answer::Done
                && event.asked > early.told
                && event.told < late.asked
        })
    }
}
