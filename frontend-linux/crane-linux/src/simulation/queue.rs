//! The queue of future events, by time; events of the same time keep the order of their scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds of simulated time.
pub(super) type Nanos = u64;

/// The future events.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    due: BinaryHeap<DueEvent<T>>,
    sequence: u64,
}

#[derive(Debug)]
struct DueEvent<T> {
    key: (Nanos, u64),
    event: T,
}

// The heap's first element is its greatest, and the earliest event comes first.
impl<T> Ord for DueEvent<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<T> PartialOrd for DueEvent<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for DueEvent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for DueEvent<T> {}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> EventQueue<T> {
    /// Schedules an event.
    pub(super) fn schedule(&mut self, at: Nanos, event: T) {
        self.sequence += 1;
        self.due.push(DueEvent { key: (at, self.sequence), event });
    }

    /// Returns the next event that is due by `until`, with its time.
    pub(super) fn next(&mut self, until: Nanos) -> Option<(Nanos, T)> {
        if self.due.peek()?.key.0 > until {
            return None;
        }
        self.due.pop().map(|due| (due.key.0, due.event))
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
