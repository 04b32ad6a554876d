//! The members of a group, and quorums of its voters.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::limits::NODES_MAX;

/// A set of nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeSet(u8);

/// The bits that name nodes.
const ALL: u8 = ((1u16 << NODES_MAX) - 1) as u8;
const _: () = assert!(NODES_MAX <= 7, "a set of nodes is kept in the bits of one byte");

impl NodeSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Returns the set of the nodes 1 to `count`.
    pub const fn first(count: usize) -> Self {
        assert!(count <= NODES_MAX);
        Self(((1u16 << count) - 1) as u8)
    }

    /// Returns whether `node` is in the set.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.index()) != 0
    }

    /// Returns the set with `node` in it.
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | (1 << node.index()))
    }

    /// Returns the set without `node`.
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node.index()))
    }

    /// Returns the nodes that are in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the nodes that are in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the nodes that are in this set and not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns how many nodes are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns whether no node is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the nodes in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            // The lowest set bit; none when no bit is left.
            let node = NodeId::new(left.trailing_zeros() as u8 + 1)?;
            left &= left - 1;
            Some(node)
        })
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl TryFrom<u8> for NodeSet {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        if bits & !ALL == 0 {
            Ok(Self(bits))
        } else {
            Err("a set of nodes has a bit that names no node")
        }
    }
}

impl From<NodeSet> for u8 {
    fn from(set: NodeSet) -> Self {
        set.0
    }
}

/// The members of the group, as the log has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    /// The nodes whose promises and acknowledgements count, at least one.
    pub voters: NodeSet,
    /// The nodes that receive the log, and whose votes do not count (yet). No voter is a learner.
    pub learners: NodeSet,
    /// The voters that keep the log and run no server. A witness starts an election only when no
    /// other node does, and transfers the leadership as soon as it can.
    pub witnesses: NodeSet,
}

impl Members {
    /// Returns a group of the nodes 1 to `count`, all of them voters with a server.
    ///
    /// # Panics
    /// Panics if `count` is not from 1 to [`NODES_MAX`]: the caller has checked its configuration.
    pub const fn first(count: usize) -> Self {
        assert!(count >= 1 && count <= NODES_MAX);
        Self { voters: NodeSet::first(count), learners: NodeSet::EMPTY, witnesses: NodeSet::EMPTY }
    }

    /// Returns all nodes that receive the log.
    pub const fn all(&self) -> NodeSet {
        self.voters.union(self.learners)
    }

    /// Returns the number of voters in a quorum. Any two quorums share a voter.
    pub const fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Returns whether the voters among `nodes` are a quorum.
    // specs: P6
    pub const fn is_quorum(&self, nodes: NodeSet) -> bool {
        self.voters.intersection(nodes).len() >= self.quorum()
    }

    /// Returns whether the sets are consistent with each other.
    pub const fn is_sound(&self) -> bool {
        !self.voters.is_empty()
            && self.voters.intersection(self.learners).is_empty()
            && self.witnesses.intersection(self.voters).len() == self.witnesses.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quorums_always_meet() {
        for count in 1..=NODES_MAX {
            let members = Members::first(count);
            let sets = || (0..=ALL).map(NodeSet).filter(|set| members.is_quorum(*set));
            for (one, other) in sets().flat_map(|one| sets().map(move |other| (one, other))) {
                let shared = one.intersection(other).intersection(members.voters);
                assert!(!shared.is_empty(), "{count} members: {one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_set_yields_the_nodes_that_were_added() {
        let nodes = [7, 1, 4].map(|number| NodeId::new(number).unwrap());
        let set: NodeSet = nodes.into_iter().collect();
        assert!(set.iter().map(NodeId::number).eq([1, 4, 7]));
        assert_eq!(set.without(nodes[0]).len(), 2);
        assert!(NodeSet::try_from(0x80).is_err());
    }
}
