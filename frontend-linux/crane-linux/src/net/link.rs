//! A link to one other replica.
//!
//! Of two replicas, the one with the higher number connects, and reconnects when the link closes.
//! The listening side also answers questions. A malformed frame closes its own stream, and nothing
//! else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crane_core::id::NodeId;
use crane_core::paxos::Message;
use crane_core::progress::Vitals;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::report::{CallsMessage, CheckpointMessage, MarkMessage, ServerReport, TransferMessage};
use crate::roster::Roster;

use super::frame::{self, Decoder, FrameKind};
use super::handshake::{Hello, Loser, Refusal, judge};
use super::message::{FetchedEntry, Received, read_message, write_message};
use super::outlet::{Outlet, read_available};
use super::query::{FIRST_FRAME_WITHIN, Query};

/// How many frames may wait for the driver, of all links together.
pub(crate) const ARRIVALS: usize = 256;
/// How many bytes may wait for one slow replica. Frames beyond that are dropped: agreement repeats
/// each one that is needed.
pub(crate) const BACKLOG_BYTES_MAX: usize = 16 << 20;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How many connections may be open that have not sent their first frame. One more replaces the
/// oldest: a replica or a questioner sends at once, and silent connections must not keep them out.
const STRANGERS_MAX: usize = 64;
const READ_BYTES: usize = 64 * 1024;

/// An event on a link, for the driver.
pub(crate) enum Arrival {
    /// A link has been made.
    Up(Rc<Link>, Box<Hello>),
    /// A link was closed.
    Down(Rc<Link>),
    /// A message, with the entries of its run and their payloads.
    Paxos(Rc<Link>, Received),
    /// Ops of the other side's clients, encoded one after the other.
    Ops(Rc<Link>, Vec<u8>),
    /// The state of the peer's server.
    Server(Rc<Link>, ServerReport),
    /// The progress of the peer.
    Vitals(Rc<Link>, Vitals),
    /// Calls of the peer's server.
    Calls(Rc<Link>, CallsMessage),
    /// A mark of the peer's server.
    Mark(Rc<Link>, MarkMessage),
    /// The members as the peer knows them.
    Roster(Rc<Link>, Box<Roster>),
    /// A message about checkpoints.
    Checkpoint(Rc<Link>, CheckpointMessage),
    /// A message of a transfer of a checkpoint.
    Transfer(Rc<Link>, TransferMessage),
    /// A question, and where the answer goes.
    Asked(Query, Rc<Signal<NoopRawMutex, Vec<u8>>>),
    /// This replica does not fit together with a peer, and must stop.
    Refused(String),
}

/// The queue of arrivals.
pub(crate) type Arrivals = Channel<NoopRawMutex, Arrival, ARRIVALS>;

/// A link whose handshake is done.
pub(crate) struct Link {
    /// The peer.
    pub node: NodeId,
    outlet: Outlet,
    dropped: Cell<bool>,
    nudge: Signal<NoopRawMutex, ()>,
    frames_dropped: Rc<Cell<u64>>,
}

impl Link {
    /// Queues a frame, or drops it if too many bytes wait already.
    pub(crate) fn put(&self, kind: FrameKind, parts: &[&[u8]]) {
        self.append(|space| frame::encode(kind, parts, space));
    }

    /// Queues a message with the entries of its range, if it has one.
    pub(crate) fn put_message(&self, message: &Message, run: &[FetchedEntry]) {
        self.append(|space| {
            frame::encode_with(FrameKind::Paxos, space, |space| write_message(message, run, space));
        });
    }

    fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.outlet.backlog() < BACKLOG_BYTES_MAX {
            self.outlet.append(encode);
        } else {
            self.frames_dropped.set(self.frames_dropped.get() + 1);
        }
    }

    /// Sends the queued frames.
    pub(crate) fn flush(&self) {
        if self.outlet.backlog() > 0 && (self.outlet.flush().is_err() || self.outlet.backlog() > 0)
        {
            self.nudge.signal(());
        }
    }

    /// Closes the link, without an event for the driver.
    pub(crate) fn drop_silently(&self) {
        self.dropped.set(true);
        self.nudge.signal(());
    }
}

/// The state that all links of a replica share.
pub(crate) struct Peers {
    /// This replica's hello; each link fills in `to`.
    pub hello: RefCell<Hello>,
    /// The queue for arrivals.
    pub arrivals: Rc<Arrivals>,
    /// How many frames were dropped because too many bytes waited, on all links together.
    pub frames_dropped: Rc<Cell<u64>>,
    strangers: RefCell<VecDeque<Rc<Stranger>>>,
}

/// A connection on the peer port before its first frame; signalled when it must close.
type Stranger = Signal<NoopRawMutex, ()>;

impl Peers {
    /// Returns the state for links that send this hello.
    pub(crate) fn new(hello: Hello, arrivals: Rc<Arrivals>) -> Rc<Self> {
        Rc::new(Self {
            hello: RefCell::new(hello),
            arrivals,
            frames_dropped: Rc::default(),
            strangers: RefCell::default(),
        })
    }

    /// Keeps a link to a replica with a lower number, as long as the roster lists it at this
    /// address. The name is resolved before each attempt, because hosts move.
    pub(crate) async fn dial(self: Rc<Self>, node: NodeId, address: String) {
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        while self.hello.borrow().roster.has(node, &address) {
            match connect(&address).await {
                Ok(stream) => match self.greet_first(stream, node).await {
                    Ok((link, hello, decoder)) => {
                        (pause, complained) = (FIRST_PAUSE, false);
                        self.carry(link, hello, decoder).await;
                    }
                    Err(error) if complained => debug!("replica {node}: {error}"),
                    Err(error) => {
                        warn!("no link to replica {node}: {error}");
                        complained = true;
                    }
                },
                Err(error) => debug!("replica {node} at {address}: {error}"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        debug!("replica {node} is no longer at {address}");
    }

    /// Accepts links and questions on the peer port; never returns.
    pub(crate) async fn listen(self: Rc<Self>, listener: TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("cannot accept a connection on the peer port: {error}");
                    sleep(LONGEST_PAUSE).await;
                    continue;
                }
            };
            let stranger = self.admit_stranger();
            let peers = self.clone();
            spawn_local(async move {
                let outcome = peers.receive(stream, stranger).await;
                if let Err(error) = outcome {
                    warn!("{from} on the peer port: {error}; closed its connection");
                }
            });
        }
    }

    fn admit_stranger(&self) -> Rc<Stranger> {
        let stranger = Rc::new(Stranger::new());
        let mut strangers = self.strangers.borrow_mut();
        if strangers.len() == STRANGERS_MAX
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.signal(());
        }
        strangers.push_back(stranger.clone());
        stranger
    }

    async fn receive(self: Rc<Self>, stream: TcpStream, stranger: Rc<Stranger>) -> io::Result<()> {
        let first = tokio::select! {
            first = first_frame(&stream) => first,
            () = stranger.wait() => {
                debug!("too many silent connections on the peer port; closed the oldest");
                return Ok(());
            }
        };
        self.strangers.borrow_mut().retain(|other| !Rc::ptr_eq(other, &stranger));
        let Some((kind, body, decoder)) = first? else { return Ok(()) };
        match kind {
            FrameKind::Hello => {
                let hello = read_hello(&body)?;
                let node = NodeId::new(hello.node).ok_or_else(|| invalid("no such replica"))?;
                prepare(&stream)?;
                let mine = self.hello_to(node);
                send_hello(&stream, &mine).await?;
                self.judge(&mine, &hello)?;
                let link = self.new_link(stream, node);
                self.carry(link, hello, decoder).await;
                Ok(())
            }
            FrameKind::Query => {
                let mut stream = stream;
                self.answer(&mut stream, &body).await
            }
            _ => Err(invalid("its first frame is neither a hello nor a question")),
        }
    }

    /// Answers a question that arrived by `stream`.
    ///
    /// # Errors
    /// Returns the stream's error, or `InvalidData` if the question is malformed.
    pub(crate) async fn answer<S>(&self, stream: &mut S, question: &[u8]) -> io::Result<()>
    where
        S: tokio::io::AsyncWrite + Unpin,
    {
        let query = postcard::from_bytes(question).map_err(|_| invalid("malformed question"))?;
        let answer = Rc::new(Signal::new());
        self.arrivals.send(Arrival::Asked(query, answer.clone())).await;
        let answer = answer.wait().await;
        let mut space = Vec::new();
        frame::encode(FrameKind::Answer, &[&answer], &mut space);
        tokio::io::AsyncWriteExt::write_all(stream, &space).await
    }

    async fn greet_first(
        &self,
        stream: TcpStream,
        node: NodeId,
    ) -> io::Result<(Rc<Link>, Hello, Decoder)> {
        prepare(&stream)?;
        let mine = self.hello_to(node);
        send_hello(&stream, &mine).await?;
        let Some((kind, body, decoder)) = first_frame(&stream).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if kind != FrameKind::Hello {
            return Err(invalid("its first frame is not a hello"));
        }
        let hello = read_hello(&body)?;
        self.judge(&mine, &hello)?;
        Ok((self.new_link(stream, node), hello, decoder))
    }

    fn hello_to(&self, node: NodeId) -> Hello {
        Hello { to: node.number(), ..self.hello.borrow().clone() }
    }

    fn judge(&self, mine: &Hello, theirs: &Hello) -> io::Result<()> {
        let Err(Refusal { what, loser }) = judge(mine, theirs) else { return Ok(()) };
        let text = format!("replica {}: {what}", theirs.node);
        if loser == Loser::Mine {
            // If the queue is full, the next attempt reports it again.
            let _ = self.arrivals.try_send(Arrival::Refused(text.clone()));
        }
        Err(invalid(&text))
    }

    fn new_link(&self, stream: TcpStream, node: NodeId) -> Rc<Link> {
        let (outlet, dropped, nudge) = (Outlet::new(stream), Cell::new(false), Signal::new());
        let frames_dropped = self.frames_dropped.clone();
        Rc::new(Link { node, outlet, dropped, nudge, frames_dropped })
    }

    async fn carry(&self, link: Rc<Link>, hello: Hello, mut decoder: Decoder) {
        let node = link.node;
        info!("linked with replica {node}");
        self.arrivals.send(Arrival::Up(link.clone(), Box::new(hello))).await;
        let outcome = self.carry_frames(&link, &mut decoder).await;
        if outcome.is_err() && !link.dropped.get() {
            self.take_rest(&link, &mut decoder).await;
        }
        if !link.dropped.get() {
            match outcome {
                Ok(()) => info!("the link to replica {node} is closed"),
                Err(error) => warn!("the link to replica {node} is closed: {error}"),
            }
            self.arrivals.send(Arrival::Down(link)).await;
        }
    }

    /// Hands over the frames that had arrived when the link failed: a peer that ends says so last,
    /// and a write may fail before that is read.
    async fn take_rest(&self, link: &Rc<Link>, decoder: &mut Decoder) {
        let mut space = vec![0; READ_BYTES];
        while let Ok(Some(length @ 1..)) = read_available(link.outlet.stream(), &mut space) {
            decoder.feed(&space[..length]);
            while let Ok(Some((kind, body))) = decoder.take() {
                let Ok(arrival) = read_frame(link, kind, body) else { return };
                self.arrivals.send(arrival).await;
            }
        }
    }

    async fn carry_frames(&self, link: &Rc<Link>, decoder: &mut Decoder) -> io::Result<()> {
        let mut space = vec![0; READ_BYTES];
        let stream = link.outlet.stream();
        loop {
            while let Some((kind, body)) = decoder.take().map_err(|error| invalid(&error))? {
                let arrival = read_frame(link, kind, body)?;
                self.arrivals.send(arrival).await;
            }
            tokio::select! {
                readable = stream.readable() => {
                    readable?;
                    match read_available(stream, &mut space)? {
                        Some(0) => return Ok(()),
                        Some(length) => decoder.feed(&space[..length]),
                        None => {}
                    }
                }
                writable = link.outlet.writable(), if link.outlet.backlog() > 0 => {
                    writable?;
                    link.outlet.flush()?;
                }
                () = link.nudge.wait() => {
                    if link.dropped.get() {
                        return Ok(());
                    }
                    link.outlet.flush()?;
                }
            }
        }
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    timeout(CONNECT_WITHIN, TcpStream::connect(address)).await?
}

/// A replica that acknowledges nothing for seconds is taken to be down, whatever TCP assumes.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(5)))?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

async fn send_hello(stream: &TcpStream, hello: &Hello) -> io::Result<()> {
    let text = postcard::to_allocvec(hello).map_err(io::Error::other)?;
    if text.len() >= frame::BODY_BYTES_MAX {
        return Err(invalid(
            "the base has too many parts for a hello; keep fewer files below the working directory",
        ));
    }
    let mut space = Vec::new();
    frame::encode(FrameKind::Hello, &[&text], &mut space);
    let mut written = 0;
    while written < space.len() {
        stream.writable().await?;
        match stream.try_write(&space[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the first frame, and returns the bytes after it as well. `None` if the stream was closed
/// without a byte.
async fn first_frame(stream: &TcpStream) -> io::Result<Option<(FrameKind, Vec<u8>, Decoder)>> {
    let reading = async {
        let mut decoder = Decoder::default();
        let mut space = vec![0; READ_BYTES];
        let mut any = false;
        loop {
            if let Some((kind, body)) = decoder.take().map_err(|error| invalid(&error))? {
                let body = body.to_vec();
                return Ok(Some((kind, body, decoder)));
            }
            stream.readable().await?;
            match read_available(stream, &mut space)? {
                Some(0) if any => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(0) => return Ok(None),
                Some(length) => decoder.feed(&space[..length]),
                None => {}
            }
            any = true;
        }
    };
    timeout(FIRST_FRAME_WITHIN, reading).await?
}

/// Reads a question from a stream of any kind; see [`first_frame`].
///
/// # Errors
/// Returns the stream's error, `TimedOut`, or `InvalidData` if the bytes are no frame.
pub async fn question<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Vec<u8>>> {
    let reading = async {
        let mut decoder = Decoder::default();
        let mut space = vec![0; 4096];
        loop {
            match decoder.take().map_err(|error| invalid(&error))? {
                Some((FrameKind::Query, body)) => return Ok(Some(body.to_vec())),
                Some(_) => return Err(invalid("its first frame is not a question")),
                None => {}
            }
            let length = stream.read(&mut space).await?;
            if length == 0 {
                return Ok(None);
            }
            decoder.feed(&space[..length]);
        }
    };
    timeout(FIRST_FRAME_WITHIN, reading).await?
}

/// Reads the body of a hello.
///
/// # Errors
/// Returns `InvalidData` if the bytes are malformed. It never panics.
pub fn read_hello(body: &[u8]) -> io::Result<Hello> {
    postcard::from_bytes(body)
        .map_err(|_| invalid("malformed hello; use the same version of crane-linux everywhere"))
}

/// Decodes a frame that has arrived by a link.
fn read_frame(link: &Rc<Link>, kind: FrameKind, body: &[u8]) -> io::Result<Arrival> {
    let link = link.clone();
    match kind {
        FrameKind::Paxos => {
            let received = read_message(body).map_err(|error| invalid(&error))?;
            Ok(Arrival::Paxos(link, received))
        }
        FrameKind::Ops => Ok(Arrival::Ops(link, body.to_vec())),
        FrameKind::Server => Ok(Arrival::Server(link, plain(body, "report")?)),
        FrameKind::Vitals => Ok(Arrival::Vitals(link, plain(body, "vitals")?)),
        FrameKind::Calls => Ok(Arrival::Calls(link, plain(body, "calls")?)),
        FrameKind::Mark => Ok(Arrival::Mark(link, plain(body, "mark")?)),
        FrameKind::Roster => Ok(Arrival::Roster(link, plain(body, "members")?)),
        FrameKind::Checkpoint => {
            Ok(Arrival::Checkpoint(link, plain(body, "message about checkpoints")?))
        }
        FrameKind::Transfer => Ok(Arrival::Transfer(link, plain(body, "message of a transfer")?)),
        FrameKind::Hello | FrameKind::Query | FrameKind::Answer => {
            Err(invalid("unexpected frame after the handshake"))
        }
    }
}

/// Decodes a body that holds a value and nothing else.
fn plain<T: DeserializeOwned>(body: &[u8], what: &str) -> io::Result<T> {
    postcard::from_bytes(body).map_err(|_| invalid(&format!("malformed {what}")))
}

fn invalid(why: &(impl std::fmt::Display + ?Sized)) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
