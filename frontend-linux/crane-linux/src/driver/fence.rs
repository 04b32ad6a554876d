//! Daemons that have the number of a later one: they are not heard, and end.

use crane_core::id::{Generation, NodeId};
use crane_core::paxos::Role;

use crate::net::handshake::Hello;

use super::rooms::{Claims, Fence};
use super::{Driver, Host};

impl<H: Host> Driver<H> {
    /// Returns the generation of a later daemon of the replica that has sent this hello, if that
    /// one has linked with this replica. The earlier daemon is not heard any more.
    // specs: R12
    pub(crate) fn superseded_by(&mut self, hello: &Hello) -> Option<Generation> {
        let node = NodeId::new(hello.node)?;
        if !Claims::fits(node, &hello.address, &self.hello.roster) {
            return None;
        }
        self.fence.hear(node, Generation(hello.generation))
    }

    /// Ends this daemon once more than half of the others are linked with a later one of its
    /// number. A daemon that has not reached its group yet is no earlier one: its host's clock is
    /// behind. Nor is one that may not vote yet: a member that was replaced, and not told, has
    /// taken its place at the other replica for a moment.
    // specs: R12
    pub(super) fn on_fenced(&mut self, by: NodeId, newest: Generation) {
        if newest.0 <= self.hello.generation || !Fence::believes(newest) {
            return;
        }
        let may_vote = !matches!(self.node.role(), Role::Recovering { .. });
        if !self.hello.joined || !may_vote {
            if !self.fence.begins_again() {
                self.begin_generation_above(newest);
                self.fence.begin_again_above(Generation(self.meta.generation));
            }
            return;
        }
        if !self.fence.fenced(by, self.others()) {
            return;
        }
        let (me, name, data) = (self.me(), &self.settings.name, self.settings.data.display());
        self.fail(format!(
            "replica {by} is linked with a later daemon of replica {me} ({name}): a copy of {data} \
             was started elsewhere behind the same name. This one stops; stop the other one and \
             start this one again if it is the wrong one"
        ));
    }
}
