//! The values that go into a vigil, and those that come out.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, NodeId, Slot};
use crate::paxos::NodeSet;
use crate::time::{Duration, Instant};

/// The part of a replica that stands still although it has work to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Ailment {
    /// A sync that is due does not return.
    Disk,
    /// The server does not move although it has work, and the servers of others have passed it.
    Server,
    /// The servers of others have passed this one, which has no work: entries of the log do not
    /// arrive here. Or others have a primary, and this replica finds none.
    Reception,
}

/// The position of a server in the script: positions of servers that do the same are in one order.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ScriptPosition {
    /// The admitted index.
    pub admitted: Slot,
    /// The logical clock.
    pub clock: u64,
}

/// A replica's report of its own progress.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// The position of its server.
    pub position: ScriptPosition,
    /// The ailment that makes it sick, if it is.
    pub ailment: Option<Ailment>,
    /// Whether it knows a primary.
    pub knows_primary: bool,
    /// Whether it may take over the role: it is neither sick nor on trial, and its syncs are quick.
    pub is_well: bool,
    /// How often it has lost the role since its start because it was sick.
    pub losses: u32,
    /// The last generation whose clients it has handed on; 0 if there is none.
    pub handed_on: Generation,
}

/// The group as the driver sees it at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupSight {
    /// Whether this replica is primary.
    pub is_primary: bool,
    /// Whether this replica knows a primary.
    pub knows_primary: bool,
    /// The members that vote.
    pub voters: NodeSet,
    /// The size of a quorum of them.
    pub quorum: usize,
    /// The members whose servers run.
    pub servers: NodeSet,
    /// The members to which there is a link.
    pub linked: NodeSet,
    /// The members in whose storage the first slot is durable that is not durable here, or the
    /// whole log.
    pub ahead: NodeSet,
}

/// The consequences of a replica's progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// The ailment that makes this replica sick, if it is, and since when it stands still.
    pub ailment: Option<(Ailment, Instant)>,
    /// The member to which this primary transfers its role now.
    pub transfer_to: Option<NodeId>,
    /// Whether this primary is sick, and no member may take over.
    pub nobody_is_better: bool,
    /// Whether this replica cannot serve its clients: they are handed on.
    pub hands_clients_on: bool,
    /// Whether this replica is on trial, so that others become primary first.
    pub on_trial: bool,
    /// Whether the disk stands still, so that this node starts no election.
    pub disk_stands: bool,
    /// How long a sync takes, if that is longer than elections should take; else zero.
    pub sync_time: Duration,
    /// Whether a probe write is due.
    pub probe: bool,
    /// Whether the driver measures the server's processor time now.
    pub measure: bool,
    /// Whether the members receive a report now.
    pub report: bool,
}
