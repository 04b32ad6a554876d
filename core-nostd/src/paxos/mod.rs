//! Agreement: which entry stands in which slot.
//!
//! Multi-Paxos (Lamport, "Paxos Made Simple", 2001) over a log. Two choices make it small:
//!
//! * Entries are accepted in the order of their slots, and keep the ballot under which they were first
//!   proposed. So ballot and slot of a log's last entry say what the whole log is, an acknowledgement
//!   is one number, and an entry of an earlier ballot is chosen by a later one above it, never by
//!   counting copies (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm",
//!   2014, §5.3 and §5.4).
//! * Any node that reaches a majority can become primary, whatever its log lacks: of the logs that
//!   the majority reports it takes over the one with the highest end (Ng, Haridi and Carbone,
//!   "Omni-Paxos", 2023, §4). So a group with a connected majority never waits for one special node.
//!
//! A node asks before it stands (pre-vote), and a primary that has lost its majority steps down, so
//! that a returning or half-connected node disturbs nobody.
//!
//! Payloads stay with the driver: the machine sees a [`Descriptor`]. The driver's loop:
//!
//! ```text
//! loop:  wait for a message, a finished write, a link's change, a request, or node.deadline()
//!        node.step(now, input, &mut out)   or   node.propose(now, descriptor, &mut out)
//!        for effect in out.drain(): send it, append it to the log, hand it on
//! ```
//!
//! | file | thought |
//! |---|---|
//! | `ballot`, `members`, `entry` | the nouns |
//! | `message`, `effect`, `config` | what goes in and what comes out |
//! | `node` | the machine: its state, and which handler sees an input |

mod ballot;
mod config;
mod effect;
mod entry;
mod members;
mod message;
mod node;

pub use ballot::Ballot;
pub use config::Config;
pub use effect::{
    CATCH_UP_SLOTS_MAX, EFFECTS_MAX, Effect, Effects, Input, Reason, Record, Role, Standing,
    WriteNumber,
};
pub use entry::{Content, Descriptor, Entry, Life};
pub use members::{Members, NodeSet};
pub use message::{LogEnd, MESSAGE_BYTES_MAX, Message};
pub use node::{Contact, Node, ProposeError, Stored};
