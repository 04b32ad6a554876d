//! The driver's interface to its host, in both directions: plain values and one trait.
//!
//! The driver itself does no I/O, reads no clock and never blocks. The process runs it over real
//! links, files and a real server (`host`); tests run it over values in memory.
//!
//! Length: the interface is one thing, and most of it is documentation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crane_core::execution::Mark;
use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::Message;
use crane_core::progress::Vitals;
use crane_core::time::Instant;
use crane_core::wire::Endpoint;
use crane_shm::{EndReason, HashMark, RingError, ServerState};
use serde::Serialize;

use crate::base::Base;
use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::{Checkpoint, Proof};
use crate::frozen::{FrozenCalls, ServerHistory};
use crate::log::fetch::{Fetch, FetchedRecord};
use crate::log::{Batch, Front, Synced};
use crate::meta::Meta;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::net::message::{FetchedEntry, Received};
use crate::net::strangers::StrangerCounters;
use crate::program::{UpgradeOrder, Upgraded};
use crate::report::{
    CallsMessage, CheckpointMessage, ClockMessage, Ending, MarkMessage, ServerReport,
};
use crate::roster::Roster;

use super::seen::{Bypassed, Inspection, SeenCell};
use super::taken::{Taken, TakingPhase};

/// The time of a step, by the host's clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    /// Nanoseconds since the daemon's start. Never less than in the step before.
    pub since_start: u64,
    /// Nanoseconds since the Unix epoch.
    pub unix: u64,
}

impl Moment {
    /// Returns the same time as agreement counts it.
    pub(crate) fn instant(self) -> Instant {
        Instant::from_micros(self.since_start / 1000)
    }
}

/// An input of the driver: an event that has happened.
#[derive(Debug)]
pub(crate) enum DriverInput {
    /// Time has passed: work may be due.
    Wake,
    /// A link has been made, in place of an older one if there was one.
    LinkUp(Box<Hello>),
    /// The link to a replica is gone.
    LinkDown(NodeId),
    /// A replica has sent a message.
    Message(NodeId, Received),
    /// A replica has forwarded ops of its clients, encoded one after the other.
    Ops(NodeId, Vec<u8>),
    /// A replica has sent a mark of its server.
    Mark(NodeId, MarkMessage),
    /// A replica has sent calls of its server, or asks for this one's: the two differ.
    Calls(NodeId, CallsMessage),
    /// A replica has reported the state of its server.
    Report(NodeId, ServerReport),
    /// A replica has reported its progress.
    Vitals(NodeId, Vitals),
    /// The processes of the server's run have used this much processor time, in microseconds, or
    /// may have waited for it.
    ProcessorTime(u64, u64),
    /// A replica has sent the members as it knows them, because this one is none.
    Roster(NodeId, Box<Roster>),
    /// A member, by its name, does not fit together with this replica, which would have to stop.
    Refused(String, String),
    /// Most of the files of the server's run with this number are copied, or why they are not.
    CheckpointPrepared(u64, Result<(), String>),
    /// The checkpoint of the server's run with this number is in this phase now.
    CheckpointPhase(u64, TakingPhase),
    /// A checkpoint of the server's run with this number was taken, or not, for this reason.
    CheckpointTaken(u64, Result<Taken, String>),
    /// The files that the run with this number has begun with are a checkpoint, or why not.
    FilesKept(u64, Result<Checkpoint, String>),
    /// A replica has sent a message about checkpoints.
    Checkpoint(NodeId, CheckpointMessage),
    /// A checkpoint is on its way here.
    Arriving(Arriving),
    /// A front of the log, given to [`Host::cut_log`], is durable, or not, for this reason.
    LogCut(Result<Front, String>),
    /// The server of the proof with this number has changed.
    Proof(u64, ProofChange),
    /// The proof of a checkpoint was kept, or not, for this reason.
    ProofKept(Result<Checkpoint, String>),
    /// Records of the log survive the daemon, as `--durability memory` wants it, although the disk
    /// has not taken them yet.
    Kept(Synced),
    /// A sync of the log has returned, or, where nothing is synced, a write.
    Durable(Synced),
    /// Frozen calls are in this file, or could not be kept for this reason.
    FrozenKept(Result<PathBuf, String>),
    /// Entries were read again.
    Fetched(FetchFor, Vec<FetchedRecord>),
    /// Entries up to this slot were not read again, for this reason: their segment is missing.
    FetchMissing(FetchFor, Slot, String),
    /// A meta with this generation, which was given to [`Host::keep_meta`], is durable.
    MetaKept(Generation),
    /// The client of the connection with this key has done something.
    Client(u64, ClientInput),
    /// The state of the server's run with this number has changed.
    Server(u64, ServerChange),
    /// The host has looked at the base of a program with this command.
    ProgramSeen(Vec<String>, Result<Base, String>),
    /// Another program is in the place of the present one, or why it cannot be.
    Upgraded(Result<Box<Upgraded>, String>),
    /// The server's run was inspected; `None` if it had ended.
    Inspected(u64, Option<Inspection>),
    /// The cell of the server's run was inspected.
    CellSeen(u64, SeenCell),
    /// The disk of the server's files was measured.
    DiskMeasured(DiskRoom),
    /// Another daemon with this replica's number, of this generation, has linked with a member.
    Fenced(NodeId, Generation),
    /// A member asks for this host's clock, or tells its own.
    Clock(NodeId, ClockMessage),
    /// The server's run makes a call that bypasses the hooks; each kind comes once.
    Bypassed(u64, Bypassed),
    /// The host failed in a task on which the driver depends.
    Failed(String),
}

/// An action of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ClientInput {
    /// The client has connected.
    Connected {
        /// The address that the client connected to.
        local: Endpoint,
        /// The client's own address.
        peer: Endpoint,
    },
    /// The client has sent bytes, at most [`crane_core::limits::SEND_BYTES_MAX`].
    Sent(Vec<u8>),
    /// The client will send nothing more.
    Shut,
    /// The client is gone.
    Gone,
    /// The client has taken this many bytes of replies in all.
    Drained(u64),
    /// No more actions will come from this connection.
    Over,
}

/// A place where the server listens, as it has bound it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ServerListener {
    /// The address, the unspecified one of its family for all; or a Unix socket.
    pub at: Endpoint,
    /// IPv4 clients do not come to the unspecified IPv6 address.
    pub v6only: bool,
}

/// A run of the server's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunNumber {
    /// The number of the run at this replica, from 1.
    pub number: u64,
    /// The incarnation of the group's server that it is a run of.
    pub incarnation: Incarnation,
}

/// The state from which a run of the server's program starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RunStart {
    /// The base.
    Base,
    /// The files that the run before has left. It has ended, and its cell ends first. By order,
    /// they are kept as a checkpoint, and the run gets a copy; [`DriverInput::FilesKept`] follows.
    Files(Option<FilesOrder>),
    /// A checkpoint: the run is restored from it, behind its slot.
    Checkpoint(Checkpoint),
}

/// A change in a run of the server's program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ServerChange {
    /// The run's script can be fed.
    Ready,
    /// The run is in namespaces, on an overlay of the host's files.
    Overlay,
    /// Namespaces are not permitted, for this reason: the run is on a copy of its directory.
    Copy(String),
    /// The program has been started.
    Started,
    /// The program could not be started, for this reason.
    Failed(String),
    /// The program has ended.
    Ended(ProgramEnd),
}

/// The progress of a checkpoint on its way here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arriving {
    /// Bytes have arrived.
    Piece {
        /// The number of bytes until now.
        got: u64,
        /// The number of all bytes.
        of: u64,
    },
    /// The checkpoint behind this slot is here, and the next start begins with it.
    Here {
        /// The slot.
        slot: Slot,
        /// The bytes that were sent for it.
        sent: u64,
        /// The bytes of its files; 0 if none were wanted.
        bytes: u64,
    },
    /// It has not arrived, for this reason.
    Failed(String),
}

/// A change of the server that proves a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ProofChange {
    /// Its script can be fed.
    Ready,
    /// It could not be made from the checkpoint, or has ended, for this reason.
    Ended(String),
    /// This host has no room for it at the moment, beside the running one.
    NoRoom(String),
}

/// How a run of the server's program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProgramEnd {
    /// The exit status or the signal.
    pub ending: Ending,
    /// The logical clock at the end.
    pub clock: u64,
    /// The last slot that the server had admitted.
    pub admitted: u64,
    /// The reason that the library in the server gave, if there is one.
    pub trouble: String,
    /// Why the library ended the server, if it did.
    pub end_reason: Option<EndReason>,
}

/// The room on the disk of the server's files, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiskRoom {
    /// The room that is left for the server.
    pub free: u64,
    /// The size of the disk; 0 if the disk does not tell.
    pub size: u64,
}

/// The running server as the daemon sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerView {
    /// The state of the server's threads.
    pub state: ServerState,
    /// The last slot that the server has admitted.
    pub admitted: u64,
    /// The server's logical clock.
    pub clock: u64,
    /// The number of connections that the server has open or has to accept.
    pub connections: u64,
    /// The agreed time, in nanoseconds, for which the server waits; `u64::MAX` if it waits for
    /// none.
    pub deadline: u64,
    /// The number of entries with ops that the server has admitted.
    pub entries: u64,
    /// The number of bubbles that the server has admitted.
    pub bubbles: u64,
    /// The number of calls that the library has passed to the kernel unordered.
    pub uncovered_calls: u64,
    /// The number of calls that the net below the hooks has caught.
    pub caught_calls: u64,
    /// Connections that were refused: nothing listened there, or a table was full.
    pub refused_connections: u64,
}

/// Facts about the host and the server's process, for `status`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HostFacts {
    /// The daemon's pid.
    pub daemon_pid: u32,
    /// The server's pid.
    pub server_pid: Option<u32>,
    /// The number of frames for other replicas that were dropped because too many bytes waited.
    pub frames_dropped: u64,
    /// The connections of strangers that were refused.
    pub strangers: StrangerCounters,
    /// The key file, if replicas know each other by keys.
    pub keys: Option<String>,
    /// The days for which the keys are valid still.
    pub keys_days: Option<u64>,
    /// The server's hashes at the slot that the query names.
    pub mark: Option<HashMark>,
    /// The calls that the net below the hooks has caught most often.
    pub caught: Vec<CaughtCall>,
}

/// Calls of one kind that the net below the hooks has caught.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CaughtCall {
    /// The call's name.
    pub call: String,
    /// The symbol and the library of the place that makes it.
    pub place: Option<String>,
    /// How many there were.
    pub calls: u64,
}

/// The part of the driver that requested entries to be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FetchFor {
    /// The part that observes committed entries.
    Observing,
    /// The part that feeds the server.
    Feeding,
    /// The part that feeds the server that proves a checkpoint.
    Proving,
    /// The part that cuts the log.
    Cutting,
    /// The part that owes entries to this replica.
    Owing(NodeId),
}

/// A command for a client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientCommand<'a> {
    /// Send these bytes after the earlier ones; they may wait for the end of the round.
    Send(&'a [u8]),
    /// The server will write nothing more.
    Shut,
    /// The server has closed the connection.
    Close,
    /// Reset the connection, and drop the bytes that wait for the client.
    Reset,
    /// The server has read the client's bytes up to this total.
    Consumed(u64),
}

/// The driver's effects, carried out by its host. None of them blocks. If an effect takes time, its
/// outcome arrives as a [`DriverInput`].
pub(crate) trait Host {
    /// Sends a message with the entries of its range to a replica, if it is linked.
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]);

    /// Sends another frame to a replica, if it is linked.
    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]);

    /// Introduces this replica with this hello on all links from now on.
    fn set_hello(&mut self, hello: &Hello);

    /// Replaces the list of members that others have sent, of whom the log here may not know.
    fn set_heard(&mut self, heard: &Roster);

    /// Closes the link to a replica, which may be made again.
    fn close_link(&mut self, node: NodeId);

    /// Keeps a link to a replica, as long as the hello's roster, or the list that others have sent,
    /// has the replica at this address.
    fn dial(&mut self, node: NodeId, address: &str);

    /// Writes records of the log; [`DriverInput::Durable`] follows, and before it there may be
    /// [`DriverInput::Kept`].
    fn write(&mut self, batch: Batch);

    /// Reads entries of the log again; [`DriverInput::Fetched`] follows, or
    /// [`DriverInput::FetchMissing`].
    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch);

    /// Receives the newest proved checkpoint of a replica, or only its slot's state of the log if
    /// `with_files` is false; [`DriverInput::Arriving`] follows.
    fn receive_checkpoint(&mut self, from: NodeId, with_files: bool);

    /// Writes a front of the log, so that the entries before it can be deleted;
    /// [`DriverInput::LogCut`] follows.
    fn cut_log(&mut self, front: Front);

    /// Deletes the segments of the log before this one.
    fn delete_segments(&mut self, before: u32);

    /// Replaces the meta of the data directory; [`DriverInput::MetaKept`] follows.
    fn keep_meta(&mut self, meta: &Meta);

    /// Keeps the present base of the server as the base of the group's creation.
    fn keep_base(&mut self);

    /// Carries out a command on the client's connection that has this key.
    fn command_client(&mut self, key: u64, command: ClientCommand<'_>);

    /// Lets clients connect to where the server listens: at this replica's client addresses if it
    /// listens at all addresses, on this host alone if at a loopback address or by a Unix socket,
    /// which has this path in the cell. Returns a text for the operator if no client reaches it
    /// there.
    ///
    /// # Errors
    /// Why it cannot be opened, and the remedy. For a Unix socket, which waits for the disk,
    /// [`DriverInput::Failed`] says so later.
    fn open_port(&mut self, at: &ServerListener, path: &Path) -> Result<Option<String>, String>;

    /// Lets no more clients connect there. Connections stay.
    fn close_port(&mut self, at: &ServerListener);

    /// Starts the server's program in a fresh cell. Its clients are those of this generation and
    /// later ones. [`DriverInput::Server`] follows.
    fn start_server(&mut self, run: RunNumber, generation: Generation, from: &RunStart);

    /// Looks at the base of another program; [`DriverInput::ProgramSeen`] follows.
    fn look_at_program(&mut self, words: &[String]);

    /// Lets another program take the place of the present one, after the end of the last run:
    /// keeps the files that it has left as a checkpoint, and checks the program's base. Later runs
    /// start this program. [`DriverInput::Upgraded`] follows.
    fn upgrade(&mut self, order: UpgradeOrder);

    /// Keeps a checkpoint for inspection under another name, which ends in the reason: it is not
    /// used again.
    fn set_checkpoint_aside(&mut self, place: &Path, why: &'static str);

    /// Copies most files of the running server, which is not held meanwhile;
    /// [`DriverInput::CheckpointPrepared`] follows.
    fn prepare_checkpoint(&mut self);

    /// Removes copies that were made for a checkpoint, because the server may not be held.
    fn drop_prepared_checkpoint(&mut self);

    /// Takes the checkpoint of the running server that was prepared, for this group;
    /// [`DriverInput::CheckpointPhase`] and [`DriverInput::CheckpointTaken`] follow.
    fn take_checkpoint(&mut self, group: &str);

    /// Makes a second server from a checkpoint, in a cell of its own: it has no clients, and nobody
    /// takes its output. [`DriverInput::Proof`] follows, with this number.
    fn start_proof(&mut self, number: u64, from: &Checkpoint);

    /// Appends to the script of the server that proves a checkpoint, as [`Host::feed`] does to that
    /// of the running one, and wakes it.
    ///
    /// # Errors
    /// Returns an error as [`Host::feed`] does.
    fn feed_proof(&mut self, slot: Slot, payload: &[u8]) -> Result<(), RingError>;

    /// Returns the hashes at the admission of a slot of the server that proves a checkpoint, once
    /// it has come there.
    fn proof_mark(&self, slot: Slot) -> Option<Mark>;

    /// Ends the server that proves a checkpoint.
    fn stop_proof(&mut self);

    /// Keeps the proof of a checkpoint with it; [`DriverInput::ProofKept`] follows.
    fn keep_proof(&mut self, checkpoint: &Checkpoint, proof: Proof);

    /// Appends to the script of the running server. `kind` is one of
    /// [`crane_shm::region::script`].
    ///
    /// # Errors
    /// Returns [`RingError::Full`] if a later attempt may succeed; every other error is final.
    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError>;

    /// Wakes the server, because its script has grown.
    fn ring(&mut self);

    /// Inspects the thread of the running server that has the turn; [`DriverInput::Inspected`]
    /// follows.
    fn inspect_server(&mut self);

    /// Inspects the cell of the running server ([`DriverInput::CellSeen`] follows), and has the
    /// server look for calls that bypass the hooks ([`DriverInput::Bypassed`] may follow).
    fn inspect_cell(&mut self);

    /// Measures the running server's processor time; [`DriverInput::ProcessorTime`] follows.
    fn measure_server(&mut self);

    /// Measures the disk of the server's files; [`DriverInput::DiskMeasured`] follows.
    fn measure_disk(&mut self);

    /// Returns the hashes of the running server at the admission of a slot, if it kept them.
    fn mark(&self, slot: Slot) -> Option<Mark>;

    /// Returns the history of the running server, or `None` if no server runs.
    fn history(&mut self) -> Option<ServerHistory>;

    /// Keeps frozen calls in the data directory; [`DriverInput::FrozenKept`] follows.
    fn keep_frozen(&mut self, frozen: Arc<FrozenCalls>);

    /// Ends the running server; [`DriverInput::Server`] follows.
    fn stop_server(&mut self);

    /// Prevents the running server from writing to clients of generations below this one.
    fn set_first_generation(&mut self, generation: Generation);

    /// Sets whether the running server reports at once when its state changes.
    fn watch_state(&mut self, watch: bool);
}
