//! The voting status and the role of a node, and the reasons for a change of role.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

use super::{Content, StorageEpoch};

/// The right of a node to promise and acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum VotingStatus {
    /// The storage is empty. The node knows neither whether the group exists already nor whether it
    /// has voted in the group.
    #[default]
    Blank,
    /// The storage was new before any other member had voted.
    Ready,
    /// The storage was new after others had voted. The node learns the log, and asks the primary to
    /// propose [`Content::Rejoin`] for this epoch.
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
    /// The node may not vote: it does not know yet whether the group has used its storage, or it
    /// rejoins after a loss. It receives the log once it knows the primary.
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
    /// The primary was silent for longer than the timeout.
    Silence,
    /// The link to the primary was closed.
    LinkDown,
    /// The primary asked this node to take over.
    LeadershipTransferred,
    /// A quorum promised this node's ballot.
    Elected,
    /// The node saw a higher ballot.
    HigherBallot,
    /// A primary did not reach a quorum for an election timeout, or a quorum did not answer a
    /// candidate.
    NoQuorum,
    /// The node found a primary.
    PrimaryFound,
    /// The node has lost its storage.
    StorageLost,
    /// The node may vote from now on.
    Admitted,
    /// The log no longer names the node as a voter.
    Removed,
}
