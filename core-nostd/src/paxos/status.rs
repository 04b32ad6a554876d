//! What a node may do, what it does, and why that changed.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

use super::{Content, StorageEpoch};

/// Whether a node may promise and acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum VotingStatus {
    /// Its storage is empty. It knows neither whether the group exists already, nor whether it has
    /// voted in it.
    #[default]
    Blank,
    /// When this storage was new, no other member had voted.
    Ready,
    /// The storage was new when others had voted already. Learns the log, and has the primary
    /// propose [`Content::Rejoin`] for this epoch.
    Rejoining {
        /// This storage's.
        epoch: StorageEpoch,
    },
    /// Votes.
    Voter {
        /// This storage's.
        epoch: StorageEpoch,
    },
}

impl VotingStatus {
    /// Whether it votes.
    pub const fn is_voter(&self) -> bool {
        matches!(self, Self::Voter { .. })
    }

    /// Whether an entry names this epoch of `me`.
    pub(super) fn is_named_by(&self, me: NodeId, content: &Content) -> bool {
        match (self, content) {
            (
                Self::Voter { epoch } | Self::Rejoining { epoch },
                Content::Rejoin { node, epoch: named },
            ) => *node == me && epoch == named,
            _ => false,
        }
    }
}

/// What a node does for its group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Accepts what a primary proposes.
    Backup {
        /// The primary, if one is known.
        primary: Option<NodeId>,
    },
    /// Stands for election.
    Candidate,
    /// Proposes.
    Primary,
    /// May not vote: it does not know yet whether its storage is new, or rejoins after a loss. It
    /// gets the log, once it knows the primary.
    Recovering {
        /// The primary, if one is known.
        primary: Option<NodeId>,
    },
}

/// Why a role changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The node has just started.
    Started,
    /// Nothing was heard from a primary for too long.
    Silence,
    /// The link to the primary was closed.
    LinkDown,
    /// The primary asked this node to take over.
    LeadershipTransferred,
    /// A quorum promised.
    Elected,
    /// A higher ballot was seen.
    HigherBallot,
    /// As primary: too long without a quorum in reach. As candidate: no quorum answered.
    NoQuorum,
    /// A primary made itself known.
    PrimaryFound,
    /// The storage turned out to have been lost.
    StorageLost,
    /// The node may vote from now on.
    Admitted,
    /// The log says that the node is not a voter any more.
    Removed,
}
