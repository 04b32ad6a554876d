//! A simulated host: it collects the driver's effects, which the group carries out after a round.
//!
//! Length: one trait is implemented here, and each of its functions is short.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crane_core::execution::Mark;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::paxos::Message;
use crane_shm::RingError;
use crane_shm::region::script;

use crate::base::Base;
use crate::checkpoint::store::{Checkpoint, Proof};
use crate::driver::{
    ClientCommand, DiskRoom, DriverInput, FetchFor, Host, Inspection, ProofChange, RunNumber,
    RunStart, SeenCell, ServerListener,
};
use crate::frozen::{FrozenCalls, ServerHistory};
use crate::log::fetch::Fetch;
use crate::log::{Batch, Front};
use crate::meta::Meta;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::net::message::{FetchedEntry, write_message};
use crate::program::UpgradeOrder;
use crate::report::Ending;
use crate::roster::Roster;

use super::server::SimServer;

/// The room on the disk of the server's files.
const ROOM: DiskRoom = DiskRoom { free: 1 << 30, size: 1 << 31 };
/// How many calls the server of a proof makes before it is looked at.
const PROOF_CALLS: u64 = 10_000;

/// An effect of the driver that takes time, or concerns others.
#[derive(Debug)]
pub(super) enum HostEffect {
    /// A frame for a replica.
    Frame(NodeId, FrameKind, Vec<u8>),
    /// The end of the link to a replica.
    CloseLink(NodeId),
    /// Records for the log.
    Write(Batch),
    /// Entries of the log to be read again.
    Fetch(FetchFor, Fetch),
    /// A front of the log to be kept.
    CutLog(Front),
    /// Segments before this one to be deleted.
    DeleteSegments(u32),
    /// A meta to be kept.
    KeepMeta(Box<Meta>),
    /// Bytes for a client.
    Answer(u64, Vec<u8>),
    /// The end of a client's connection.
    EndClient(u64),
    /// The start of a server.
    StartServer(RunNumber, Generation, RunStart),
    /// Another program of the server.
    Upgrade(Box<UpgradeOrder>),
    /// A checkpoint of the server for this group.
    TakeCheckpoint(String),
    /// The start of the proof with this number, of the checkpoint in this place.
    StartProof(u64, PathBuf),
    /// The proof of the checkpoint in this place.
    KeepProof(PathBuf, Box<Proof>),
    /// A checkpoint that is not used any more.
    SetAside(PathBuf),
    /// A checkpoint of this replica, with its files or without.
    ReceiveCheckpoint(NodeId, bool),
    /// The end of the server.
    StopServer,
    /// The script of the server has grown.
    Ring,
    /// An outcome that comes soon.
    Soon(DriverInput),
}

/// The host of one daemon.
#[derive(Debug)]
pub(super) struct SimHost {
    /// The hello of this replica's links.
    pub(super) hello: Hello,
    /// The effects since the last round.
    pub(super) effects: Vec<HostEffect>,
    /// The open ports.
    pub(super) ports: BTreeSet<u16>,
    /// The running server.
    pub(super) server: Option<SimServer>,
    /// The server that ended last, whose files are left.
    pub(super) left: Option<SimServer>,
    /// The clock at which a server that has ended parted from those of others.
    pub(super) parted_at: Option<u64>,
    /// The server that proves a checkpoint.
    pub(super) proof: Option<SimServer>,
    /// The number of the last proof.
    pub(super) proof_number: u64,
    /// The number of the last run of a server.
    pub(super) runs: u64,
}

impl SimHost {
    /// Creates a host without links, clients or server.
    pub(super) fn new(hello: Hello) -> Self {
        let (effects, ports) = (Vec::new(), BTreeSet::new());
        Self {
            hello,
            effects,
            ports,
            server: None,
            left: None,
            parted_at: None,
            proof: None,
            proof_number: 0,
            runs: 0,
        }
    }

    fn soon(&mut self, input: DriverInput) {
        self.effects.push(HostEffect::Soon(input));
    }
}

impl Host for SimHost {
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]) {
        let mut body = Vec::new();
        write_message(message, entries, &mut body);
        self.effects.push(HostEffect::Frame(to, FrameKind::Paxos, body));
    }

    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]) {
        self.effects.push(HostEffect::Frame(to, kind, body.to_vec()));
    }

    fn set_hello(&mut self, hello: &Hello) {
        self.hello = hello.clone();
    }

    fn set_heard(&mut self, _: &Roster) {}

    fn close_link(&mut self, node: NodeId) {
        self.effects.push(HostEffect::CloseLink(node));
    }

    // All pairs of replicas are linked whenever they can be.
    fn dial(&mut self, _: NodeId, _: &str) {}

    fn write(&mut self, batch: Batch) {
        self.effects.push(HostEffect::Write(batch));
    }

    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch) {
        self.effects.push(HostEffect::Fetch(fetcher, fetch));
    }

    fn receive_checkpoint(&mut self, from: NodeId, with_files: bool) {
        self.effects.push(HostEffect::ReceiveCheckpoint(from, with_files));
    }

    fn cut_log(&mut self, front: Front) {
        self.effects.push(HostEffect::CutLog(front));
    }

    fn delete_segments(&mut self, before: u32) {
        self.effects.push(HostEffect::DeleteSegments(before));
    }

    fn keep_meta(&mut self, meta: &Meta) {
        self.effects.push(HostEffect::KeepMeta(Box::new(meta.clone())));
    }

    fn keep_base(&mut self) {}

    fn command_client(&mut self, key: u64, command: ClientCommand<'_>) {
        self.effects.push(match command {
            ClientCommand::Send(bytes) => HostEffect::Answer(key, bytes.to_vec()),
            ClientCommand::Shut | ClientCommand::Consumed(_) => return,
            ClientCommand::Close | ClientCommand::Reset => HostEffect::EndClient(key),
        });
    }

    fn open_port(&mut self, at: &ServerListener, _: &Path) -> Result<Option<String>, String> {
        self.ports.insert(at.at.port);
        Ok(None)
    }

    fn close_port(&mut self, at: &ServerListener) {
        self.ports.remove(&at.at.port);
    }

    fn start_server(&mut self, run: RunNumber, generation: Generation, from: &RunStart) {
        self.runs = run.number;
        self.effects.push(HostEffect::StartServer(run, generation, from.clone()));
    }

    fn look_at_program(&mut self, words: &[String]) {
        self.soon(DriverInput::ProgramSeen(words.to_vec(), Ok(Base::default())));
    }

    fn upgrade(&mut self, order: UpgradeOrder) {
        self.effects.push(HostEffect::Upgrade(Box::new(order)));
    }

    fn set_checkpoint_aside(&mut self, place: &Path, _: &'static str) {
        self.effects.push(HostEffect::SetAside(place.into()));
    }

    fn prepare_checkpoint(&mut self) {
        self.soon(DriverInput::CheckpointPrepared(self.runs, Ok(())));
    }

    fn drop_prepared_checkpoint(&mut self) {}

    fn take_checkpoint(&mut self, group: &str) {
        self.effects.push(HostEffect::TakeCheckpoint(group.into()));
    }

    fn start_proof(&mut self, number: u64, from: &Checkpoint) {
        self.proof_number = number;
        self.effects.push(HostEffect::StartProof(number, from.place.clone()));
    }

    fn feed_proof(&mut self, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        if let Some(proof) = &mut self.proof {
            proof.feed(script::ENTRY, slot, payload);
            proof.run_calls(PROOF_CALLS);
            if proof.ending().is_some_and(|ending| ending != Ending::Exited(0)) {
                let change = ProofChange::Ended("it has crashed".into());
                self.proof = None;
                self.soon(DriverInput::Proof(self.proof_number, change));
            }
        }
        Ok(())
    }

    fn proof_mark(&self, slot: Slot) -> Option<Mark> {
        self.proof.as_ref()?.mark(slot)
    }

    fn stop_proof(&mut self) {
        self.proof = None;
    }

    fn keep_proof(&mut self, of: &Checkpoint, proof: Proof) {
        self.effects.push(HostEffect::KeepProof(of.place.clone(), Box::new(proof)));
    }

    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        // The end of a server is not known at once.
        if let Some(server) = &mut self.server {
            server.feed(kind, slot, payload);
        }
        Ok(())
    }

    fn ring(&mut self) {
        self.effects.push(HostEffect::Ring);
    }

    fn inspect_server(&mut self) {
        let activity = self.server.as_ref().and_then(|server| server.activity.clone());
        let (name, place) = (String::from("server"), None);
        let found = activity.map(|activity| Inspection { thread: 0, name, activity, place });
        self.soon(DriverInput::Inspected(self.runs, found));
    }

    fn inspect_cell(&mut self) {
        self.soon(DriverInput::CellSeen(self.runs, SeenCell::default()));
    }

    fn measure_server(&mut self) {
        let processor = self.server.as_mut().map_or(0, |server| server.measure());
        self.soon(DriverInput::ProcessorTime(self.runs, processor));
    }

    fn measure_disk(&mut self) {
        self.soon(DriverInput::DiskMeasured(ROOM));
    }

    fn mark(&self, slot: Slot) -> Option<Mark> {
        self.server.as_ref()?.mark(slot)
    }

    fn history(&mut self) -> Option<ServerHistory> {
        self.server.as_ref().map(SimServer::history)
    }

    fn keep_frozen(&mut self, _: Arc<FrozenCalls>) {
        self.soon(DriverInput::FrozenKept(Ok("frozen".into())));
    }

    fn stop_server(&mut self) {
        self.effects.push(HostEffect::StopServer);
    }

    fn set_first_generation(&mut self, generation: Generation) {
        if let Some(server) = &mut self.server {
            server.first_generation = generation;
        }
    }

    fn watch_state(&mut self, _: bool) {}
}
