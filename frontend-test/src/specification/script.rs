//! The rules for the script, and for the servers that consume it.

use std::collections::{BTreeMap, HashMap};

use crane_core::execution::Mark;
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::limits::{CALL_NANOSECONDS, NODES_MAX};

use super::event::{OpFact, Outcome};
use super::{Validator, Verdict, breaks, rule};

/// The script, with the outcome of each slot at the first server that admitted it.
#[derive(Debug, Default)]
pub(super) struct Script {
    entries: BTreeMap<Slot, Entry>,
    admitted: BTreeMap<Slot, Admission>,
    /// The number of the next connection in each generation of an entry replica.
    next: HashMap<(NodeId, Generation), u64>,
    /// The last retired generation of each entry replica.
    retired: [Generation; NODES_MAX],
    received: HashMap<ConnId, u64>,
    incarnation: Incarnation,
}

#[derive(Debug)]
struct Entry {
    timestamp: u64,
    grant: u32,
    ops: Vec<OpFact>,
}

#[derive(Debug)]
struct Admission {
    mark: Mark,
    agreed: u64,
    outcomes: Vec<Outcome>,
    /// Whether the server ended there, and began anew.
    restarted: bool,
}

impl Script {
    // specs: S9
    pub(super) fn add(
        &mut self,
        slot: Slot,
        timestamp: u64,
        grant: u32,
        ops: Vec<OpFact>,
    ) -> Verdict {
        let last = self.entries.values().next_back().map_or(0, |entry| entry.timestamp);
        self.entries.insert(slot, Entry { timestamp, grant, ops });
        rule("S9", timestamp > last, || {
            format!("the timestamp of {slot} is {timestamp}, after {last}")
        })
    }

    /// Returns the last slot of the script up to this one.
    pub(super) fn last(&self, up_to: Slot) -> Option<Slot> {
        self.entries.range(..=up_to).next_back().map(|(slot, _)| *slot)
    }

    /// Returns the ops that are committed up to a slot.
    pub(super) fn ops(&self, up_to: Slot) -> impl Iterator<Item = &OpFact> {
        self.entries.range(..=up_to).flat_map(|(_, entry)| &entry.ops)
    }

    /// Checks E1 to E3 and E7 by the numbers alone. The ops of a connection that the server has
    /// closed or refused do not count any more.
    // specs: E1, E2, E3, E7, I1, I2
    fn admit(&mut self, op: &OpFact, outcome: Outcome) -> Verdict {
        let older = Generation::before(self.incarnation);
        if let Some(conn) = op.conn()
            && outcome != Outcome::Nothing
        {
            let retired = self.retired[conn.entry.index()];
            rule("E7", conn.generation > retired, || {
                format!("{op:?} counts, although its generation is retired")
            })?;
            rule("I2", conn.generation > older, || {
                format!("{op:?} counts, although its incarnation has ended")
            })?;
        }
        match (*op, outcome) {
            (OpFact::Connect(conn), Outcome::Connected) => {
                let next = self.next.entry((conn.entry, conn.generation)).or_insert(1);
                rule("E1", conn.number == *next, || format!("{conn} connects, {next} is next"))?;
                *next += 1;
                self.received.insert(conn, 0);
            }
            (OpFact::Send(conn, from, to), Outcome::Data { at, count }) => {
                let Some(received) = self.received.get_mut(&conn) else {
                    return breaks("E3", format!("{conn} gets bytes and does not exist"));
                };
                rule("E2", at >= *received && at + count == to, || {
                    format!("{conn} gets byte {at} again")
                })?;
                rule("E3", from <= *received && at == *received, || {
                    format!("{conn} gets byte {at} after {received}")
                })?;
                *received = to;
            }
            (OpFact::Shut(conn, total), Outcome::Counted) => {
                rule("E3", self.received.get(&conn) == Some(&total), || {
                    format!("{conn} ends at {total}, and has {:?}", self.received.get(&conn))
                })?;
            }
            (OpFact::Restart(incarnation), outcome) => {
                let counts = outcome == Outcome::Counted;
                rule("I1", counts == (incarnation > self.incarnation), || {
                    format!("{op:?} in incarnation {} counts: {counts}", self.incarnation)
                })?;
                if counts {
                    self.incarnation = incarnation;
                }
            }
            (OpFact::Retire(node, generation), Outcome::Counted) => {
                self.retired[node.index()] = generation;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Validator {
    // specs: S4
    pub(super) fn on_dropped(&mut self, node: NodeId, runnable: bool) -> Verdict {
        self.replicas[node.index()].dropped = true;
        rule("S4", !runnable, || "drops a grant while a thread is runnable".into())
    }

    /// The server begins where its checkpoint ends. The trace does not say whether it had dropped a
    /// grant by then.
    pub(super) fn on_rebuilt(&mut self, node: NodeId, cut: Slot) {
        let replica = &mut self.replicas[node.index()];
        replica.admitted = self.script.last(cut);
        replica.dropped = true;
    }

    // specs: S1, S2, S3, S5, S7, I4
    pub(super) fn on_admitted(
        &mut self,
        node: NodeId,
        mark: Mark,
        agreed: u64,
        outcomes: &[Outcome],
    ) -> Verdict {
        let replica = &mut self.replicas[node.index()];
        let slot = mark.slot;
        let script = &mut self.script;
        let Some(entry) = script.entries.get(&slot) else {
            return breaks("S1", format!("admits {slot}, which is not committed"));
        };
        rule("S1", slot <= replica.committed, || format!("admits {slot} before it is committed"))?;
        let before = replica.admitted.unwrap_or(Slot::NONE);
        let expected = script.entries.range(before.next()..).next().map(|(slot, _)| *slot);
        rule("S1", expected == Some(slot), || format!("admits {slot} after {before}"))?;
        if replica.admitted.is_some() {
            let (last, entry_before) = (&script.admitted[&before], &script.entries[&before]);
            // An incarnation begins with nothing granted.
            let (grant, clock, agreed_before) = match last.restarted {
                true => (0, 0, entry_before.timestamp),
                false => (u64::from(entry_before.grant), last.mark.clock, last.agreed),
            };
            let used = mark.clock.checked_sub(clock);
            rule("S3", used.is_some_and(|used| used <= grant), || {
                format!("makes {used:?} calls between {before} and {slot}, granted {grant}")
            })?;
            rule("S2", used == Some(grant) || replica.dropped, || {
                format!("admits {slot} with {used:?} of {grant} steps used")
            })?;
            let passed = used.unwrap_or(0) * CALL_NANOSECONDS;
            rule("S5", agreed == entry.timestamp.max(agreed_before + passed), || {
                format!("has agreed time {agreed} at {slot}")
            })?;
        }
        replica.admitted = Some(slot);
        replica.dropped = false;
        if let Some(first) = script.admitted.get(&slot) {
            let same = first.mark == mark && first.agreed == agreed && first.outcomes == outcomes;
            return rule("S7", same, || format!("has {mark:?}, another server {:?}", first.mark));
        }
        let ops = entry.ops.clone();
        rule("S1", ops.len() == outcomes.len(), || format!("admits part of {slot}"))?;
        let before = script.incarnation;
        for (op, outcome) in ops.iter().zip(outcomes) {
            script.admit(op, *outcome)?;
        }
        let (outcomes, restarted) = (outcomes.to_vec(), script.incarnation > before);
        script.admitted.insert(slot, Admission { mark, agreed, outcomes, restarted });
        Ok(())
    }
}
