//! Agreement: which entry is in which slot of the log.
//!
//! Multi-Paxos (Lamport, "Paxos Made Simple", 2001) over a log. Two choices make it small:
//!
//! * Entries are accepted in the order of their slots, so that an acknowledgement is one number. An
//!   entry keeps the ballot under which it was first proposed: two logs that have the same ballot
//!   in the same slot are equal up to there (Ongaro and Ousterhout, "In Search of an Understandable
//!   Consensus Algorithm", 2014, §5.3).
//! * Apart from that, a log is *accepted under* a ballot as a whole: it is the beginning of that
//!   primary's log and has every entry that the primary took over. Any node that reaches a quorum
//!   can become primary, even if its log lacks entries: of the logs with which the quorum promised,
//!   it takes over the longest of those accepted under the highest ballot, and has it accepted
//!   under its own ballot (Ng, Haridi and Carbone, "Omni-Paxos", 2023, §4). A group with a
//!   connected quorum therefore never waits for one special node, and only votes under the
//!   primary's own ballot count.
//!
//! A node asks before it starts an election (pre-vote), and a primary that has lost its quorum
//! steps down, so that a returning or half-connected node does not disturb the group.
//!
//! Payloads stay with the driver: the machine sees a [`Descriptor`]. The driver's loop:
//!
//! ```text
//! loop:  wait for a message, a finished write, a link's change, a request, or node.deadline()
//!        node.step(now, input, &mut out)   or   node.propose(now, descriptors, &mut out)
//!        for effect in out.drain(): send it, append it to the log, hand it on
//! ```
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `ballot`, `members`, `entry`, `status`, `window` | the nouns |
//! | `message`, `recollection`, `effect`, `config` | what goes in and what comes out |
//! | `state`, `roles` | what a node keeps in every role, and what in one |
//! | `node` | the machine's state, and how it emits effects |
//! | `timing`, `transitions` | changes that several handlers make |
//! | `replication`, `primary` | a primary's work: what members lack, votes, heartbeats |
//! | `fetching`, `candidate`, `completing` | election, and a log that is completed |
//! | `voting`, `acceptor` | the right to vote; promises and acceptances |
//! | `recall` | the check of the storage that a node starts with |
//! | `step` | dispatch: which handler sees an input, what every step ends with |
//! | `proposing`, `queries` | what a driver asks of a node |
//!
//! A file imports and calls only files of its own row and of rows above it; `ci/tidy cycles`
//! refuses a circle.

mod acceptor;
mod ballot;
mod candidate;
mod completing;
mod config;
mod effect;
mod entry;
mod fetching;
mod members;
mod message;
mod node;
mod primary;
mod proposing;
mod queries;
mod recall;
mod recollection;
mod replication;
mod roles;
mod state;
mod status;
mod step;
mod timing;
mod transitions;
mod voting;
mod window;

pub use ballot::Ballot;
pub use config::Config;
pub use effect::{CATCH_UP_SLOTS_MAX, EFFECTS_MAX, Effect, Effects, Input, Record, WriteNumber};
pub use entry::{
    Content, Descriptor, Entry, RANGE_BYTES_MAX, RANGE_ENTRIES_MAX, SlotRange, StorageEpoch,
};
pub use members::{Members, NodeSet};
pub use message::{LogEnd, MESSAGE_BYTES_MAX, Message};
pub use node::{Contact, DurableState, Node};
pub use proposing::{ChangeError, ProposeError};
pub use recollection::{Recollection, StorageGap};
pub use status::{Reason, Role, VotingStatus};
pub use window::SnapshotMeta;
