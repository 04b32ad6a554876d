//! Ballots: the right to propose.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// A totally ordered right to propose, held by one node only.
///
/// A node never uses one ballot for two candidacies: it makes its own promise durable before it
/// asks others for theirs, and after a restart it continues from that promise.
///
/// Rounds are compared first, then nodes. Both are in one word, because ballots are compared very
/// often: the node is in the lowest byte, 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "BallotParts", into = "BallotParts")]
pub struct Ballot(u64);

/// The encoded form of a ballot.
#[derive(Serialize, Deserialize)]
struct BallotParts {
    /// At most [`Ballot::ROUND_MAX`].
    round: u64,
    /// The node; `None` in [`Ballot::ZERO`] only, unless the ballot was forged.
    node: Option<NodeId>,
}

impl From<Ballot> for BallotParts {
    fn from(ballot: Ballot) -> Self {
        Self { round: ballot.round(), node: ballot.node() }
    }
}

impl TryFrom<BallotParts> for Ballot {
    type Error = &'static str;

    fn try_from(BallotParts { round, node }: BallotParts) -> Result<Self, Self::Error> {
        if round <= Self::ROUND_MAX {
            Ok(Self::new(round, node))
        } else {
            Err("a ballot's round is above its limit")
        }
    }
}

impl Ballot {
    /// The ballot below those of all nodes: nothing was ever promised or accepted.
    pub const ZERO: Self = Self(0);

    /// The highest round. No node reaches it by counting.
    pub const ROUND_MAX: u64 = u64::MAX >> 8;

    /// Returns the ballot of a node in a round, which is at most [`ROUND_MAX`](Self::ROUND_MAX).
    pub const fn new(round: u64, node: Option<NodeId>) -> Self {
        assert!(round <= Self::ROUND_MAX, "a ballot's round is above its limit");
        let node = match node {
            Some(node) => node.number(),
            None => 0,
        };
        Self(round << 8 | node as u64)
    }

    /// Returns the round, which is compared first.
    pub const fn round(self) -> u64 {
        self.0 >> 8
    }

    /// Returns the node that may propose under this ballot, or `None` for [`Ballot::ZERO`]. The
    /// node decides between equal rounds.
    pub const fn node(self) -> Option<NodeId> {
        NodeId::new(self.0 as u8)
    }

    /// Returns the lowest ballot of `node` above this one. If this ballot is of the last round,
    /// which only a forged ballot reaches, it returns a ballot of that round, which may be below
    /// this one.
    // specs: P1
    pub const fn next_of(self, node: NodeId) -> Self {
        let next = self.round() + 1;
        Self::new(if next > Self::ROUND_MAX { Self::ROUND_MAX } else { next }, Some(node))
    }

    /// Returns whether `node` may propose under this ballot.
    pub const fn belongs_to(self, node: NodeId) -> bool {
        self.0 as u8 == node.number()
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node() {
            Some(node) => write!(f, "{}.{}", self.round(), node),
            None => f.write_str("none"),
        }
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
    #[test]
    fn the_last_round_is_not_passed() {
        let [a, b] = [1, 2].map(|number| NodeId::new(number).unwrap());
        let last = Ballot::new(Ballot::ROUND_MAX, Some(b));
        assert_eq!(last.next_of(b), last);
        assert_eq!((last.next_of(a).round(), last.next_of(a).node()), (Ballot::ROUND_MAX, Some(a)));
    }

    #[test]
    fn a_ballot_is_decoded_as_it_was_encoded() {
        let ballot = Ballot::new(300, NodeId::new(2));
        let mut space = [0; 16];
        let written = postcard::to_slice(&ballot, &mut space).unwrap();
        assert_eq!(written, [0xac, 2, 1, 2]);
        assert_eq!(postcard::from_bytes(written), Ok(ballot));
        let beyond = (Ballot::ROUND_MAX + 1, NodeId::new(2));
        let written = postcard::to_slice(&beyond, &mut space).unwrap();
        assert!(postcard::from_bytes::<Ballot>(written).is_err());
    }
}
