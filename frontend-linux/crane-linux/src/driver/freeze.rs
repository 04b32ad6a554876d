//! The calls of servers that differ: frozen at the slot, kept, and compared with another replica's
//! calls until the first one that differs is named.
//!
//! A right replica sends the hashes of its blocks to the wrong ones. A wrong replica finds the
//! first block that differs, and asks for the calls from there on. Both use the calls that they
//! froze, so the continuing load does not matter.

use std::path::PathBuf;
use std::sync::Arc;

use crane_core::id::{NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::NodeSet;
use crane_core::time::Duration;
use crane_shm::history::BLOCK_CALLS;

use crate::event::Event;
use crate::frozen::{self, FrozenCalls, Parting, ServerHistory, describe_word};
use crate::net::frame::FrameKind;
use crate::report::CallsMessage;

use super::{Driver, Host};

/// The number of blocks whose hashes are sent: the last ones, which cover 4 Mi calls.
const BLOCKS_SENT: usize = 4096;
/// The number of calls that are sent: those of the block in question, and the rest of another
/// block.
const CALLS_SENT: u64 = 2 * BLOCK_CALLS;
/// The shortest time for which frozen calls stay in memory, because other replicas may ask for
/// them.
const KEPT_FOR: Duration = Duration::from_millis(60_000);

impl<H: Host> Driver<H> {
    /// Freezes the calls of this replica's server, because servers differ at a slot.
    // specs: D8
    pub(super) fn freeze_calls(&mut self, slot: Slot) {
        let is_of_run = self.server.behind.is_none_or(|restart| slot > restart.slot);
        if self.frozen_at(slot).is_some() || !is_of_run || broken(Mutant::CallsLost) {
            return;
        }
        let Some(history) = self.host.history() else { return };
        let group = self.meta.group.clone();
        let frozen = Arc::new(FrozenCalls { group, node: self.me(), slot, history });
        self.host.keep_frozen(frozen.clone());
        self.divergence.frozen_before = self.divergence.frozen.replace(frozen);
        self.divergence.frozen_at = self.now();
        let early = self.divergence.early.take_if(|(_, message)| message.slot() == slot);
        if let Some((from, message)) = early {
            self.on_calls(from, message);
        }
    }

    /// Drops the frozen calls once no replica asks for them any more. They are in the data
    /// directory.
    pub(super) fn drop_frozen(&mut self) {
        if self.now() > self.divergence.frozen_at + KEPT_FOR {
            self.divergence.frozen = None;
            self.divergence.frozen_before = None;
            self.divergence.early = None;
        }
    }

    /// Handles the result of keeping frozen calls in the data directory.
    pub(super) fn on_frozen_kept(&mut self, kept: Result<PathBuf, String>) {
        match kept {
            Ok(path) => {
                let text = format!("the last calls of this server are kept in {}", path.display());
                self.record_event(Event::Note { text });
            }
            Err(why) => {
                self.warn_operator(format!(
                    "the last calls of this server are not kept ({why}): crane-linux diff cannot \
                     compare them; free space in the data directory"
                ));
            }
        }
    }

    /// Sends the hashes of this server's blocks from about a clock on to replicas whose servers
    /// differ.
    pub(super) fn send_blocks(&mut self, slot: Slot, to: NodeSet, clock: u64) {
        let Some(frozen) = self.frozen_at(slot) else { return };
        let history = &frozen.history;
        let before = (clock / BLOCK_CALLS).saturating_sub(2);
        let end = history.first_block + history.blocks.len() as u64;
        let first = before.max(history.first_block).max(end.saturating_sub(BLOCKS_SENT as u64));
        let place = first.saturating_sub(history.first_block) as usize;
        let blocks = history.blocks.get(place..).unwrap_or_default().to_vec();
        let message = CallsMessage::Blocks { slot, first, blocks };
        to.iter().for_each(|node| self.send_calls_message(node, &message));
    }

    pub(super) fn frozen_at(&self, slot: Slot) -> Option<Arc<FrozenCalls>> {
        let state = &self.divergence;
        let mut all = [&state.frozen, &state.frozen_before].into_iter().flatten();
        all.find(|frozen| frozen.slot == slot).cloned()
    }

    fn send_calls_message(&mut self, to: NodeId, message: &CallsMessage) {
        let body = postcard::to_allocvec(message).expect("plain data");
        self.host.send_frame(to, FrameKind::Calls, &body);
    }

    /// Handles a message of another replica about the calls of its server or of this one.
    pub(super) fn on_calls(&mut self, from: NodeId, message: CallsMessage) {
        let slot = message.slot();
        let Some(frozen) = self.frozen_at(slot) else {
            // This replica has not judged that slot yet, or has finished with it.
            let judged = self.divergence.acted.max(self.divergence.split);
            if slot > judged && matches!(message, CallsMessage::Blocks { .. }) {
                self.divergence.early = Some((from, message));
            }
            return;
        };
        if let CallsMessage::Wanted { from: first, .. } = message {
            let clocks = first..first.saturating_add(CALLS_SENT);
            let calls = clocks.map_while(|clock| frozen.history.call(clock));
            let calls = calls.map(|call| (call.word, call.output)).collect();
            let message = CallsMessage::Calls { slot, from: first, calls };
            return self.send_calls_message(from, &message);
        }
        let Some(other) = message.history() else { return };
        if let CallsMessage::Calls { from: first, .. } = message {
            return self.name_parting(&frozen, from, first, &other);
        }
        let found = frozen::compare(&frozen.history, &other);
        if let Parting::Before(clock) = found.parting {
            let text =
                format!("calls differ from those of replica {from} since before clock {clock}");
            return self.report_parting(slot, text);
        }
        self.send_calls_message(from, &CallsMessage::Wanted { slot, from: found.from });
    }

    /// Names the first call of another server that differs from this one's.
    fn name_parting(
        &mut self,
        mine: &FrozenCalls,
        from: NodeId,
        first: u64,
        other: &ServerHistory,
    ) {
        let history = &mine.history;
        let here = |clock| history.call(clock).map(|call| history.describe(call));
        let text = match frozen::compare_calls(history, other, first, true) {
            Parting::Call(clock) => {
                let there = other.call(clock).map_or(0, |call| call.word);
                format!(
                    "the first call that differs is at clock {clock}: here {}, at replica {from} \
                     {}",
                    here(clock).unwrap_or_default(),
                    describe_word(there)
                )
            }
            Parting::Output(clock) => format!(
                "the first bytes for clients that differ from those of replica {from} are of the \
                 call at clock {clock}: {}",
                here(clock).unwrap_or_else(|| "the call is not kept any more".into())
            ),
            _ => format!(
                "the first difference from replica {from} is behind clock {}, in calls that are \
                 not kept by both",
                first.saturating_sub(1)
            ),
        };
        self.report_parting(mine.slot, text);
    }

    /// Reports where this server parted from another, once for each slot.
    fn report_parting(&mut self, slot: Slot, text: String) {
        if std::mem::replace(&mut self.divergence.named, slot) == slot {
            return;
        }
        self.record_silently(Event::Fault { text: text.clone() });
        self.warn_operator(format!("{text}; see crane-linux diff --help"));
    }
}
