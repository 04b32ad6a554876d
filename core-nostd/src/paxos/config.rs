//! The settings of a node.

use crate::id::NodeId;
use crate::time::Duration;

use super::Members;

/// The settings of one node. They need not be equal on all nodes, `members` excepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// The node's own name.
    pub me: NodeId,
    /// The members with which the group was created; later changes in the log take precedence. A
    /// node that starts with blank storage in an existing group must be given the present members:
    /// if all the members that it knew were blank as well, they would form another group.
    pub members: Members,
    /// The time between two heartbeats of a primary.
    pub heartbeat: Duration,
    /// How long a primary may be silent before another node starts an election, and how long a
    /// primary may be without a quorum; a candidacy may take twice as long. A backup adds a spread,
    /// by its rank and at random.
    pub election_timeout: Duration,
    /// Nodes with a lower rank start an election first when a primary fails.
    pub rank: u8,
    /// A number that this node has never used before: drawn at random, or counted up, at each start
    /// of the program. It distinguishes answers to this run from older ones, seeds the spread of
    /// timeouts, and names the epoch of the storage if that turns out to have been lost. Not 0.
    pub nonce: u64,
    /// How long a node that starts with storage waits until all other voters have said what they
    /// recall of it, if a quorum has; it does not vote meanwhile. Zero: the node trusts its
    /// storage, which must not be an old copy then.
    pub storage_check: Duration,
    /// The number of bytes of payload that may be undecided at a time; one payload is always
    /// allowed.
    pub bytes_undecided_max: u64,
    /// The number of bytes of payload that may be decided and not yet durable here. A node whose
    /// disk is further behind takes no more entries before it has synced. This bounds what a
    /// frontend keeps in memory while its disk hangs.
    pub bytes_behind_max: u64,
}

impl Config {
    /// Creates the usual settings for a local network: a heartbeat every 20 ms, and an election
    /// timeout of 150 ms, without a check of the storage.
    pub const fn new(me: NodeId, members: Members, nonce: u64) -> Self {
        Self {
            me,
            members,
            heartbeat: Duration::from_millis(20),
            election_timeout: Duration::from_millis(150),
            rank: me.number(),
            nonce,
            storage_check: Duration::ZERO,
            bytes_undecided_max: 16 * 1024 * 1024,
            bytes_behind_max: 64 * 1024 * 1024,
        }
    }
}
