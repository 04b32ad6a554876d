//! The queue of future events, by time; events of the same time keep the order of their scheduling.
//!
//! A run goes through some ten thousand events, each of which is put in and taken out once. The
//! heap therefore orders only small keys, and the events stay in their places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::group::Micros;

/// The future events.
#[derive(Debug)]
pub struct Queue<T> {
    /// The keys: the time, then the order of scheduling, with the event's place in the lowest bits.
    due: BinaryHeap<Reverse<(Micros, u64)>>,
    things: Vec<Option<T>>,
    free: Vec<u32>,
    sequence: u64,
}

/// The number of bits of a key that a place takes. The rest counts the scheduled events.
const PLACE_BITS: u32 = 24;

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<T> Queue<T> {
    /// Schedules an event.
    pub fn schedule(&mut self, at: Micros, thing: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            (self.things.len() - 1) as u32
        });
        assert!(place < 1 << PLACE_BITS, "more waits to happen than a group can cause");
        self.things[place as usize] = Some(thing);
        self.sequence += 1;
        assert!(self.sequence < 1 << (64 - PLACE_BITS));
        self.due.push(Reverse((at, self.sequence << PLACE_BITS | u64::from(place))));
    }

    /// Returns the next event that is due by `until`, with its time.
    pub fn next(&mut self, until: Micros) -> Option<(Micros, T)> {
        let Reverse((at, _)) = *self.due.peek()?;
        if at > until {
            return None;
        }
        let Reverse((_, key)) = self.due.pop()?;
        let place = key as u32 & ((1 << PLACE_BITS) - 1);
        self.free.push(place);
        let thing = self.things[place as usize].take();
        Some((at, thing.expect("what is due was kept")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_in_the_order_of_their_scheduling() {
        let mut queue = Queue::default();
        for (at, thing) in [(5, 'd'), (3, 'b'), (5, 'e'), (1, 'a'), (3, 'c')] {
            queue.schedule(at, thing);
        }
        let early: Vec<_> = std::iter::from_fn(|| queue.next(3)).collect();
        assert_eq!(early, [(1, 'a'), (3, 'b'), (3, 'c')]);
        queue.schedule(5, 'f');
        queue.schedule(4, 'x');
        let rest: String = std::iter::from_fn(|| queue.next(9)).map(|(_, thing)| thing).collect();
        assert_eq!(rest, "xdef");
    }
}
