//! The queue of future events, by time; events of the same time keep the order of their scheduling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nanoseconds of simulated time.
pub(super) type Nanos = u64;

/// The future events. They stay where they are put, since an event is much larger than its time.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    /// By time: the number of the scheduling, and the place.
    due: BinaryHeap<Reverse<(Nanos, u64, usize)>>,
    events: Vec<Option<T>>,
    /// The places without an event.
    free: Vec<usize>,
    sequence: u64,
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<T> EventQueue<T> {
    /// Schedules an event.
    pub(super) fn schedule(&mut self, at: Nanos, event: T) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.due.push(Reverse((at, self.sequence, place)));
    }

    /// Returns the next event that is due by `until`, with its time.
    pub(super) fn next(&mut self, until: Nanos) -> Option<(Nanos, T)> {
        let Reverse((at, ..)) = *self.due.peek()?;
        if at > until {
            return None;
        }
        let Reverse((at, _, place)) = self.due.pop()?;
        self.free.push(place);
        let event = self.events[place].take().expect("it was scheduled");
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_in_the_order_of_their_scheduling() {
        let mut queue = EventQueue::default();
        for (at, event) in [(5, 'd'), (3, 'b'), (5, 'e'), (1, 'a'), (3, 'c')] {
            queue.schedule(at, event);
        }
        let early: Vec<_> = std::iter::from_fn(|| queue.next(3)).collect();
        assert_eq!(early, [(1, 'a'), (3, 'b'), (3, 'c')]);
        queue.schedule(5, 'f');
        let rest: String = std::iter::from_fn(|| queue.next(9)).map(|(_, event)| event).collect();
        assert_eq!(rest, "def");
    }
}
