//! A host in memory.
//!
//! Length: one trait is implemented here, and each of its functions is short.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crane_core::execution::Mark;
use crane_core::execution::hash::RunningHash;
use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::{Entry, Message};
use crane_core::wire::{EntryPayload, Op};
use crane_shm::{EndReason, RingError};

use super::super::*;
use crane_shm::region::script;

use crate::base::BasePart;
use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::{CheckpointKind, Manifest, Proof};
use crate::frozen::{FrozenCall, FrozenCalls, ServerHistory};
use crate::log::fetch::Fetch;
use crate::log::{Batch, Front, Synced};
use crate::net::frame::FrameKind;
use crate::net::message::{FetchedEntry, Received};
use crate::program::{UpgradeOrder, Upgraded};
use crate::report::Ending;

/// Inputs on their way to a replica.
pub(super) type Queue = Rc<RefCell<VecDeque<DriverInput>>>;
/// The payloads that a server received, by slot.
type Script = Vec<(Slot, u32, Vec<u8>)>;

/// A host in memory. Its links carry frames to the other hosts; its disk keeps writes, and confirms
/// them later.
pub(super) struct MemoryHost {
    pub(super) me: NodeId,
    pub(super) queues: [Queue; 3],
    /// The steps that a sync takes; 0 for none, `u64::MAX` for a disk that hangs.
    pub(super) sync_takes: u64,
    /// The last batch that no sync covers yet.
    pub(super) unsynced: Option<Synced>,
    /// The sync that is on its way, and the time of its end.
    pub(super) syncing: Option<(Synced, u64)>,
    /// The replicas to which nothing arrives from here.
    pub(super) mute_to: NodeSet,
    /// The server stands still at this slot.
    pub(super) stands_at: Option<Slot>,
    /// Whether the server uses the processor.
    pub(super) computes: bool,
    pub(super) processor_time: u64,
    /// The segments' bytes.
    pub(super) disk: BTreeMap<u32, Vec<u8>>,
    /// By run of the server: the payloads that it received, by slot.
    pub(super) scripts: Vec<Script>,
    /// Bytes for clients by key, and their resets.
    pub(super) replies: BTreeMap<u64, Vec<u8>>,
    pub(super) resets: Vec<u64>,
    pub(super) ports: Vec<u16>,
    /// A port that no client reaches.
    pub(super) unreached: u16,
    /// The slots that were read again, and the number of requests for them.
    pub(super) read_again: Vec<Slot>,
    pub(super) fetches: usize,
    /// Whether the segments of requests are missing.
    pub(super) lacks_segments: bool,
    /// The bytes of entries that were sent to other replicas.
    pub(super) sent: usize,
    pub(super) metas: u32,
    /// The replicas to which links were wanted, and those whose link was closed.
    pub(super) dialed: Vec<(NodeId, String)>,
    pub(super) closed: Vec<NodeId>,
    pub(super) inspections: u32,
    /// Slots at which calls were frozen.
    pub(super) frozen: Vec<Slot>,
    /// The marks of the present run.
    pub(super) marks: BTreeMap<Slot, Mark>,
    /// By run: the bytes of the entry from which on the server goes wrong, which it hashes
    /// differently.
    pub(super) wrong: Vec<u64>,
    /// By run: the hash of its output.
    pub(super) outputs: Vec<u64>,
    /// The clock of the server, if it is above the number of the last slot.
    pub(super) clock: u64,
    /// The room on the disk of the server's files.
    pub(super) room: Option<DiskRoom>,
    /// Whether a started server is ready only when the test says so.
    pub(super) starts_late: bool,
    /// By run: the slot of the checkpoint from which it has started.
    pub(super) started_from: Vec<Option<Slot>>,
    /// The script and the marks of the server that proves a checkpoint.
    pub(super) proof: Option<(Script, BTreeMap<Slot, Mark>)>,
    /// By proof: a number with which its server goes wrong, if it is not 0.
    pub(super) wrong_proofs: Vec<u64>,
    /// The number of servers that were made to prove a checkpoint.
    pub(super) proofs: usize,
    /// Whether the servers of proofs are not ready by themselves.
    pub(super) proof_is_late: bool,
    /// The reason why no second server can be made.
    pub(super) no_room: Option<String>,
    /// By run: what the server has written to its files.
    pub(super) files: Vec<Vec<u8>>,
    /// By slot: the files that an upgrade has kept.
    pub(super) kept_files: BTreeMap<Slot, Vec<u8>>,
    /// The commands of the upgrades.
    pub(super) programs: Vec<Vec<String>>,
    /// By run: its incarnation.
    pub(super) incarnations: Vec<Incarnation>,
    /// The runs that have crashed by a request.
    pub(super) crashed: Vec<u64>,
    /// The runs that do not.
    pub(super) immune: Vec<u64>,
    /// The replicas that were asked for a checkpoint, and whether with its files.
    pub(super) asked_for_checkpoint: Vec<(NodeId, bool)>,
    /// Whether files were copied for a checkpoint that was not taken yet.
    pub(super) prepared: bool,
    /// Whether the outcomes of orders about checkpoints come only from the test.
    pub(super) checkpoints_are_late: bool,
    /// The checkpoints that were set aside.
    pub(super) aside: Vec<(PathBuf, &'static str)>,
}

/// Returns the base of a command.
pub(super) fn base_of(words: &[String]) -> Base {
    let part = BasePart { name: words.join(" "), digest: [3; 16] };
    Base { parts: vec![part] }
}

/// Returns a checkpoint behind a slot.
pub(super) fn checkpoint(group: &str, slot: Slot) -> Checkpoint {
    let manifest = Manifest {
        library: [0; 16],
        origin: Box::default(),
        group: group.to_string(),
        kind: CheckpointKind::Image,
        slot,
        incarnation: Incarnation::FIRST,
        clock: 1,
        mark: Mark { slot, clock: 1, schedule: 0, output: 0 },
        proof: None,
        processes: Box::default(),
        digest: [0; 32],
    };
    Checkpoint { place: PathBuf::from(format!("/data/checkpoints/slot-{slot}")), manifest }
}

impl MemoryHost {
    pub(super) fn queue(&self, input: DriverInput) {
        self.queues[self.me.index()].borrow_mut().push_back(input);
    }

    pub(super) fn queue_at(&self, to: NodeId, input: DriverInput) {
        // A member that a test adds does not run.
        let Some(queue) = self.queues.get(to.index()) else { return };
        if !self.mute_to.contains(to) {
            queue.borrow_mut().push_back(input);
        }
    }

    pub(super) fn admitted(&self) -> u64 {
        let fed =
            self.scripts.last().and_then(|script| script.last()).map_or(0, |(slot, ..)| slot.0);
        self.stands_at.map_or(fed, |slot| fed.min(slot.0))
    }

    /// Keeps the files of the last run behind a restart.
    fn keep_files(&mut self, order: FilesOrder) -> Checkpoint {
        let mut checkpoint = checkpoint(&order.group, order.slot);
        let FilesOrder { timestamp, program_since, .. } = order;
        checkpoint.manifest.kind = CheckpointKind::Files { timestamp, program_since };
        checkpoint.manifest.incarnation = order.incarnation;
        let files = self.files.last().cloned().unwrap_or_default();
        self.kept_files.insert(order.slot, files);
        checkpoint
    }

    /// Does what the server does with an entry: it writes what clients send to its files, crashes
    /// by a certain request, and ends at a restart.
    fn run_entry(&mut self, slot: Slot, payload: &[u8]) {
        let incarnation = *self.incarnations.last().expect("it runs");
        let run = self.scripts.len() as u64;
        let end = |ending, end_reason| ProgramEnd {
            ending,
            clock: slot.0,
            admitted: slot.0,
            trouble: String::new(),
            end_reason,
        };
        for op in EntryPayload::decode(payload).expect("an entry").ops() {
            match op {
                Op::Send { bytes: POISON, .. }
                    if !self.crashed.contains(&run) && !self.immune.contains(&run) =>
                {
                    self.crashed.push(run);
                    let end = end(Ending::Killed(libc::SIGSEGV), None);
                    self.queue(DriverInput::Server(run, ServerChange::Ended(end)));
                }
                Op::Send { bytes, .. } if !self.crashed.contains(&run) => {
                    self.files.last_mut().expect("it runs").extend_from_slice(bytes);
                }
                Op::Restart { incarnation: next, .. }
                    if next > incarnation && !self.crashed.contains(&run) =>
                {
                    let end = end(Ending::Exited(0), Some(EndReason::Restarted));
                    self.queue(DriverInput::Server(run, ServerChange::Ended(end)));
                }
                _ => {}
            }
        }
    }
}

/// The request at which the server crashes.
pub(super) const POISON: &[u8] = b"POISON";

impl Host for MemoryHost {
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]) {
        let received = Received {
            message: *message,
            entries: entries.iter().map(|(entry, _)| *entry).collect::<Vec<Entry>>(),
            payloads: entries.iter().map(|(_, payload)| payload.clone()).collect(),
        };
        self.sent += received.payloads.iter().flatten().map(|payload| payload.len()).sum::<usize>();
        self.queue_at(to, DriverInput::Message(self.me, received));
    }

    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]) {
        let input = match kind {
            FrameKind::Vitals => {
                DriverInput::Vitals(self.me, postcard::from_bytes(body).expect("vitals"))
            }
            FrameKind::Clock => {
                DriverInput::Clock(self.me, postcard::from_bytes(body).expect("a message"))
            }
            FrameKind::Ops => DriverInput::Ops(self.me, body.to_vec()),
            FrameKind::Calls => {
                DriverInput::Calls(self.me, postcard::from_bytes(body).expect("calls"))
            }
            FrameKind::Mark => {
                DriverInput::Mark(self.me, postcard::from_bytes(body).expect("a mark"))
            }
            FrameKind::Server => {
                DriverInput::Report(self.me, postcard::from_bytes(body).expect("a report"))
            }
            FrameKind::Checkpoint => {
                DriverInput::Checkpoint(self.me, postcard::from_bytes(body).expect("a message"))
            }
            FrameKind::Roster => {
                DriverInput::Roster(self.me, postcard::from_bytes(body).expect("members"))
            }
            other => panic!("{other:?} is no frame of a driver"),
        };
        self.queue_at(to, input);
    }

    fn set_hello(&mut self, _: &Hello) {}

    fn set_heard(&mut self, _: &Roster) {}

    fn close_link(&mut self, node: NodeId) {
        self.closed.push(node);
    }

    fn dial(&mut self, node: NodeId, address: &str) {
        self.dialed.push((node, address.to_string()));
    }

    fn write(&mut self, batch: Batch) {
        for chunk in &batch.chunks {
            let segment = self.disk.entry(chunk.segment).or_default();
            let end = chunk.offset as usize + chunk.bytes.len();
            segment.resize(segment.len().max(end), 0);
            segment[chunk.offset as usize..end].copy_from_slice(&chunk.bytes);
        }
        match self.sync_takes {
            0 => self.queue(DriverInput::Durable(batch.synced())),
            _ => self.unsynced = Some(batch.synced()),
        }
    }

    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch) {
        self.fetches += 1;
        if self.lacks_segments {
            let last = fetch.last().expect("a fetch has slots");
            return self.queue(DriverInput::FetchMissing(fetcher, last, "it is missing".into()));
        }
        let segment = &self.disk[&fetch.segment().expect("a fetch names a segment")];
        let read = |space: &mut [u8], offset: u64| -> Result<(), ()> {
            let offset = offset as usize;
            space.copy_from_slice(&segment[offset..offset + space.len()]);
            Ok(())
        };
        let records = fetch.read_by(read).expect("memory can be read").expect("as written");
        self.read_again.extend(records.iter().map(|record| record.slot));
        self.queue(DriverInput::Fetched(fetcher, records));
    }

    fn receive_checkpoint(&mut self, from: NodeId, with_files: bool) {
        self.asked_for_checkpoint.push((from, with_files));
    }

    fn cut_log(&mut self, front: Front) {
        self.queue(DriverInput::LogCut(Ok(front)));
    }

    fn delete_segments(&mut self, before: u32) {
        self.disk.retain(|segment, _| *segment >= before);
    }

    fn keep_meta(&mut self, meta: &Meta) {
        self.metas += 1;
        self.queue(DriverInput::MetaKept(Generation(meta.generation)));
    }

    fn keep_base(&mut self) {}

    fn command_client(&mut self, key: u64, command: ClientCommand<'_>) {
        match command {
            ClientCommand::Send(bytes) => {
                self.replies.entry(key).or_default().extend_from_slice(bytes);
            }
            ClientCommand::Reset => self.resets.push(key),
            _ => {}
        }
    }

    fn open_port(&mut self, at: &ServerListener, _: &Path) -> Result<Option<String>, String> {
        self.ports.push(at.at.port);
        Ok((at.at.port == self.unreached).then(|| "no client reaches it".to_string()))
    }

    fn close_port(&mut self, at: &ServerListener) {
        self.ports.retain(|open| *open != at.at.port);
    }

    fn look_at_program(&mut self, words: &[String]) {
        let seen = DriverInput::ProgramSeen(words.to_vec(), Ok(base_of(words)));
        self.queue(seen);
    }

    fn upgrade(&mut self, order: UpgradeOrder) {
        let UpgradeOrder { upgrade, files } = order;
        let checkpoint = self.keep_files(files);
        let base = base_of(&upgrade.program.words);
        self.programs.push(upgrade.program.words.clone());
        self.queue(DriverInput::Upgraded(Ok(Box::new(Upgraded { upgrade, base, checkpoint }))));
    }

    fn prepare_checkpoint(&mut self) {
        self.prepared = true;
        if !self.checkpoints_are_late {
            self.queue(DriverInput::CheckpointPrepared(self.scripts.len() as u64, Ok(())));
        }
    }

    fn drop_prepared_checkpoint(&mut self) {
        self.prepared = false;
    }

    fn take_checkpoint(&mut self, group: &str) {
        assert!(std::mem::take(&mut self.prepared), "it was prepared");
        if self.checkpoints_are_late {
            return;
        }
        let slot = self.scripts.last().and_then(|script| script.last()).expect("entries").0;
        let checkpoint = checkpoint(group, slot);
        let taken = Taken { checkpoint, held_ms: 5, held_bytes: 7 };
        self.queue(DriverInput::CheckpointTaken(self.scripts.len() as u64, Ok(taken)));
    }

    fn set_checkpoint_aside(&mut self, place: &Path, why: &'static str) {
        self.aside.push((place.to_path_buf(), why));
    }

    fn start_server(&mut self, run: RunNumber, generation: Generation, from: &RunStart) {
        assert!(generation > Generation::before(run.incarnation), "of the incarnation before");
        let (slot, image) = match from {
            RunStart::Checkpoint(from) => (Some(from.manifest.slot), from.has_image()),
            RunStart::Base | RunStart::Files(_) => (None, false),
        };
        if let RunStart::Files(Some(order)) = from {
            let kept = self.keep_files(order.clone());
            self.queue(DriverInput::FilesKept(run.number, Ok(kept)));
        }
        self.started_from.push(slot);
        // An image has the entries before it in it.
        let mut script = self.scripts.last().cloned().unwrap_or_default();
        script.retain(|(before, ..)| image && Some(*before) <= slot);
        self.scripts.push(script);
        let before = self.files.last().cloned().unwrap_or_default();
        self.files.push(match from {
            RunStart::Files(_) => before,
            RunStart::Checkpoint(from) => {
                self.kept_files.get(&from.manifest.slot).cloned().unwrap_or_default()
            }
            RunStart::Base => Vec::new(),
        });
        self.incarnations.push(run.incarnation);
        if !matches!(from, RunStart::Files(_)) {
            self.marks.clear();
        }
        if !self.starts_late {
            self.queue(DriverInput::Server(run.number, ServerChange::Ready));
        }
    }

    fn start_proof(&mut self, number: u64, from: &Checkpoint) {
        if let Some(why) = self.no_room.clone() {
            return self.queue(DriverInput::Proof(number, ProofChange::NoRoom(why)));
        }
        let mut script = self.scripts.last().cloned().unwrap_or_default();
        script.retain(|(before, ..)| *before <= from.manifest.slot);
        self.proof = Some((script, BTreeMap::new()));
        self.proofs += 1;
        if !self.proof_is_late {
            self.queue(DriverInput::Proof(number, ProofChange::Ready));
        }
    }

    fn feed_proof(&mut self, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let (script, marks) = self.proof.as_mut().expect("it runs");
        script.push((slot, script::ENTRY, payload.to_vec()));
        let mut mark = mark_of(script, self.wrong_proofs.get(self.proofs - 1), self.clock);
        mark.output = self.outputs.first().copied().unwrap_or(0);
        marks.insert(slot, mark);
        Ok(())
    }

    fn proof_mark(&self, slot: Slot) -> Option<Mark> {
        self.proof.as_ref()?.1.get(&slot).copied()
    }

    fn stop_proof(&mut self) {
        self.proof = None;
    }

    fn keep_proof(&mut self, checkpoint: &Checkpoint, proof: Proof) {
        let mut checkpoint = checkpoint.clone();
        checkpoint.manifest.proof = Some(Box::new(proof));
        self.queue(DriverInput::ProofKept(Ok(checkpoint)));
    }

    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let run = self.scripts.len();
        let script = self.scripts.last_mut().expect("it runs");
        script.push((slot, kind, payload.to_vec()));
        let mut mark = mark_of(script, self.wrong.get(run - 1), self.clock);
        mark.output = self.outputs.get(run - 1).copied().unwrap_or(0);
        self.marks.insert(slot, mark);
        if kind == script::ENTRY && !payload.is_empty() {
            self.run_entry(slot, payload);
        }
        Ok(())
    }

    fn ring(&mut self) {}

    fn inspect_cell(&mut self) {
        let run = self.scripts.len() as u64;
        self.queue(DriverInput::CellSeen(run, SeenCell::default()));
    }

    fn measure_server(&mut self) {
        self.processor_time += 1000 * u64::from(self.computes);
        let run = self.scripts.len() as u64;
        self.queue(DriverInput::ProcessorTime(run, self.processor_time));
    }

    fn measure_disk(&mut self) {
        if let Some(room) = self.room {
            self.queue(DriverInput::DiskMeasured(room));
        }
    }

    fn mark(&self, slot: Slot) -> Option<Mark> {
        self.marks.get(&slot).copied()
    }

    fn history(&mut self) -> Option<ServerHistory> {
        let run = self.scripts.len();
        let wrong = self.wrong.get(run - 1).copied().unwrap_or(0);
        let bytes = self.outputs.get(run - 1).copied().unwrap_or(0);
        let calls = (1..=self.admitted()).map(|clock| {
            // A wrong server makes a different call at clock 2, and writes different bytes at clock
            // 3.
            let object = if clock == 2 { wrong } else { clock };
            let output = if clock > 3 { bytes } else { 0 };
            FrozenCall { word: 5 << 32 | object, address: 17, output }
        });
        Some(ServerHistory { first_call: 1, calls: calls.collect(), ..ServerHistory::default() })
    }

    fn keep_frozen(&mut self, frozen: Arc<FrozenCalls>) {
        self.frozen.push(frozen.slot);
        self.queue(DriverInput::FrozenKept(Ok("frozen".into())));
    }

    fn stop_server(&mut self) {
        let run = self.scripts.len() as u64;
        let end = ProgramEnd {
            ending: Ending::Killed(9),
            clock: run,
            admitted: self.admitted(),
            trouble: String::new(),
            end_reason: None,
        };
        self.queue(DriverInput::Server(run, ServerChange::Ended(end)));
    }

    fn inspect_server(&mut self) {
        self.inspections += 1;
    }

    fn set_first_generation(&mut self, _: Generation) {}

    fn watch_state(&mut self, _: bool) {}
}

/// Returns the mark of a server at the last slot of its script, without the hash of its output.
fn mark_of(script: &[(Slot, u32, Vec<u8>)], wrong: Option<&u64>, clock: u64) -> Mark {
    let mut hash = RunningHash::new();
    script.iter().for_each(|(_, _, payload)| hash.put_bytes(payload));
    if let Some(wrong) = wrong.filter(|wrong| **wrong > 0) {
        hash.put(*wrong);
    }
    let slot = script.last().expect("a slot was given").0;
    Mark { slot, clock: clock.max(slot.0), schedule: hash.value(), output: 0 }
}
