//! What a node is told before it starts.

use crate::id::NodeId;
use crate::time::Duration;

use super::Members;

/// The settings of one node. They need not be equal on all nodes, `members` excepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Which node this is.
    pub me: NodeId,
    /// The members that the group was created with. What the log says later goes above this. A node
    /// that starts with blank storage in a group that exists is told the members as they are now:
    /// if all whom it is told of were blank as well, they would begin another group.
    pub members: Members,
    /// How often a primary is heard from when it has nothing to say.
    pub heartbeat: Duration,
    /// After how long an election timeout a primary is given up; also how long a primary without a
    /// quorum goes on, and how long a candidacy may take. A spread by node and chance is added.
    pub election_timeout: Duration,
    /// Nodes with a lower rank stand for election first when a primary fails.
    pub rank: u8,
    /// A number that this node has never used before: drawn at random, or counted up, at each start
    /// of the program. It tells answers to this range from older ones, seeds the spread of
    /// timeouts, and names the epoch of the storage if that turns out to have been lost. Not 0.
    pub nonce: u64,
    /// Bytes of payload that may be undecided at the same time; one payload is always allowed.
    pub bytes_undecided_max: u64,
}

impl Config {
    /// The usual timing for a local network: heartbeats each 20 ms, an election timeout of 150 ms.
    pub const fn new(me: NodeId, members: Members, nonce: u64) -> Self {
        Self {
            me,
            members,
            heartbeat: Duration::from_millis(20),
            election_timeout: Duration::from_millis(150),
            rank: me.number(),
            nonce,
            bytes_undecided_max: 16 * 1024 * 1024,
        }
    }
}
