//! Acts that lower the redundancy of the group: refused if it could not bear them.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{Members, NodeSet};

use super::{Driver, Host};

/// The number of slots that a fit member may lack.
pub(super) const SLOTS_BEHIND_MAX: u64 = 64;

impl<H: Host> Driver<H> {
    /// Refuses members of whom no quorum answers with the whole log: the group would stand still.
    ///
    /// # Errors
    /// Returns who is missing, for people.
    // specs: M7
    pub(super) fn must_have_quorum(&self, members: &Members) -> Result<(), String> {
        let has_log = |node: NodeId| {
            let matched = self.node.contact(node).matched;
            self.is_linked(node) && matched.0 + SLOTS_BEHIND_MAX >= self.committed.0
        };
        let ready: NodeSet =
            members.voters.iter().filter(|node| *node == self.me() || has_log(*node)).collect();
        if members.is_quorum(ready) {
            return Ok(());
        }
        let absent = members.voters.difference(ready);
        let names: Vec<String> = absent.iter().map(|node| node.to_string()).collect();
        Err(format!(
            "of the {} voters that would be left, {} answer with the whole log and {} are needed: \
             start replica {}, or wait until it has caught up, or add another member first",
            members.voters.len(),
            ready.len(),
            members.quorum(),
            names.join(" and ")
        ))
    }

    /// Returns an error if nobody could build the server again without the member that is to be
    /// removed: of the members that are left, each that runs a server needs a checkpoint of another
    /// first, or the log is cut and none of them has a proved checkpoint, while that one may have
    /// it.
    // specs: M7
    pub(super) fn must_keep_state(&self, removed: NodeId, left: &Members) -> Result<(), String> {
        let is_me = |node| node == self.me();
        let peer = |node: NodeId| &self.checkpoint.peers[node.index()];
        let needed = |node| if is_me(node) { self.checkpoint.needed } else { peer(node).needed };
        let proved = |node| if is_me(node) { self.checkpoint.proved() } else { peer(node).proved };
        let has_state = |node| needed(node) == Slot::NONE;
        // Behind an upgrade, each server that runs has its own files to begin with.
        let front = self.log.front();
        let has_base = |node| front == Slot::NONE || proved(node) >= front;
        let servers = left.voters.difference(left.witnesses);
        let any = |has: &dyn Fn(NodeId) -> bool| {
            servers.iter().any(|node| (is_me(node) || self.is_linked(node)) && has(node))
        };
        let names: Vec<String> = servers.iter().map(|node| node.to_string()).collect();
        let names = names.join(" and ");
        if has_state(removed) && !any(&has_state) {
            return Err(format!(
                "the server could not be built again without it: replica {names} needs a \
                 checkpoint first; start this one, and wait until another is in step, or, if its \
                 data is lost, remove it with --lost"
            ));
        }
        if any(&has_base) || self.is_linked(removed) && !has_base(removed) {
            return Ok(());
        }
        Err(format!(
            "the server could not be built again without it: the log is cut, and of replica \
             {names} none has a proved checkpoint; let one of them take it (crane-linux \
             checkpoint) after the role has left it (crane-linux primary move), and wait until it \
             is proved, or, if the data of this one is lost, remove it with --lost"
        ))
    }
}

/// Refuses members of whom one alone decides although others wait to be voters: an order to promote
/// one may have been lost with the primary that was to carry it out.
///
/// # Errors
/// Returns the members to be promoted first, for people.
// specs: M7
pub(super) fn must_not_lack_voters(left: &Members) -> Result<(), String> {
    if left.voters.len() > 1 || left.learners.is_empty() {
        return Ok(());
    }
    let learners: Vec<String> = left.learners.iter().map(|node| node.to_string()).collect();
    let learners = learners.join(" and ");
    Err(format!(
        "one voter would be left, which decides alone: promote replica {learners} first \
         (crane-linux member promote), or remove it first"
    ))
}
