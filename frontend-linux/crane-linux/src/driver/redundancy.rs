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

    /// Returns an error if, of these members, each that runs a server needs a checkpoint of another
    /// first, while a member that is to be removed may have one: nobody could build the server
    /// again.
    // specs: M7
    pub(super) fn must_keep_state(&self, removed: NodeId, left: &Members) -> Result<(), String> {
        let has_state = |node: NodeId| match node == self.me() {
            true => self.checkpoint.needed == Slot::NONE,
            false => self.checkpoint.peers[node.index()].needed == Slot::NONE,
        };
        let is_there = |node: NodeId| node == self.me() || self.is_linked(node);
        let servers = left.voters.difference(left.witnesses);
        if !has_state(removed) || servers.iter().any(|node| is_there(node) && has_state(node)) {
            return Ok(());
        }
        let names: Vec<String> = servers.iter().map(|node| node.to_string()).collect();
        Err(format!(
            "the server could not be built again without it: replica {} needs a checkpoint first; \
             start this one, and wait until another is in step",
            names.join(" and ")
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
