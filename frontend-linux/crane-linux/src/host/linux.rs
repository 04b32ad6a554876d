//! The driver's effects, carried out on a real host.
//!
//! Length: one trait is implemented here, and each of its functions is short.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crane_core::execution::Mark;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::Message;
use crane_shm::RingError;
use tokio::task::{spawn_blocking, spawn_local};
use tracing::warn;

use crate::base::Base;
use crate::cell::Spec;
use crate::cell::restore::RestoreOrder;
use crate::checkpoint::criu::Criu;
use crate::checkpoint::store::{self, Checkpoint, Proof};
use crate::driver::{
    Arriving, ClientCommand, DriverInput, FetchFor, Host, HostFacts, RunNumber, RunStart,
    ServerChange, ServerListener, ServerView,
};
use crate::frozen::{FrozenCalls, ServerHistory};
use crate::library;
use crate::log::fetch::Fetch;
use crate::log::storage::Storage;
use crate::log::{Batch, Front, Synced};
use crate::meta::Meta;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::net::link::Link;
use crate::net::message::FetchedEntry;
use crate::net::peers::Peers;
use crate::options::ReplicaArgs;
use crate::program::{ProgramContext, UpgradeOrder};
use crate::proxy::{ClientConn, ClientEvents};
use crate::roster::Roster;

use super::bypass;
use super::disk::{DataKeeper, measure};
use super::inspect::{inspect, processor_demand};
use super::listeners::see_cell;
use super::ports::Listeners;
use super::proof::{PROOF_RUN, ProofRoom};
use super::remains::Remains;
use super::server::{ServerProcess, StartOrder};
use super::taking::TakingRoom;
use super::transfer::TransferRoom;
use super::unix::UnixListeners;
use super::upgrade;
use super::{HostOutcome, HostParts, Outcomes};

/// The host that this process runs on.
pub(crate) struct LinuxHost {
    /// The links, by replica.
    links: [Option<Rc<Link>>; NODES_MAX],
    pub(super) peers: Rc<Peers>,
    storage: Storage,
    /// The outcomes of effects that were complete at once.
    pub(super) at_once: VecDeque<DriverInput>,
    keeper: DataKeeper,
    outcomes: Outcomes,
    /// Connections of clients by key.
    conns: HashMap<u64, Rc<ClientConn>>,
    /// The last connection's key.
    last_key: u64,
    /// The connections to which this pass of the output has appended bytes.
    unsent: Vec<Rc<ClientConn>>,
    listeners: Listeners,
    sockets: UnixListeners,
    pub(super) client_events: Rc<ClientEvents>,
    pub(super) server: Option<Box<ServerProcess>>,
    pub(super) taking: TakingRoom,
    pub(super) proof: ProofRoom,
    /// The remains of the last run.
    pub(super) remains: Remains,
    pub(super) transfer: TransferRoom,
    me: NodeId,
    spec: Option<Spec>,
    base: Base,
    data: std::path::PathBuf,
    args: ReplicaArgs,
    /// How to look at another program.
    context: ProgramContext,
    /// The CRIU that writes images, or why there is none.
    criu: Result<Criu, String>,
    last_nonce: u64,
}

impl LinuxHost {
    /// Returns a host without links, clients or server.
    pub(super) fn new(me: NodeId, parts: HostParts, outcomes: Outcomes) -> Self {
        let HostParts { addresses, context, spec, base, data, args, storage, peers, criu, .. } =
            parts;
        let path = data.path.clone();
        let client_events = Rc::new(ClientEvents::new());
        Self {
            links: Default::default(),
            peers,
            storage,
            at_once: VecDeque::new(),
            outcomes: outcomes.clone(),
            conns: HashMap::new(),
            last_key: 0,
            unsent: Vec::new(),
            listeners: Listeners::new(addresses),
            sockets: UnixListeners::new(&data.path, client_events.clone(), outcomes.clone()),
            keeper: DataKeeper::new(data, outcomes.clone()),
            client_events,
            server: None,
            taking: TakingRoom::new(&path, outcomes.clone()),
            proof: ProofRoom::new(&path, outcomes.clone()),
            transfer: TransferRoom::new(
                &path,
                spec.as_ref().map(|spec| spec.directory.clone()),
                library::digest(),
                outcomes,
            ),
            remains: Remains::default(),
            context,
            me,
            spec,
            base,
            data: path,
            args,
            criu,
            last_nonce: crate::clock::unix_nanoseconds(),
        }
    }

    /// Returns a number that no earlier server of this replica was given, of this process or
    /// another.
    fn next_nonce(&mut self) -> u64 {
        self.last_nonce = self.last_nonce.wrapping_add(1).max(1);
        self.last_nonce
    }

    fn restore_order(&self, from: &Checkpoint) -> RestoreOrder {
        // A fresh server would get a script that begins behind a slot that it has not seen.
        let criu = self.criu.as_ref().expect("no checkpoint is used without CRIU");
        RestoreOrder { from: from.clone(), criu: criu.path().to_path_buf() }
    }

    /// Takes a new link, which replaces an older one.
    pub(super) fn take_link(&mut self, link: Rc<Link>) {
        let place = &mut self.links[link.node.index()];
        if let Some(older) = place.replace(link) {
            older.drop_silently();
        }
    }

    /// Forgets a closed link, and returns whether it was the current one.
    pub(super) fn forget_link(&mut self, link: &Rc<Link>) -> bool {
        let is_current = self.is_current(link);
        if is_current {
            self.links[link.node.index()] = None;
        }
        is_current
    }

    /// Returns whether this link has not been replaced by another.
    pub(super) fn is_current(&self, link: &Rc<Link>) -> bool {
        self.links[link.node.index()].as_ref().is_some_and(|current| Rc::ptr_eq(current, link))
    }

    /// Sends all bytes that wait in links and in clients' connections.
    pub(super) fn flush_links(&self) {
        for link in self.links.iter().flatten() {
            link.flush();
        }
    }

    /// Sends the server's output of this pass, with one send for each connection.
    pub(super) fn flush_clients(&mut self) {
        for conn in self.unsent.drain(..) {
            conn.send();
        }
    }

    /// Keeps a client's new connection, and returns its key.
    pub(super) fn take_conn(&mut self, conn: &Rc<ClientConn>) -> u64 {
        self.last_key += 1;
        conn.key.set(self.last_key);
        self.conns.insert(self.last_key, conn.clone());
        self.last_key
    }

    /// Forgets a client's connection whose task has ended.
    pub(super) fn forget_conn(&mut self, key: u64) {
        self.conns.remove(&key);
    }

    /// Returns the driver's view of the running server.
    pub(super) fn view(&self) -> Option<ServerView> {
        self.server.as_ref().map(|server| server.view())
    }

    /// Returns the facts about this host that `status` shows, with the server's hashes at a slot.
    pub(super) fn facts(&self, hash_slot: u64) -> HostFacts {
        let server = self.server.as_ref();
        let identity = self.peers.access.identity();
        let until = identity.and_then(|identity| identity.valid_until);
        let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        HostFacts {
            daemon_pid: std::process::id(),
            server_pid: server.and_then(|server| server.pid()),
            frames_dropped: self.peers.frames_dropped.get(),
            strangers: self.peers.stranger_counters(),
            keys: self.peers.access.path().map(|path| path.display().to_string()),
            keys_days: left.map(|left| left.as_secs() / (24 * 3600)),
            mark: server.and_then(|server| server.region.mark(hash_slot)),
            caught: server.map_or_else(Vec::new, |server| server.caught.show(server.region)),
        }
    }

    /// Gives the server's run with this number its memory, if it was made from a checkpoint.
    pub(super) fn welcome_server(&mut self, number: u64) {
        if let Some(server) = self.server.as_mut().filter(|server| server.number == number) {
            server.welcome(&self.outcomes);
        }
    }

    /// Names the calls of the server that bypass the hooks, or are caught often, and are new.
    pub(super) fn name_bypasses(&mut self) {
        if let Some(server) = &mut self.server {
            bypass::name_new(server, &self.outcomes);
            server.name_caught();
        }
    }

    /// Lets later runs start another program.
    pub(super) fn use_program(&mut self, spec: Spec, base: Base) {
        self.keeper.replace_base(&base);
        (self.spec, self.base) = (Some(spec), base);
    }

    /// Takes the report that records are in the log's files.
    pub(super) fn on_written(&mut self, synced: Synced) -> DriverInput {
        match self.storage.written(synced) {
            Ok(()) => DriverInput::Durable(synced),
            Err(why) => DriverInput::Failed(why),
        }
    }

    /// Waits, for a bounded time, until all written records are on the disk.
    pub(super) fn finish(self) {
        self.storage.finish();
    }
}

impl Host for LinuxHost {
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]) {
        if let Some(link) = &self.links[to.index()] {
            link.put_message(message, entries);
        }
    }

    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]) {
        if let Some(link) = &self.links[to.index()] {
            link.put(kind, &[body]);
        }
    }

    fn set_hello(&mut self, hello: &Hello) {
        self.peers.set_hello(hello);
    }

    fn set_heard(&mut self, heard: &Roster) {
        self.peers.set_heard(heard);
    }

    fn close_link(&mut self, node: NodeId) {
        if let Some(link) = self.links[node.index()].take() {
            link.drop_silently();
        }
    }

    fn dial(&mut self, node: NodeId, address: &str) {
        spawn_local(self.peers.clone().dial(node, address.to_string()));
    }

    fn write(&mut self, batch: Batch) {
        match self.storage.write(batch) {
            Ok(None) => {}
            Ok(Some(kept)) => self.at_once.push_back(DriverInput::Kept(kept)),
            Err(why) => self.at_once.push_back(DriverInput::Failed(why)),
        }
    }

    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch) {
        self.keeper.fetch(fetcher, fetch);
    }

    fn receive_checkpoint(&mut self, from: NodeId, with_files: bool) {
        match &self.links[from.index()] {
            Some(link) => self.transfer.receive(link.clone(), with_files),
            None => {
                let failed = Arriving::Failed("it is not linked any more".to_string());
                self.at_once.push_back(DriverInput::Arriving(failed));
            }
        }
    }

    fn cut_log(&mut self, front: Front) {
        self.keeper.cut_log(front);
    }

    fn delete_segments(&mut self, before: u32) {
        self.keeper.delete_segments(before);
    }

    fn keep_meta(&mut self, meta: &Meta) {
        self.keeper.keep_meta(meta);
    }

    fn keep_base(&mut self) {
        self.keeper.keep_base(&self.base);
    }

    fn command_client(&mut self, key: u64, command: ClientCommand<'_>) {
        let Some(conn) = self.conns.get(&key) else { return };
        match command {
            ClientCommand::Send(bytes) => {
                if conn.append(bytes) {
                    self.unsent.push(conn.clone());
                }
            }
            ClientCommand::Shut => conn.shut(),
            ClientCommand::Close => conn.close(),
            ClientCommand::Reset => conn.reset(),
            ClientCommand::Consumed(total) => conn.consumed(total),
        }
    }

    fn open_port(&mut self, at: &ServerListener, path: &Path) -> Result<Option<String>, String> {
        if at.at.is_unix() {
            let process = self.server.as_ref().and_then(|server| server.pid());
            self.sockets.open(at.at, path, process);
            return Ok(None);
        }
        self.listeners.open(at, &self.client_events)
    }

    fn close_port(&mut self, at: &ServerListener) {
        self.listeners.close(at);
        self.sockets.close(&at.at);
    }

    fn start_server(&mut self, run: RunNumber, generation: Generation, from: &RunStart) {
        let number = run.number;
        let mut spec = self.spec.clone().expect("a witness starts no server");
        let before = self.remains.begin_run(matches!(from, RunStart::Files(_)));
        let mut keep = None;
        match from {
            RunStart::Base => {}
            RunStart::Files(order) => (spec.keeps_files, keep) = (true, order.clone()),
            RunStart::Checkpoint(from) if from.has_image() => {
                spec.restore = Some(self.restore_order(from));
            }
            RunStart::Checkpoint(from) => spec.files = Some(from.clone()),
        }
        let (nonce, args) = (self.next_nonce(), self.args.clone());
        let me = self.me;
        let order = StartOrder { run, me, generation, spec, before, keep, args, nonce };
        let outcomes = self.outcomes.clone();
        spawn_local(async move {
            let outcome = match ServerProcess::start(order, &outcomes).await {
                Ok(process) => HostOutcome::Started(number, Box::new(process)),
                Err(why) => {
                    HostOutcome::Input(DriverInput::Server(number, ServerChange::Failed(why)))
                }
            };
            let _ = outcomes.send(outcome);
        });
    }

    fn look_at_program(&mut self, words: &[String]) {
        upgrade::look(self.context.clone(), words.to_vec(), self.outcomes.clone());
    }

    fn upgrade(&mut self, order: UpgradeOrder) {
        upgrade::carry_out(
            self.context.clone(),
            order,
            self.remains.take_cell(),
            self.outcomes.clone(),
        );
    }

    fn prepare_checkpoint(&mut self) {
        let nonce = self.next_nonce();
        self.taking.prepare(self.server.as_deref(), &self.criu, nonce);
    }

    fn drop_prepared_checkpoint(&mut self) {
        self.taking.drop_prepared();
    }

    fn take_checkpoint(&mut self, group: &str) {
        self.taking.take(self.server.as_deref(), &self.criu, group);
    }

    fn set_checkpoint_aside(&mut self, place: &Path, why: &'static str) {
        let place = place.to_path_buf();
        spawn_blocking(move || {
            if let Err(error) = store::set_aside(&place, why) {
                warn!("{}: {error}", place.display());
            }
        });
    }

    fn start_proof(&mut self, number: u64, from: &Checkpoint) {
        let (nonce, server) = (self.next_nonce(), self.server.as_ref().and_then(|it| it.pid()));
        let mut spec = self.spec.clone().expect("a witness starts no server");
        spec.restore = Some(self.restore_order(from));
        let (me, args, generation) = (self.me, self.args.clone(), Generation::default());
        let incarnation = from.manifest.incarnation;
        let run = RunNumber { number: number | PROOF_RUN, incarnation };
        let (before, keep) = (None, None);
        let order = StartOrder { run, me, generation, spec, before, keep, args, nonce };
        self.proof.start(order, from.clone(), server);
    }

    fn feed_proof(&mut self, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        self.proof.feed(slot, payload)
    }

    fn proof_mark(&self, slot: Slot) -> Option<Mark> {
        self.proof.server.as_ref()?.mark(slot)
    }

    fn stop_proof(&mut self) {
        self.proof.stop();
    }

    fn keep_proof(&mut self, checkpoint: &Checkpoint, proof: Proof) {
        let (checkpoint, outcomes) = (checkpoint.clone(), self.outcomes.clone());
        spawn_local(async move {
            let keeping = spawn_blocking(move || checkpoint.prove(proof));
            let kept = keeping.await.unwrap_or_else(|error| Err(error.to_string()));
            let _ = outcomes.send(HostOutcome::Input(DriverInput::ProofKept(kept)));
        });
    }

    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let server = self.server.as_mut().expect("only a running server is fed");
        let incarnation = server.incarnation.0.into();
        server.script.push(kind, [slot.0, incarnation, 0], &[payload])
    }

    fn ring(&mut self) {
        if let Some(server) = &self.server {
            server.region.ring_script();
        }
    }

    fn inspect_server(&mut self) {
        let Some(server) = &self.server else { return };
        let (run, process, holder) = (server.number, server.pid(), server.region.holder());
        let outcomes = self.outcomes.clone();
        spawn_local(async move {
            let looking = spawn_blocking(move || process.map(|process| inspect(process, holder)));
            let seen = looking.await.ok().flatten().and_then(Result::ok);
            let input = DriverInput::Inspected(run, seen);
            let _ = outcomes.send(HostOutcome::Input(input));
        });
    }

    fn inspect_cell(&mut self) {
        let Some(server) = &self.server else { return };
        server.region.begin_net_round();
        let (run, process) = (server.number, server.pid());
        let outcomes = self.outcomes.clone();
        spawn_local(async move {
            let looking = spawn_blocking(move || process.map(see_cell).unwrap_or_default());
            let found = looking.await.unwrap_or_default();
            let _ = outcomes.send(HostOutcome::Input(DriverInput::CellSeen(run, found)));
        });
    }

    fn measure_server(&mut self) {
        let Some(server) = &self.server else { return };
        let (run, process) = (server.number, server.pid());
        let outcomes = self.outcomes.clone();
        spawn_blocking(move || {
            let micros = process.map_or(0, processor_demand);
            let _ = outcomes.send(HostOutcome::Input(DriverInput::ProcessorTime(run, micros)));
        });
    }

    fn measure_disk(&mut self) {
        let (place, outcomes) = (self.data.clone(), self.outcomes.clone());
        spawn_blocking(move || {
            let input = DriverInput::DiskMeasured(measure(&place));
            let _ = outcomes.send(HostOutcome::Input(input));
        });
    }

    fn mark(&self, slot: Slot) -> Option<Mark> {
        let present = self.server.as_ref().and_then(|server| server.mark(slot));
        present.or_else(|| self.remains.mark(slot))
    }

    fn history(&mut self) -> Option<ServerHistory> {
        self.server.as_ref().map(|server| server.history())
    }

    fn keep_frozen(&mut self, frozen: Arc<FrozenCalls>) {
        self.keeper.keep_frozen(frozen);
    }

    fn stop_server(&mut self) {
        if let Some(server) = &mut self.server {
            server.stop();
        }
    }

    fn set_first_generation(&mut self, generation: Generation) {
        if let Some(server) = &self.server {
            server.region.set_first_generation(generation.0);
        }
    }

    fn watch_state(&mut self, watch: bool) {
        if let Some(server) = &self.server {
            server.region.set_watch_state(watch);
        }
    }
}
