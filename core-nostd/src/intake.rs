//! The entry rule, on the side of the primary: which ops of each entry replica are in its log.
//!
//! An entry replica forwards an op again if nothing is committed for a while, and its driver may
//! have to wait for a commitment as long as a disk hangs. A primary that took each repetition would
//! let the log grow without a client doing anything. It therefore takes the ops of an entry
//! replica's generation in the order of their tickets, each once: what it has taken is in its log,
//! or waits to be, as long as it is primary.
//!
//! Frames may be lost on their way. A range of tickets behind a gap is not taken, because the ops
//! in the gap will be repeated, together with those after them.

use crate::forward::{Ticket, TicketRange};
use crate::id::{Generation, NodeId};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};

/// Which forwarded ops a primary has taken.
///
/// ```
/// use crane_core::forward::{Ticket, TicketRange};
/// use crane_core::id::{Generation, NodeId};
/// use crane_core::intake::Intake;
///
/// let (mut intake, from) = (Intake::new(), NodeId::new(2).unwrap());
/// let mut range = TicketRange {
///     generation: Generation(1),
///     kept_from: Ticket(0),
///     since: Ticket(0),
///     first: Ticket(0),
///     count: 3,
/// };
/// assert_eq!(intake.missing(from, &range), Some(0), "all three are new");
/// intake.took(from, &range);
/// range.count = 5;
/// assert_eq!(intake.missing(from, &range), Some(3), "three of the five are repeated");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Intake {
    /// By entry replica: its last generation, and the first ticket of it that was not taken.
    next: [Option<(Generation, Ticket)>; NODES_MAX],
}

impl Intake {
    /// Creates the state of a primary that has taken nothing.
    pub const fn new() -> Self {
        Self { next: [None; NODES_MAX] }
    }

    /// Forgets everything, because this node has become primary, or is no longer.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Returns how many ops at the beginning of a range have been taken before, or `None` if no op
    /// of it may be taken: all have been, ops before them were lost, or the generation has ended.
    // specs: E12
    pub fn missing(&self, from: NodeId, range: &TicketRange) -> Option<usize> {
        if range.count == 0 {
            return None;
        }
        let next = match self.next[from.index()] {
            Some((generation, _)) if range.generation < generation => return None,
            Some((generation, next)) if range.generation == generation => next,
            // All ops that this primary may lack are kept.
            _ => Ticket(0),
        };
        let next = next.max(range.kept_from);
        if range.since > next && !broken(Mutant::GapTaken) || range.end() <= next {
            return if broken(Mutant::RepeatsTaken) { Some(0) } else { None };
        }
        if broken(Mutant::RepeatsTaken) {
            return Some(0);
        }
        Some(next.0.saturating_sub(range.first.0) as usize)
    }

    /// Records that the ops of a range have been taken, or were before.
    pub fn took(&mut self, from: NodeId, range: &TicketRange) {
        self.next[from.index()] = Some((range.generation, range.end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId::new(3).unwrap()
    }

    fn range(generation: u64, kept_from: u64, since: u64, first: u64, count: u32) -> TicketRange {
        let [kept_from, since, first] = [kept_from, since, first].map(Ticket);
        TicketRange { generation: Generation(generation), kept_from, since, first, count }
    }

    #[test]
    fn ops_are_taken_once_and_in_order() {
        let mut intake = Intake::new();
        assert_eq!(intake.missing(node(), &range(1, 0, 3, 3, 2)), None, "the first were lost");
        let first = range(1, 0, 0, 0, 3);
        assert_eq!(intake.missing(node(), &first), Some(0));
        intake.took(node(), &first);
        assert_eq!(intake.missing(node(), &first), None, "repeated");
        assert_eq!(intake.missing(node(), &range(1, 0, 4, 4, 2)), None, "ticket 3 was lost");
        assert_eq!(intake.missing(node(), &range(1, 0, 0, 0, 6)), Some(3));
        assert_eq!(intake.missing(node(), &range(1, 1, 1, 4, 2)), Some(0), "3 was committed");
        assert_eq!(intake.missing(node(), &range(1, 7, 7, 7, 1)), Some(0), "all before were");
        assert_eq!(intake.missing(node(), &range(1, 0, 0, 0, 0)), None);
    }

    #[test]
    fn a_generation_ends_those_before() {
        let mut intake = Intake::new();
        intake.took(node(), &range(5, 0, 0, 0, 9));
        assert_eq!(intake.missing(node(), &range(4, 9, 9, 9, 1)), None);
        assert_eq!(intake.missing(node(), &range(6, 0, 0, 0, 1)), Some(0));
        intake.clear();
        assert_eq!(intake.missing(node(), &range(4, 9, 9, 9, 1)), Some(0));
        let other = NodeId::new(1).unwrap();
        assert_eq!(intake.missing(other, &range(5, 0, 0, 0, 9)), Some(0));
    }

    #[test]
    fn forged_tickets_change_nothing_else() {
        let mut intake = Intake::new();
        let forged = range(u64::MAX, u64::MAX, u64::MAX, u64::MAX, u32::MAX);
        assert_eq!(intake.missing(node(), &forged), None);
        let last = range(1, 0, 0, u64::MAX, 1);
        assert_eq!(intake.missing(node(), &last), Some(0));
        intake.took(node(), &last);
        assert_eq!(intake.missing(node(), &last), None);
        let other = NodeId::new(1).unwrap();
        assert_eq!(intake.missing(other, &range(1, 0, 0, 0, 1)), Some(0));
    }
}
