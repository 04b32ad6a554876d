//! Entries that are read again, and what waits for them: other replicas that lack them, this
//! replica's server, the observation of the log.
//!
//! A reader asks for the next entries before it has used up those that it has. What other replicas
//! lack is sent beside all other work, in rounds: each round sends a bounded number of bytes, and
//! serves the replicas in turns.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{Message, SlotRange};
use tracing::debug;

use crate::log::Lookup;
use crate::log::fetch::FetchedRecord;
use crate::net::message::Collected;
use crate::report::CheckpointMessage;

use super::rooms::Owed;
use super::{Driver, FetchFor, Host};

/// The number of messages and ranges that may wait to be sent.
const OWED_MAX: usize = 64;

/// The number of bytes of entries after which a round sends no more of them to replicas that lack
/// them.
const PAID_PER_ROUND: u64 = 1 << 20;

impl<H: Host> Driver<H> {
    /// Requests that an entry, and others after it, be read again for a part of the driver.
    pub(super) fn fetch(&mut self, fetcher: FetchFor, slot: Slot) {
        if !self.fetching.contains(&fetcher) {
            self.fetching.push(fetcher);
            self.host.fetch(fetcher, self.log.plan_fetch(slot));
        }
    }

    pub(super) fn on_fetched(&mut self, fetcher: FetchFor, records: Vec<FetchedRecord>) {
        self.fetching.retain(|waiting| *waiting != fetcher);
        self.log.keep_fetched(records);
    }

    /// Handles a request whose segment is missing. If the log has been cut in the meantime, the
    /// reader does not need the entries any more.
    pub(super) fn on_fetch_missing(&mut self, fetcher: FetchFor, last: Slot, why: String) {
        self.fetching.retain(|waiting| *waiting != fetcher);
        if last > self.log.front() {
            self.fail(why);
        }
    }

    /// Requests the entries that a reader at this slot needs next, up to the last one.
    pub(super) fn read_ahead_for(&mut self, fetcher: FetchFor, slot: Slot, last: Slot) {
        if !self.fetching.contains(&fetcher)
            && let Some(next) = self.log.read_ahead(slot).filter(|next| *next <= last)
        {
            self.fetch(fetcher, next);
        }
    }

    /// Sends a message with the entries of its range. Entries that were appended recently are in
    /// the log's memory until they are durable; older ones may have to be read again first.
    pub(super) fn send(&mut self, to: NodeId, message: &Message) {
        if self.is_linked(to) && self.try_send(to, message).is_none() {
            self.owe(Owed::Message(to, *message));
        }
    }

    /// Returns the bytes of the message's entries if it is finished: it was sent, or can no longer
    /// be sent.
    fn try_send(&mut self, to: NodeId, message: &Message) -> Option<u64> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for slot in message.range().into_iter().flat_map(SlotRange::slots) {
            match self.log.read(slot) {
                Lookup::Found(entry, payload) => {
                    bytes += payload.as_ref().map_or(0, |payload| payload.len() as u64);
                    entries.push((entry, payload));
                }
                Lookup::Absent => {
                    debug!("slot {slot} has no entry any more: nothing is sent");
                    return Some(0);
                }
                Lookup::OnDisk => {
                    self.fetch(FetchFor::Owing(to), slot);
                    return None;
                }
            }
        }
        self.host.send_message(to, message, &entries);
        Some(bytes)
    }

    /// Has the entries of these slots sent to a replica.
    pub(super) fn serve_catch_up(&mut self, to: NodeId, from: Slot, up_to: Slot) {
        if !self.is_linked(to) {
            return;
        }
        match from <= self.log.front() {
            true => self.send_needed(to),
            false => self.owe(Owed::Range(to, from, up_to)),
        }
    }

    /// Answers a replica that lacks entries before the front of the log here: it needs a
    /// checkpoint.
    // specs: C6
    fn send_needed(&mut self, to: NodeId) {
        self.send_about_checkpoints(to, CheckpointMessage::Needed { front: self.log.front() });
    }

    fn owe(&mut self, owed: Owed) {
        // A receiver asks again for everything that is dropped here, as it does after a lost
        // message.
        if self.owed.queue.len() < OWED_MAX {
            self.owed.queue.push_back(owed);
        }
    }

    /// Sends what other replicas wait for, in turns, as far as its entries are in memory and the
    /// round permits it. Returns whether it sent anything.
    pub(super) fn pay_owed(&mut self) -> bool {
        let mut any = false;
        for _ in 0..self.owed.queue.len() {
            if self.owed.paid >= PAID_PER_ROUND {
                return any;
            }
            let Some(owed) = self.owed.queue.pop_front() else { break };
            let left = match owed {
                Owed::Message(to, message) => match self.try_send(to, &message) {
                    Some(bytes) => {
                        self.owed.paid += bytes;
                        None
                    }
                    None => Some(owed),
                },
                Owed::Range(to, from, up_to) => {
                    self.serve_chunk(to, from, up_to).map(|from| Owed::Range(to, from, up_to))
                }
            };
            any |= left != Some(owed);
            self.owed.queue.extend(left);
        }
        any
    }

    /// Permits another round to send what this one left. Returns whether it left anything that
    /// needs no reading.
    pub(super) fn end_paying(&mut self) -> bool {
        let paid = std::mem::take(&mut self.owed.paid);
        paid >= PAID_PER_ROUND && !self.owed.queue.is_empty()
    }

    /// Sends one message with entries of these slots, and returns the first that is left.
    fn serve_chunk(&mut self, to: NodeId, from: Slot, up_to: Slot) -> Option<Slot> {
        if from <= self.log.front() {
            self.send_needed(to);
            return None;
        }
        let mut collected = Collected::default();
        let mut next = from;
        let mut absent = false;
        while next <= up_to {
            let kept = match self.log.read(next) {
                Lookup::Found(entry, payload) => (entry, payload),
                Lookup::Absent => {
                    absent = true;
                    break;
                }
                Lookup::OnDisk => {
                    self.fetch(FetchFor::Owing(to), next);
                    break;
                }
            };
            if !collected.has_room(&kept) {
                break;
            }
            collected.push(kept);
            next = next.next();
        }
        let count = collected.range.len() as u32;
        if count > 0 {
            let range = SlotRange { first: from, count };
            self.host.send_message(to, &Message::Chosen { range }, &collected.range);
            self.events.counters.slots_served += u64::from(count);
            self.owed.paid += collected.bytes();
        }
        // The next range, which the receiver needs soon, begins there.
        let reader = (!absent && self.log.is_old(next)).then_some(next);
        self.owed.next[to.index()] = reader;
        if let Some(next) = reader {
            self.read_ahead_for(FetchFor::Owing(to), next, self.committed);
        }
        (next <= up_to && !absent).then_some(next)
    }
}
