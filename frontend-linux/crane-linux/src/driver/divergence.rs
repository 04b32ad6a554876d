//! Servers that differ: the replicas find them by their marks, a majority or a third opinion
//! decides which are right, and the wrong ones are built again.
//!
//! The primary announces the mark of its server now and then, and each replica answers all others
//! with its server's mark of the same slot. The connections of a wrong server are reset, and it is
//! built again by replay; its daemon votes all the while. If no mark has a majority, one backup's
//! server is built again, and the servers that it agrees with are right. If it agrees with none,
//! the program is not deterministic under crane, and the group agrees to halt.

use crane_core::divergence::{Comparison, Difference, Verdict};
use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::NodeSet;
use crane_core::time::{Duration, Instant};
use crane_core::wire::Op;
use crane_shm::ServerState;
use tracing::{debug, info};

use crate::net::frame::FrameKind;
use crate::options::OnDivergence;
use crate::report::{MarkMessage, ServerReport};

use super::rooms::{Finding, FindingKind, Trial};
use super::{Driver, Host, ServerView};

/// The time after which a primary announces its mark again.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(1000);
/// How soon to look again whether calls can be covered that no mark covers.
const COVER_AGAIN: Duration = Duration::from_millis(100);
/// The number of calls of its server after which a primary announces its mark earlier.
const ANNOUNCE_CALLS: u64 = 16 * 1024;
/// The shortest time between two announcements.
const ANNOUNCE_AT_MOST: Duration = Duration::from_millis(50);
/// The number of slots at which marks may be wanted at the same time.
const WANTED_MAX: usize = 16;

impl<H: Host> Driver<H> {
    /// Announces this primary's mark when it is due, and sends the marks that others have asked
    /// for. Returns when to call this function again.
    pub(super) fn watch_marks(&mut self) -> Option<Instant> {
        if self.server.stopped_for.is_some() {
            // The server is being stopped, because it is wrong.
            return None;
        }
        let view = *self.server.view()?;
        self.answer_wanted(Slot(view.admitted));
        self.finish_trial(Slot(view.admitted));
        // The primary may have no server to announce marks of.
        if !self.is_primary() && !self.has_the_only_server() {
            return None;
        }
        let (now, slot) = (self.now(), Slot(view.admitted));
        let state = &self.divergence;
        if slot <= state.announced {
            return self.cover_last_calls(&view);
        }
        let by_calls = view.clock >= state.announced_clock + ANNOUNCE_CALLS;
        let due = state.announced_at + if by_calls { ANNOUNCE_AT_MOST } else { ANNOUNCE_EVERY };
        if now < due {
            return Some(due);
        }
        self.divergence.announced_at = now;
        if let Some(mark) = self.host.mark(slot) {
            self.divergence.announced = slot;
            self.divergence.announced_clock = view.clock;
            self.divergence.marked_clock = mark.clock;
            self.report_mark(mark);
        }
        self.cover_last_calls(&view)
    }

    /// Proposes an entry for the sake of its mark when the server rests after calls that no mark
    /// covers, so that a difference in these calls is found without another input. Returns when to
    /// call this function again.
    // specs: D9
    fn cover_last_calls(&mut self, view: &ServerView) -> Option<Instant> {
        let state = &self.divergence;
        let covered = view.clock <= state.marked_clock || state.announced == Slot::NONE;
        if covered || self.servers().len() < 2 || !self.is_primary() {
            return None;
        }
        let due = state.announced_at + ANNOUNCE_EVERY;
        if self.now() < due {
            return Some(due);
        }
        // Otherwise other entries follow without this one.
        if self.sight() == Some((ServerState::Quiescent, false)) {
            // Another entry is due only if this one is lost.
            self.divergence.announced_at = self.now();
            self.propose_op(Op::Time);
        }
        // Entries that are undecided may stay so for long.
        Some(self.now() + COVER_AGAIN)
    }

    fn answer_wanted(&mut self, admitted: Slot) {
        let reached = |slot: &Slot| *slot <= admitted;
        if !self.divergence.wanted.iter().any(reached) {
            return;
        }
        let wanted = std::mem::take(&mut self.divergence.wanted);
        let (reached, left): (Vec<Slot>, Vec<Slot>) = wanted.into_iter().partition(reached);
        self.divergence.wanted = left;
        for slot in reached {
            if self.server.stopped_for.is_some() {
                // It was found wrong at an earlier one of these slots.
                return;
            }
            match self.host.mark(slot) {
                Some(mark) => self.report_mark(mark),
                None => debug!("the server no longer keeps the mark of slot {slot}"),
            }
        }
    }

    fn report_mark(&mut self, mark: Mark) {
        let compared = self.compared(mark);
        self.divergence.marks.add(self.me(), compared);
        if self.has_the_only_server() {
            self.checkpoint.agreed = Some(compared);
        }
        self.notify_others(MarkMessage::Mark(mark));
        self.judge_marks(mark.slot);
    }

    /// Returns the part of a mark that replicas compare.
    pub(super) fn compared(&self, mark: Mark) -> Mark {
        let output = if self.divergence.output_differs { 0 } else { mark.output };
        Mark { output, ..mark }
    }

    fn notify_others(&mut self, message: MarkMessage) {
        let body = postcard::to_allocvec(&message).expect("plain data");
        for node in self.others().iter() {
            self.host.send_frame(node, FrameKind::Mark, &body);
        }
    }

    pub(super) fn on_mark(&mut self, from: NodeId, message: MarkMessage) {
        let slot = match message {
            MarkMessage::Mark(mark) | MarkMessage::Opinion(mark) => mark.slot,
            MarkMessage::Alone { slot, .. } => slot,
        };
        if slot == Slot::NONE || self.is_witness() || !self.servers().contains(from) {
            return;
        }
        match message {
            MarkMessage::Mark(mark) => {
                let mark = self.compared(mark);
                let state = &mut self.divergence;
                // It is answered in any case: the marks that say so may have been lost.
                match state.stale.contains(from) {
                    true => state.marks.add_late(from, mark),
                    false => state.marks.add(from, mark),
                }
                let known = state.marks.mark(self.settings.me, slot).is_some();
                if !known && !state.wanted.contains(&slot) {
                    if state.wanted.len() == WANTED_MAX {
                        state.wanted.remove(0);
                    }
                    state.wanted.push(slot);
                }
            }
            MarkMessage::Opinion(mark) => {
                info!("replica {from}'s server was built again and decides about slot {slot}");
                self.stop_awaiting(from);
                let mark = self.compared(mark);
                // Its other marks are of the run before.
                self.divergence.marks.forget(from);
                self.divergence.marks.add(from, mark);
                self.divergence.marks.add_opinion(mark);
                self.divergence.acted = Slot(self.divergence.acted.0.min(slot.0 - 1));
            }
            MarkMessage::Alone { slot, output_only } => {
                // A message about a split that this replica has not seen decides nothing.
                let awaited = self.stop_awaiting(from);
                if output_only || awaited {
                    self.on_alone(slot, output_only);
                }
                return;
            }
        }
        self.judge_marks(slot);
    }

    /// Ends the wait for a third opinion of a replica, and returns whether it was awaited.
    fn stop_awaiting(&mut self, node: NodeId) -> bool {
        self.divergence.awaited.take_if(|awaited| *awaited == node).is_some()
    }

    /// Returns the servers whose marks can still arrive.
    fn comparable(&self) -> NodeSet {
        let alive = |node: &NodeId| {
            let reachable = *node == self.me() || self.is_linked(*node);
            reachable && matches!(self.reports[node.index()], ServerReport::Alive { .. })
        };
        self.servers().iter().filter(alive).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Acts on the verdict on the marks of a slot, once.
    // specs: D3
    fn judge_marks(&mut self, slot: Slot) {
        if slot <= self.divergence.acted || self.divergence.trial.is_some() {
            return;
        }
        let verdict = self.divergence.marks.verdict(slot, self.servers(), self.comparable());
        if matches!(verdict, Verdict::Agreed | Verdict::Wrong(..)) {
            // The awaited replica may have expected another mark, and have seen no split.
            self.divergence.awaited = None;
        }
        match verdict {
            Verdict::Open => {}
            Verdict::Split(_)
                if self.divergence.awaited.is_some() || slot <= self.divergence.split => {}
            Verdict::Agreed => {
                if let Some(mark) = self.divergence.marks.mark(self.me(), slot) {
                    self.agreed_at(slot);
                    self.checkpoint.agreed = Some(mark);
                }
                self.drop_frozen();
                for kind in [FindingKind::Diverged, FindingKind::Split, FindingKind::EndsDiffer] {
                    self.clear_finding(kind);
                }
            }
            Verdict::Wrong(wrong, difference) => {
                self.divergence.acted = slot;
                self.freeze_calls(slot);
                for node in wrong.without(self.me()).iter() {
                    self.divergence.marks.forget_behind(node, slot);
                    self.divergence.stale = self.divergence.stale.with(node);
                }
                if wrong.contains(self.me()) {
                    self.on_wrong(slot, difference);
                } else {
                    let text = format!(
                        "the server of replica {} differs from the majority's in {} between slots \
                         {} and {slot}: it is built again",
                        list(wrong),
                        describe(difference),
                        self.divergence.agreed_below(slot)
                    );
                    self.find(FindingKind::Diverged, Finding { text, is_fault: true });
                    self.send_calls(slot, wrong);
                }
            }
            Verdict::Split(difference) => {
                self.divergence.split = slot;
                self.freeze_calls(slot);
                self.on_split(slot, difference);
            }
        }
    }

    /// Records that this server agrees with the majority at a slot. Earlier faults of this server
    /// are over.
    pub(super) fn agreed_at(&mut self, slot: Slot) {
        let state = &mut self.divergence;
        if slot > state.agreed {
            state.agreed_before.rotate_right(1);
            state.agreed_before[0] = std::mem::replace(&mut state.agreed, slot);
        }
        if self.meta.diverged_behind.take_if(|behind| *behind < slot.0).is_some() {
            self.host.keep_meta(&self.meta);
        }
    }

    /// Acts on the verdict that this server differs from the majority.
    // specs: D5
    fn on_wrong(&mut self, slot: Slot, difference: Difference) {
        let behind = self.divergence.agreed_below(slot);
        let what = describe(difference);
        let here = format!(
            "this server differs from the majority's in {what} between slots {behind} and {slot}"
        );
        if self.meta.diverged_behind == Some(behind.0) {
            if difference == Difference::Output {
                self.notify_others(MarkMessage::Alone { slot, output_only: true });
                return self.on_alone(slot, true);
            }
            return self.fail(format!(
                "{here}, and did so at the same place before it was built again: this host is not \
                 like the others, or the program uses something that crane does not order"
            ));
        }
        self.events.counters.divergences += 1;
        self.meta.diverged_behind = Some(behind.0);
        self.refuse_checkpoints_behind(behind);
        let text = format!("{here}: its clients are reset, and it is built again");
        self.rebuild_server(text);
    }

    /// Sends this server's history since the last equal marks to the replicas whose servers differ
    /// from it. One of the other replicas does so.
    fn send_calls(&mut self, slot: Slot, to: NodeSet) {
        let me = self.me();
        if self.comparable().difference(to).iter().next() == Some(me) {
            let agreed = self.divergence.marks.mark(me, self.divergence.agreed_below(slot));
            // The clock of an earlier incarnation is none of this one.
            let behind = self.server.behind.map_or(Slot::NONE, |restart| restart.slot);
            let agreed = agreed.filter(|mark| mark.slot > behind);
            self.send_blocks(slot, to, agreed.map_or(0, |mark| mark.clock));
        }
    }

    /// Stops this server, so that replay builds it again.
    // specs: D4
    fn rebuild_server(&mut self, why: String) {
        self.find(FindingKind::Diverged, Finding { text: why.clone(), is_fault: true });
        if broken(Mutant::WrongServes) {
            return;
        }
        self.resign();
        self.divergence.marks.forget(self.me());
        self.divergence.wanted.clear();
        self.stop_server(why);
    }

    /// Stops this server. Its clients are reset first, so that none of its later bytes reach them.
    fn stop_server(&mut self, why: String) {
        self.begin_generation();
        self.server.files_are_wrong = true;
        if self.server.run.is_some() || self.server.starting {
            self.server.stopped_for = Some(why);
            self.host.stop_server();
        }
    }

    /// Acts on the verdict that no mark has a majority. The backup of the lowest number builds its
    /// server again, to decide which servers are right.
    fn on_split(&mut self, slot: Slot, difference: Difference) {
        let servers = self.marked(slot);
        if difference == Difference::Output && self.all_differ(slot, servers) {
            // When three servers all differ, a fourth opinion decides nothing, and clients need no
            // interruption.
            return self.on_alone(slot, true);
        }
        let what = describe(difference);
        let text = format!(
            "the servers of replicas {} differ in {what} between slots {} and {slot}, and none has \
             a majority: one is built again to decide",
            list(servers),
            self.divergence.agreed_below(slot)
        );
        self.find(FindingKind::Split, Finding { text: text.clone(), is_fault: true });
        let chosen = self.opinion_of(slot);
        if chosen != Some(self.me()) {
            self.divergence.awaited = chosen;
            let to = chosen.map_or(NodeSet::EMPTY, |node| NodeSet::EMPTY.with(node));
            return self.send_calls(slot, to);
        }
        if let Some(before) = self.divergence.marks.mark(self.me(), slot) {
            self.events.counters.divergences += 1;
            let output_only = difference == Difference::Output;
            self.divergence.trial = Some(Trial { slot, before, output_only });
            self.checkpoint.limit = Some(self.divergence.agreed_below(slot));
            self.stop_server(text);
        }
    }

    /// Returns the servers that have marks of a slot. A server may have ended since: the replica
    /// that is to build its own again ends it before the others have judged.
    fn marked(&self, slot: Slot) -> NodeSet {
        let marks = &self.divergence.marks;
        let marked = self.servers().iter().filter(|node| marks.mark(*node, slot).is_some());
        marked.fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Returns the replica that is to build its server again, the same one on all replicas.
    pub(super) fn opinion_of(&self, slot: Slot) -> Option<NodeId> {
        self.marked(slot).iter().find(|node| Some(*node) != self.node.primary())
    }

    /// Returns whether at least three servers have marks of a slot, no two of which are equal.
    fn all_differ(&self, slot: Slot, servers: NodeSet) -> bool {
        let marks = servers.iter().filter_map(|node| self.divergence.marks.mark(node, slot));
        let marks: Vec<Mark> = marks.collect();
        let alone = |mark: &Mark| marks.iter().filter(|other| *other == mark).count() == 1;
        marks.len() >= 3 && marks.iter().all(alone)
    }

    /// Ends the trial once the server that was built again has reached the slot in question.
    pub(super) fn finish_trial(&mut self, admitted: Slot) {
        let Some(Trial { slot, before, output_only }) = self.divergence.trial else { return };
        // Until the old server has ended, its marks are not those of the new one.
        if admitted < slot || self.server.stopped_for.is_some() {
            return;
        }
        let Some(mark) = self.host.mark(slot) else { return };
        self.divergence.trial = None;
        let (wire, mark) = (mark, self.compared(mark));
        let servers = self.servers();
        let marks = &mut self.divergence.marks;
        let joins = |node: NodeId| {
            let other = marks.mark(node, slot);
            node != self.settings.me && other == Some(mark)
        };
        let joined = servers.iter().any(joins);
        let others = servers.iter().filter(|node| *node != self.settings.me);
        let others = others.filter(|node| marks.mark(*node, slot).is_some()).count();
        // Between two servers, the one that repeats its own mark is right. Among three that all
        // differ, each may repeat its own mark, because the hosts differ or the program uses
        // something that is particular to each host.
        let decides = joined || (mark == before && others <= 1);
        marks.forget(self.settings.me);
        marks.add(self.settings.me, mark);
        self.divergence.acted = Slot(slot.0 - 1);
        if decides {
            info!("the server that was built again decides about slot {slot}");
            self.divergence.marks.add_opinion(mark);
            self.agreed_at(slot);
            self.notify_others(MarkMessage::Opinion(wire));
            self.judge_marks(slot);
        } else {
            self.divergence.acted = slot;
            self.notify_others(MarkMessage::Alone { slot, output_only });
            self.on_alone(slot, output_only);
        }
    }

    /// Acts on the result that a server which was built again agrees with no other server.
    // specs: D7
    fn on_alone(&mut self, slot: Slot, output_only: bool) {
        let goes_on = self.settings.args.on_divergence == OnDivergence::GoOn;
        if output_only || goes_on {
            let what = match output_only {
                true => "the bytes for its clients (figures of memory or time, say)",
                false => "its calls",
            };
            let text = format!(
                "the program behaves differently each time it runs, or on each host, in {what}, \
                 from before slot {slot} on; the group continues, and each client gets the bytes \
                 of its own replica"
            );
            self.find(FindingKind::Undetermined, Finding { text, is_fault: true });
        }
        if output_only {
            self.divergence.output_differs = true;
            // The marks that were added before include the output.
            self.divergence.marks = Comparison::new();
            return;
        }
        if !goes_on && self.is_primary() && !self.propose_op(Op::Halt { slot }) {
            debug!("the halt is proposed again when the next server agrees with no other");
        }
    }

    /// Halts this replica, because the group has agreed to halt.
    // specs: D6
    pub(super) fn on_halt(&mut self, slot: Slot) {
        if self.divergence.halted.is_some() {
            return;
        }
        let text = format!(
            "the group is halted: the program behaves differently each time it runs, or on each \
             host, from before slot {slot} on; specs/LIMITS.md lists the causes; begin a new group \
             in another --data-dir, or with --on-divergence go-on"
        );
        self.divergence.halted = Some(text.clone());
        self.find(FindingKind::Halted, Finding { text, is_fault: true });
        self.stop_halted();
        self.close_listeners();
    }

    /// Stops the server if the group is halted and the server runs.
    pub(super) fn stop_halted(&mut self) {
        if self.server.run.is_some()
            && let Some(why) = self.divergence.halted.clone()
        {
            self.stop_server(why);
        }
    }
}

fn describe(difference: Difference) -> &'static str {
    match difference {
        Difference::Output => "the bytes for clients",
        Difference::Schedule => "the order of calls",
    }
}

fn list(nodes: NodeSet) -> String {
    nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>().join(", ")
}
