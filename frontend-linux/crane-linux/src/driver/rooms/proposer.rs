//! The ops that wait to be proposed, and what the primary remembers of other replicas.

use std::collections::VecDeque;

use crane_core::bubble::Bubbles;
use crane_core::id::{Generation, Incarnation, NodeId};
use crane_core::intake::Intake;
use crane_core::limits::{ENTRY_BYTES_MAX, ENTRY_OPS_MAX, NODES_MAX};
use crane_core::time::{Duration, Instant};
use crane_core::wire::Genesis;

use crate::options::ReplicaArgs;

/// The number of bytes of ops that may wait to be proposed. Other replicas bound what they forward;
/// this limit bounds what they can repeat.
pub(in crate::driver) const PENDING_BYTES_MAX: usize = 16 << 20;

/// The state of the primary's proposals.
#[derive(Debug)]
pub(in crate::driver) struct Proposer {
    pub(in crate::driver) wtimeout: Duration,
    pub(in crate::driver) bubbles: Option<Bubbles>,
    /// The ops of all replicas that this primary has taken.
    pub(in crate::driver) intake: Intake,
    pub(in crate::driver) pending: VecDeque<OpBatch>,
    pub(in crate::driver) pending_bytes: usize,
    pub(in crate::driver) alarm: Option<Instant>,
    /// Since when there has been no link to a replica.
    pub(in crate::driver) down_since: [Option<Instant>; NODES_MAX],
    pub(in crate::driver) retiring: [Generation; NODES_MAX],
    pub(in crate::driver) time_asked: Option<(u64, Instant)>,
    /// The incarnation of the last restart that this primary has proposed.
    pub(in crate::driver) restarting: Option<Incarnation>,
    pub(in crate::driver) space: Vec<u8>,
}

/// Encoded ops that go into one entry.
#[derive(Debug)]
pub(in crate::driver) struct OpBatch {
    pub(in crate::driver) bytes: Vec<u8>,
    pub(in crate::driver) count: usize,
}

impl Proposer {
    pub(in crate::driver) fn new(args: &ReplicaArgs) -> Self {
        Self {
            wtimeout: Duration::from_micros(args.wtimeout.as_micros() as u64),
            bubbles: None,
            intake: Intake::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            alarm: None,
            down_since: [Some(Instant::START); NODES_MAX],
            retiring: [Generation(0); NODES_MAX],
            time_asked: None,
            restarting: None,
            space: vec![0; ENTRY_BYTES_MAX],
        }
    }

    pub(in crate::driver) fn genesis(&mut self, genesis: &Genesis) {
        self.bubbles = Some(Bubbles::new(self.wtimeout, genesis.nclock));
    }

    pub(in crate::driver) fn deadline(&self) -> Option<Instant> {
        self.alarm
    }

    pub(in crate::driver) fn link_up(&mut self, node: NodeId) {
        self.down_since[node.index()] = None;
        self.retiring[node.index()] = Generation(0);
    }

    pub(in crate::driver) fn link_down(&mut self, node: NodeId, now: Instant) {
        self.down_since[node.index()] = Some(now);
    }

    /// Drops waiting ops: they were forwarded to a former or future primary, and their entry
    /// replicas forward them again. The time without a link is counted anew for each replica.
    pub(in crate::driver) fn role_changed(&mut self, now: Instant) {
        self.intake.clear();
        self.pending.clear();
        self.pending_bytes = 0;
        self.retiring = [Generation(0); NODES_MAX];
        self.time_asked = None;
        self.restarting = None;
        for since in self.down_since.iter_mut().flatten() {
            *since = now;
        }
    }

    /// Adds one encoded op.
    pub(in crate::driver) fn push(&mut self, op: &[u8]) {
        self.pending_bytes += op.len();
        if let Some(last) = self.pending.back_mut()
            && last.count < ENTRY_OPS_MAX
            && last.bytes.len() + op.len() <= ENTRY_BYTES_MAX / 2
        {
            last.bytes.extend_from_slice(op);
            last.count += 1;
            return;
        }
        self.pending.push_back(OpBatch { bytes: op.to_vec(), count: 1 });
    }

    /// Adds encoded ops, unless too many bytes wait already. Returns whether it did.
    pub(in crate::driver) fn push_all(&mut self, bytes: &[u8], count: usize) -> bool {
        if self.pending_bytes + bytes.len() > PENDING_BYTES_MAX {
            return false;
        }
        self.pending_bytes += bytes.len();
        match self.pending.back_mut() {
            Some(last)
                if last.count + count <= ENTRY_OPS_MAX
                    && last.bytes.len() + bytes.len() <= ENTRY_BYTES_MAX / 2 =>
            {
                last.bytes.extend_from_slice(bytes);
                last.count += count;
            }
            _ => self.pending.push_back(OpBatch { bytes: bytes.to_vec(), count }),
        }
        true
    }

    pub(in crate::driver) fn ring_at(&mut self, at: Instant) {
        self.alarm = Some(self.alarm.map_or(at, |other| other.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use crane_core::wire::{EntryPayload, EntryWriter, Op};

    use super::*;
    use crate::options;

    fn proposer() -> Proposer {
        let cli = options::Cli::try_parse_from(["crane-linux", "--local", "1", "--", "x"]).unwrap();
        Proposer::new(&cli.replica)
    }

    #[test]
    fn what_waits_is_cut_into_chunks_that_fit_into_entries() {
        let mut proposer = proposer();
        let mut op = [0; 64];
        let length = Op::Time.encode(&mut op).unwrap();
        for _ in 0..3 * ENTRY_OPS_MAX {
            proposer.push(&op[..length]);
        }
        assert_eq!(proposer.pending.len(), 3);
        assert_eq!(proposer.pending_bytes, 3 * ENTRY_OPS_MAX * length);
        for chunk in &proposer.pending {
            let mut space = vec![0; ENTRY_BYTES_MAX];
            let mut writer = EntryWriter::new(&mut space).unwrap();
            writer.push_encoded(&chunk.bytes, chunk.count).unwrap();
            assert_eq!(
                EntryPayload::decode(writer.finish(1, 1)).unwrap().ops().len(),
                ENTRY_OPS_MAX
            );
        }
    }

    #[test]
    fn repeated_ops_of_others_are_bounded_and_forgotten_with_the_role() {
        let mut proposer = proposer();
        let taken = (0..100).filter(|_| proposer.push_all(&[0; 1 << 20], 1)).count();
        assert_eq!(taken, PENDING_BYTES_MAX >> 20);
        assert_eq!(proposer.pending_bytes, PENDING_BYTES_MAX);
        proposer.role_changed(Instant::START);
        assert!(proposer.pending.is_empty() && proposer.pending_bytes == 0);
    }
}
