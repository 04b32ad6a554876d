//! The driver's needs of the host that it runs on, and what the host brings: plain values and
//! one trait.
//!
//! The driver itself does no I/O, reads no clock and never blocks. The process runs it over real
//! links, files and a real server (`host`); tests run it over values in memory.

use std::path::PathBuf;
use std::sync::Arc;

use crane_core::execution::Mark;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::paxos::{Message, WriteNumber};
use crane_core::time::Instant;
use crane_core::wire::Endpoint;
use crane_shm::{HashMark, RingError, ServerState};

use crate::frozen::{FrozenCalls, ServerHistory};
use crate::log::Batch;
use crate::log::fetch::{Fetch, FetchedRecord};
use crate::meta::Meta;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::net::message::{FetchedEntry, Received};
use crate::report::{CallsMessage, Ending, MarkMessage, ServerReport};

/// The time of a step, by the clocks of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    /// Nanoseconds since the daemon's start. Never less than in the step before.
    pub since_start: u64,
    /// Nanoseconds since the Unix epoch.
    pub unix: u64,
}

impl Moment {
    /// The same as agreement counts it.
    pub(crate) fn instant(self) -> Instant {
        Instant::from_micros(self.since_start / 1000)
    }
}

/// Something that has happened, for the driver.
#[derive(Debug)]
pub(crate) enum DriverInput {
    /// Time has passed: something may be due.
    Wake,
    /// A link has been made, in place of an older one if there was one.
    LinkUp(Box<Hello>),
    /// The link to a replica is gone.
    LinkDown(NodeId),
    /// A replica has sent a message.
    Message(NodeId, Received),
    /// A replica has forwarded ops of its clients, encoded one after the other.
    Ops(NodeId, Vec<u8>),
    /// A replica tells a mark of its server.
    Mark(NodeId, MarkMessage),
    /// A replica sends what its server did, or wants to know of this one's: they differ.
    Calls(NodeId, CallsMessage),
    /// A replica has reported how its server is.
    Report(NodeId, ServerReport),
    /// All writes up to this one are durable.
    Durable(WriteNumber),
    /// Calls that were frozen are in this file, or are not kept for this reason.
    FrozenKept(Result<PathBuf, String>),
    /// Entries were read again.
    Fetched(FetchFor, Vec<FetchedRecord>),
    /// A meta with this generation, which was handed to [`Host::keep_meta`], is durable.
    MetaKept(Generation),
    /// A client has done something, by the connection with this key.
    Client(u64, ClientInput),
    /// Something has become of the server's run with this number.
    Server(u64, ServerChange),
    /// The server's run was inspected; `None` when it was gone.
    Inspected(u64, Option<Inspection>),
    /// The cell of the server's run was looked at: who listens in it by a socket of the kernel.
    CellSeen(u64, Vec<Unannounced>),
    /// The host cannot carry out what the driver depends on.
    Failed(String),
}

/// An action of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ClientInput {
    /// It has connected.
    Connected {
        /// To this address.
        local: Endpoint,
        /// From this address.
        peer: Endpoint,
    },
    /// It has sent bytes, at most [`crane_core::limits::SEND_BYTES_MAX`].
    Sent(Vec<u8>),
    /// It will send no more.
    Shut,
    /// It is gone.
    Gone,
    /// It has taken this many bytes of replies in all.
    Drained(u64),
    /// Nothing will come from this connection any more.
    Over,
}

/// A place where the server listens, as it has bound it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ServerListener {
    /// The address; the unspecified one of its family for all.
    pub at: Endpoint,
    /// IPv4 clients do not come to the unspecified IPv6 address.
    pub v6only: bool,
}

/// A change in a run of the server's program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ServerChange {
    /// Its script can be fed.
    Ready,
    /// It runs in namespaces, on an overlay of the host's files.
    Overlay,
    /// Namespaces are not permitted, for this reason: it runs on a copy of its directory.
    Copy(String),
    /// The program has been started.
    Started,
    /// It could not be started.
    Failed(String),
    /// The program has ended.
    Ended(ProgramEnd),
}

/// How a run of the server's program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProgramEnd {
    /// By itself, or by a signal.
    pub ending: Ending,
    /// The logical clock at the end.
    pub clock: u64,
    /// The last slot that the server had admitted.
    pub admitted: u64,
    /// The reason that the library in the server gives, if it does.
    pub trouble: String,
    /// The library had it ended: it does what cannot be replicated.
    pub refused: bool,
}

/// The running server, as it is seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ServerView {
    /// The state of its threads.
    pub state: ServerState,
    /// The last slot that it has admitted.
    pub admitted: u64,
    /// Its logical clock.
    pub clock: u64,
    /// Connections that it has open or has to accept.
    pub connections: u64,
    /// The agreed time, in nanoseconds, that it waits for; `u64::MAX` if it waits for none.
    pub deadline: u64,
    /// Entries with ops that it has admitted.
    pub entries: u64,
    /// Bubbles that it has admitted.
    pub bubbles: u64,
    /// Calls that it made and that the library passes on to the kernel unordered.
    pub uncovered_calls: u64,
}

/// The thread of the server that has the turn, and what it was seen doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inspection {
    /// Its number in the cell; 0: the first thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Its activity.
    pub activity: Activity,
    /// Where in the program: a symbol and its file.
    pub place: Option<String>,
}

/// A socket of the kernel that a process of the cell listens by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unannounced {
    /// The port.
    pub port: u16,
    /// The process's name, if it could be found.
    pub owner: Option<String>,
}

/// The activity of a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    /// It uses the processor.
    Computes,
    /// It waits in this system call.
    InCall(String),
}

/// Facts that `status` shows of the host and the server's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HostFacts {
    /// The daemon's process number.
    pub daemon_pid: u32,
    /// The server's process number.
    pub server_pid: Option<u32>,
    /// Frames for other replicas that were dropped because too much waited.
    pub frames_dropped: u64,
    /// The server's hashes at the slot that the query names.
    pub mark: Option<HashMark>,
}

/// The part of the driver that asked for entries to be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FetchFor {
    /// It learns what committed entries mean.
    Observing,
    /// It feeds the server.
    Feeding,
    /// It owes entries to other replicas.
    Owing,
}

/// A command for a client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientCommand<'a> {
    /// Send these bytes, behind those before; they may wait for the end of the round.
    Send(&'a [u8]),
    /// The server writes no more.
    Shut,
    /// The server has closed the connection.
    Close,
    /// Reset it, whatever waits for the client.
    Reset,
    /// The server has read the client's bytes up to this total.
    Consumed(u64),
}

/// The driver's acts, carried out by its host: effects, none of which blocks. Where one takes time,
/// its outcome comes as a [`DriverInput`].
pub(crate) trait Host {
    /// Sends a message with the entries of its range to a replica, if it is linked.
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]);

    /// Sends another frame to a replica, if it is linked.
    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]);

    /// Introduces this replica by this hello on all links from now on.
    fn set_hello(&mut self, hello: &Hello);

    /// Keeps up a link to a replica, as long as the hello's roster has it at this address.
    fn dial(&mut self, node: NodeId, address: &str);

    /// Writes records of the log; [`DriverInput::Durable`] follows.
    fn write(&mut self, batch: Batch);

    /// Reads entries of the log again; [`DriverInput::Fetched`] follows.
    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch);

    /// Replaces the meta of the data directory; [`DriverInput::MetaKept`] follows.
    fn keep_meta(&mut self, meta: &Meta);

    /// Keeps what the server starts from, as the base of the group's creation.
    fn keep_base(&mut self);

    /// Does something with the client's connection that has this key.
    fn command_client(&mut self, key: u64, command: ClientCommand<'_>);

    /// Lets clients connect to where the server listens: at this replica's client addresses if it
    /// listens at all addresses, on this host alone if at a loopback address. Returns a text for
    /// the operator if no client reaches it there.
    ///
    /// # Errors
    /// Why it cannot be opened, and the remedy.
    fn open_port(&mut self, at: &ServerListener) -> Result<Option<String>, String>;

    /// Lets no more clients connect there. Connections stay.
    fn close_port(&mut self, at: &ServerListener);

    /// Starts the server's program in a fresh cell, as the run with this number, whose clients are
    /// those from this generation on. [`DriverInput::Server`] follows.
    fn start_server(&mut self, run: u64, generation: Generation);

    /// Appends to the script of the running server. `kind` is one of
    /// [`crane_shm::region::script`].
    ///
    /// # Errors
    /// Returns [`RingError::Full`]: later perhaps. Others: never.
    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError>;

    /// Wakes the server: it has been fed.
    fn ring(&mut self);

    /// Looks what the thread of the running server does that has the turn;
    /// [`DriverInput::Inspected`] follows.
    fn inspect_server(&mut self);

    /// Looks who listens in the cell of the running server by a socket of the kernel;
    /// [`DriverInput::CellSeen`] follows.
    fn inspect_cell(&mut self);

    /// Returns the hashes of the running server at the admission of a slot, if it kept them.
    fn mark(&self, slot: Slot) -> Option<Mark>;

    /// Returns what the running server did last; `None`: none runs.
    fn history(&mut self) -> Option<ServerHistory>;

    /// Keeps calls that are frozen in the data directory; [`DriverInput::FrozenKept`] follows.
    fn keep_frozen(&mut self, frozen: Arc<FrozenCalls>);

    /// Ends the running server; [`DriverInput::Server`] follows.
    fn stop_server(&mut self);

    /// Lets the running server write nothing more to clients of generations below this one.
    fn set_first_generation(&mut self, generation: Generation);

    /// Tells the running server whether to say at once when its state changes.
    fn watch_state(&mut self, watch: bool);
}
