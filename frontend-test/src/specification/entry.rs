//! The rules for an entry replica and its clients' ops.

use std::collections::HashMap;

use crane_core::id::NodeId;

use super::event::OpFact;
use super::{Validator, Verdict, breaks, rule};

impl Validator {
    /// Forgets the ops of the generation before: its clients are reset.
    pub(super) fn begin_generation(&mut self, node: NodeId) {
        let replica = &mut self.replicas[node.index()];
        replica.kept.clear();
        replica.forwarded = None;
    }

    pub(super) fn on_kept(&mut self, node: NodeId, ticket: u64, op: OpFact) {
        self.replicas[node.index()].kept.insert(ticket, op);
    }

    // specs: E6
    pub(super) fn on_forwarded(&mut self, node: NodeId, ticket: u64, to: NodeId) -> Verdict {
        let replica = &self.replicas[node.index()];
        let open = |from: u64| {
            let mut kept = replica.kept.range(from..);
            kept.find(|(_, op)| !self.counts(node, op)).map(|(ticket, _)| *ticket)
        };
        let first = open(0);
        let next = match replica.forwarded {
            Some((before, forwarded)) if before == to => open(forwarded + 1),
            _ => None,
        };
        // The op is the first open one, or the next one for the same primary.
        let there = replica.kept.contains_key(&ticket);
        rule("E6", there && (Some(ticket) == next || Some(ticket) == first), || {
            format!("forwards {ticket}; the first is {first:?}, the next {next:?}")
        })?;
        self.replicas[node.index()].forwarded = Some((to, ticket));
        Ok(())
    }

    // specs: E4, E5
    pub(super) fn on_freed(&mut self, node: NodeId, ticket: u64) -> Verdict {
        let Some(op) = self.replicas[node.index()].kept.remove(&ticket) else {
            return breaks("E4", format!("frees {ticket}, which is not pending"));
        };
        let committed = self.replicas[node.index()].committed;
        rule("E4", self.script.ops(committed).any(|other| *other == op), || {
            format!("frees {op:?} before it is committed")
        })?;
        rule("E5", self.counts(node, &op), || format!("frees {op:?}, which did not count"))
    }

    /// Returns whether an op has counted, by the numbers in the script as far as it is committed at
    /// this node.
    fn counts(&self, node: NodeId, wanted: &OpFact) -> bool {
        let mut next = 1;
        let mut received = HashMap::new();
        for op in self.script.ops(self.replicas[node.index()].committed) {
            let mine = |conn: crane_core::id::ConnId| {
                wanted.conn().is_none_or(|wanted| {
                    (wanted.entry, wanted.generation) == (conn.entry, conn.generation)
                })
            };
            let counts = match *op {
                OpFact::Connect(conn) if mine(conn) && conn.number == next => {
                    next += 1;
                    received.insert(conn, 0);
                    true
                }
                OpFact::Send(conn, from, to) => match received.get_mut(&conn) {
                    Some(here) if from <= *here && to > *here => {
                        *here = to;
                        true
                    }
                    _ => false,
                },
                OpFact::Shut(conn, total) => received.get(&conn) == Some(&total),
                OpFact::Retire(..) | OpFact::Restart(_) | OpFact::Other(_) => true,
                OpFact::Connect(_) => false,
            };
            if counts && op == wanted {
                return true;
            }
        }
        false
    }
}
