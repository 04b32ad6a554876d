//! Voting status and role of a node, and reasons for a change.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

use super::{Content, StorageEpoch};

/// A node's right to promise and acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum VotingStatus {
    /// The storage is empty. The node knows neither whether the group exists already, nor whether
    /// it has voted in it.
    #[default]
    Blank,
    /// The storage was new before any other member had voted.
    Ready,
    /// The storage was new when others had voted already. The node learns the log, and has the
    /// primary propose [`Content::Rejoin`] for this epoch.
    Rejoining {
        /// The epoch of this storage.
        epoch: StorageEpoch,
    },
    /// The node votes.
    Voter {
        /// The epoch of this storage.
        epoch: StorageEpoch,
    },
}

impl VotingStatus {
    /// Returns whether the node votes.
    pub const fn is_voter(&self) -> bool {
        matches!(self, Self::Voter { .. })
    }

    /// Returns whether an entry names this epoch of `me`.
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

/// The role of a node in its group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The node accepts what a primary proposes.
    Backup {
        /// The primary, if one is known.
        primary: Option<NodeId>,
    },
    /// The node asks to become primary.
    Candidate,
    /// The node proposes.
    Primary,
    /// The node may not vote: it does not know yet whether its storage is new, or it rejoins after
    /// a loss. It gets the log once it knows the primary.
    Recovering {
        /// The primary, if one is known.
        primary: Option<NodeId>,
    },
}

/// The reason for a change of role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The node has just started.
    Started,
    /// The primary was silent for too long.
    Silence,
    /// The link to the primary was closed.
    LinkDown,
    /// The primary asked this node to take over.
    LeadershipTransferred,
    /// A quorum promised.
    Elected,
    /// A higher ballot was seen.
    HigherBallot,
    /// A primary had no quorum in reach for too long, or a candidate was not answered by one.
    NoQuorum,
    /// A primary was found.
    PrimaryFound,
    /// The storage has been lost.
    StorageLost,
    /// The node may vote from now on.
    Admitted,
    /// The log says that the node is not a voter any more.
    Removed,
}
