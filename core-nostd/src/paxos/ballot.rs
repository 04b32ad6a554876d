//! The right to propose.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// A totally ordered right to propose, held by one node only.
///
/// A node never uses one ballot for two candidacies: it writes its own promise down before it asks
/// others for theirs, and goes on from there after a restart.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Compared first.
    pub round: u64,
    /// Whose ballot it is; nobody's before the first. Decides between equal rounds.
    pub node: Option<NodeId>,
}

impl Ballot {
    /// Below every node's ballot: nothing was ever promised or accepted.
    pub const ZERO: Ballot = Ballot { round: 0, node: None };

    /// The lowest ballot of `node` above this one. There is none above the last round, which nobody
    /// reaches by counting, but which somebody may claim: then it is one of that round, perhaps
    /// below.
    // specs: P1
    pub const fn next_of(self, node: NodeId) -> Ballot {
        Ballot { round: self.round.saturating_add(1), node: Some(node) }
    }

    /// Whether `node` may propose under it.
    pub fn belongs_to(self, node: NodeId) -> bool {
        self.node == Some(node)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{}.{}", self.round, node),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_decide_first_then_nodes() {
        let [a, b] = [1, 2].map(|number| NodeId::new(number).unwrap());
        let first = Ballot::ZERO.next_of(b);
        let second = first.next_of(a);
        assert!(Ballot::ZERO < first && first < second);
        assert!(Ballot::ZERO.next_of(a) < first);
        assert!(second.belongs_to(a) && !second.belongs_to(b));
    }
}
