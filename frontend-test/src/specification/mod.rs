//! The rules of `specs/`, checked on the trace of a run.
//!
//! The validator does not know how the core keeps the rules. It knows what nodes wrote, said and
//! admitted, and which rule each of these events must keep.
//!
//! | file | rules or content |
//! |---|---|
//! | `event` | the events of a trace |
//! | `storage` | the records that a node has written, and those that survive a crash |
//! | `agreement` | P, M |
//! | `voting` | R |
//! | `script` | S, and E where ops are admitted |
//! | `entry` | E at the entry replica |
//! | `logs` | P, R and S9 in the logs of real replicas |

mod agreement;
mod entry;
pub mod event;
pub mod logs;
mod script;
mod storage;
mod voting;

use std::collections::HashMap;

use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Ballot, LogEnd, Members};

use agreement::{Lead, Proposed};
use event::Event;
use script::Script;
use storage::Replica;

/// A rule that a trace breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule's name in `specs/`.
    pub rule: &'static str,
    /// The index of the event, from 0.
    pub at: usize,
    /// The action that broke the rule.
    pub what: String,
}

/// The verdict of a rule on one event.
type Verdict = Result<(), (&'static str, String)>;

/// Returns the verdict that a rule is broken.
fn breaks<T>(rule: &'static str, what: impl Into<String>) -> Result<T, (&'static str, String)> {
    Err((rule, what.into()))
}

/// Returns the verdict that a rule is kept if `kept`, else that it is broken.
fn rule(rule: &'static str, kept: bool, what: impl FnOnce() -> String) -> Verdict {
    if kept { Ok(()) } else { breaks(rule, what()) }
}

/// Follows a group of nodes through a trace.
struct Validator {
    first: Members,
    replicas: Vec<Replica>,
    /// The log that each ballot's owner leads with.
    leads: HashMap<Ballot, Lead>,
    /// The proposal for each slot under each ballot.
    proposed: HashMap<(Slot, Ballot), Proposed>,
    /// The committed log.
    chosen: Vec<crane_core::paxos::Entry>,
    script: Script,
    /// The log of each promise, as the ballots of its entries.
    promised: HashMap<(NodeId, Ballot, LogEnd), Vec<Ballot>>,
}

/// Checks that a trace of a group with these first members keeps the rules.
///
/// # Errors
///
/// Returns the first [`Violation`].
pub fn validate(first: Members, trace: &[(NodeId, Event)]) -> Result<(), Violation> {
    let mut validator = Validator {
        first,
        replicas: (0..NODES_MAX).map(|_| Replica::default()).collect(),
        leads: HashMap::new(),
        proposed: HashMap::new(),
        chosen: Vec::new(),
        script: Script::default(),
        promised: HashMap::new(),
    };
    for (at, (node, event)) in trace.iter().enumerate() {
        let verdict = validator.happen(*node, event);
        verdict.map_err(|(rule, what)| Violation { rule, at, what: format!("{node}: {what}") })?;
    }
    Ok(())
}

impl Validator {
    fn happen(&mut self, node: NodeId, event: &Event) -> Verdict {
        match event {
            Event::Lost => self.replicas[node.index()].lose(),
            Event::PutBack => self.replicas[node.index()].put_back(),
            Event::Started { nonce, generation, stored, log } => {
                self.on_generation(node, *generation)?;
                self.on_started(node, *nonce, stored, log)?;
            }
            Event::Rebuilt { cut } => self.on_rebuilt(node, *cut),
            Event::Generation { generation } => {
                self.on_generation(node, *generation)?;
                self.begin_generation(node);
            }
            Event::Received { from, message } => self.on_received(node, *from, message),
            Event::Said { message, .. } => {
                self.on_said(node, message)?;
                self.on_vote_said(node, message)?;
            }
            Event::Wrote { number, record } => {
                self.on_voting_status(node, record)?;
                self.on_wrote(node, record)?;
                let replica = &mut self.replicas[node.index()];
                replica.write(*number, *record);
            }
            Event::Durable { up_to } => {
                let replica = &mut self.replicas[node.index()];
                replica.removed_before = replica.removed;
                replica.settle(*up_to);
                self.update_removed(node);
            }
            Event::Committed { up_to } => {
                self.on_committed(node, *up_to)?;
                self.update_removed(node);
            }
            Event::Role { role } => self.replicas[node.index()].role = Some(*role),
            Event::Script { slot, timestamp, grant, ops } => {
                self.script.add(*slot, *timestamp, *grant, ops.clone())?;
            }
            Event::Dropped { runnable } => self.on_dropped(node, *runnable)?,
            Event::Admitted { mark, agreed, outcomes } => {
                self.on_admitted(node, *mark, *agreed, outcomes)?;
            }
            Event::Kept { ticket, op } => self.on_kept(node, *ticket, *op),
            Event::Forwarded { ticket, to } => self.on_forwarded(node, *ticket, *to)?,
            Event::Freed { ticket } => self.on_freed(node, *ticket)?,
        }
        Ok(())
    }
}
