//! The links of a replica, and the port at which others connect.
//!
//! Of two replicas, the one with the higher number connects, and reconnects when the link closes.
//! The listening side also answers questions. Nothing that comes before the handshake is done has
//! an effect, but on the counters.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crane_core::id::NodeId;
use embassy_sync::signal::Signal;
use serde_json::json;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::keys::subject::Subject;
use crate::roster::Roster;

use super::first::{first_frame, invalid, read_hello, read_question, send_hello};
use super::frame::{self, Decoder, FrameKind};
use super::handshake::{Hello, Loser, Refusal, judge};
use super::link::{Arrival, Arrivals, Link};
use super::query::{FIRST_FRAME_WITHIN, Query};
use super::strangers::{HalfOpen, StrangerCounters, Strangers};
use super::tls::Access;
use super::wire::Wire;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often strangers are complained of; `status` counts all.
const COMPLAINT_EVERY: Duration = Duration::from_secs(5);

/// The state that all links of a replica share.
pub(crate) struct Peers {
    /// This replica's hello; each link fills in `to`.
    hello: RefCell<Hello>,
    /// The list of members that others have sent.
    heard: RefCell<Roster>,
    /// The queue for arrivals.
    pub arrivals: Rc<Arrivals>,
    /// How replicas know each other.
    pub access: Access,
    /// How many frames were dropped because too many bytes waited, on all links together.
    pub frames_dropped: Rc<Cell<u64>>,
    strangers: RefCell<Strangers>,
    /// When a stranger was last complained of.
    complained: Cell<Option<Instant>>,
}

impl Peers {
    /// Returns the state for links that send this hello.
    pub(crate) fn new(hello: Hello, arrivals: Rc<Arrivals>, access: Access) -> Rc<Self> {
        let peers = Rc::new(Self {
            hello: RefCell::new(hello),
            heard: RefCell::default(),
            arrivals,
            access,
            frames_dropped: Rc::default(),
            strangers: RefCell::default(),
            complained: Cell::default(),
        });
        peers.learn_addresses();
        peers
    }

    /// Replaces the hello of links that are made from now on.
    pub(crate) fn set_hello(self: &Rc<Self>, hello: &Hello) {
        let before = self.hello.replace(hello.clone());
        if before.roster != hello.roster {
            self.learn_addresses();
        }
    }

    /// Replaces the list of members that others have sent.
    pub(crate) fn set_heard(&self, heard: &Roster) {
        *self.heard.borrow_mut() = heard.clone();
    }

    fn knows(&self, node: NodeId, address: &str) -> bool {
        self.hello.borrow().roster.has(node, address) || self.heard.borrow().has(node, address)
    }

    /// Returns how many strangers were refused.
    pub(crate) fn stranger_counters(&self) -> StrangerCounters {
        self.strangers.borrow().counters
    }

    /// Counts what happened to a stranger.
    pub(crate) fn count(&self, count: impl FnOnce(&mut StrangerCounters)) {
        count(&mut self.strangers.borrow_mut().counters);
    }

    /// Prints a complaint about a stranger, but not about each: a crowd must not fill the log.
    pub(super) fn complain(&self, why: &str) {
        let now = Instant::now();
        let is_early = |last| now.saturating_duration_since(last) < COMPLAINT_EVERY;
        if self.complained.get().is_some_and(is_early) {
            debug!("{why}");
        } else {
            self.complained.set(Some(now));
            warn!("{why}; closed its connection");
        }
    }

    /// Finds out from which addresses members come, which strangers must not keep out.
    fn learn_addresses(self: &Rc<Self>) {
        let names = self.hello.borrow().roster.iter().map(|place| place.address.clone()).collect();
        let (peers, names): (_, Vec<String>) = (self.clone(), names);
        spawn_local(async move {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for name in names {
                if let Ok(found) = lookup_host(name).await {
                    addresses.extend(found.map(|address| address.ip()));
                }
            }
            peers.strangers.borrow_mut().set_members(addresses);
        });
    }

    /// Keeps a link to a replica with a lower number, as long as a roster lists it at this address.
    /// The name is resolved before each attempt, because hosts move.
    pub(crate) async fn dial(self: Rc<Self>, node: NodeId, address: String) {
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        while self.knows(node, &address) {
            match self.access.connect(&address).await {
                Ok(wire) => match self.greet_first(wire, node).await {
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
                // A replica that is down says nothing about keys.
                Err(error) if is_distrust(&error) && !complained => {
                    warn!("no link to replica {node} at {address}: {error}");
                    complained = true;
                }
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
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    warn!("cannot accept a connection on the peer port: {error}");
                    sleep(LONGEST_PAUSE).await;
                    continue;
                }
            };
            let admitted = self.strangers.borrow_mut().admit(from.ip(), Instant::now());
            let Some(half_open) = admitted else { continue };
            let peers = self.clone();
            spawn_local(async move {
                if let Err(error) = peers.receive(stream, from, half_open).await {
                    debug!("{from} on the peer port: {error}; closed its connection");
                }
            });
        }
    }

    async fn receive(
        self: Rc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        half_open: HalfOpen,
    ) -> io::Result<()> {
        let first = tokio::select! {
            first = timeout(FIRST_FRAME_WITHIN, self.meet(stream, from.ip())) => Some(first),
            () = half_open.wait() => None,
        };
        self.strangers.borrow_mut().forget(&half_open);
        let (mut wire, kind, body, decoder) = match first {
            Some(Ok(Ok(first))) => first,
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(late)) => {
                self.count(|counters| counters.too_slow += 1);
                return Err(late.into());
            }
            None => return Err(invalid("too many half-open connections on the peer port")),
        };
        match kind {
            FrameKind::Hello => {
                let hello = read_hello(&body).inspect_err(|_| self.count_malformed())?;
                let Some(node) = NodeId::new(hello.node) else {
                    self.count_malformed();
                    return Err(invalid("no such replica"));
                };
                self.check_speaker(&wire, &hello)?;
                prepare(wire.socket())?;
                let mine = self.hello_to(node);
                send_hello(&mut wire, &mine).await?;
                self.judge(&mine, &hello)?;
                let link = Link::new(node, wire, self.frames_dropped.clone());
                self.carry(link, hello, decoder).await;
                Ok(())
            }
            FrameKind::Query => {
                let query = read_question(&body).inspect_err(|_| self.count_malformed())?;
                let asker = wire.subject().cloned();
                self.answer(&mut wire, query, asker.as_ref()).await?;
                // An end that is not announced could be anybody's.
                wire.shutdown().await
            }
            _ => {
                self.count_malformed();
                Err(invalid("its first frame is neither a hello nor a question"))
            }
        }
    }

    /// Shakes hands with a stranger, and takes its first frame.
    async fn meet(
        &self,
        stream: TcpStream,
        from: IpAddr,
    ) -> io::Result<(Wire, FrameKind, Vec<u8>, Decoder)> {
        let mut wire = match self.access.accept(stream).await {
            Ok(wire) => wire,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.count(|counters| counters.silent += 1);
                return Err(error);
            }
            Err(error) => {
                self.count(|counters| counters.untrusted += 1);
                self.complain(&format!("{from} on the peer port: {error}"));
                return Err(error);
            }
        };
        if wire.subject().is_some() {
            self.strangers.borrow_mut().know(from);
        }
        match first_frame(&mut wire).await {
            Ok(Some((kind, body, decoder))) => Ok((wire, kind, body, decoder)),
            Ok(None) => {
                self.count(|counters| counters.silent += 1);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(error) => {
                self.count_malformed();
                Err(error)
            }
        }
    }

    fn count_malformed(&self) {
        self.count(|counters| counters.malformed += 1);
    }

    /// Checks that a replica speaks for nobody but the one that its certificate names.
    // specs: N3
    fn check_speaker(&self, wire: &Wire, hello: &Hello) -> io::Result<()> {
        match wire.subject() {
            None => Ok(()),
            Some(Subject::Member(name)) if *name == hello.address => Ok(()),
            Some(other) => {
                self.count(|counters| counters.impostors += 1);
                let why = format!("{other} claims to be {}", hello.address);
                self.complain(&why);
                Err(invalid(&why))
            }
        }
    }

    /// Answers a question that arrived by `stream` from the one whom a certificate names, or from
    /// this replica's owner.
    ///
    /// # Errors
    /// Returns the stream's error.
    pub(crate) async fn answer<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        query: Query,
        asker: Option<&Subject>,
    ) -> io::Result<()> {
        let answer = match self.may_order(&query, asker) {
            Ok(()) => {
                let answer = Rc::new(Signal::new());
                self.arrivals.send(Arrival::Asked(query, answer.clone())).await;
                answer.wait().await
            }
            Err(why) => {
                self.count(|counters| counters.impostors += 1);
                self.complain(&why);
                json!({ "error": why, "retry": false }).to_string().into_bytes()
            }
        };
        let mut space = Vec::new();
        frame::encode(FrameKind::Answer, &[&answer], &mut space);
        stream.write_all(&space).await?;
        stream.flush().await
    }

    /// Checks that the one who asks may give this order: any holder of keys may ask for the state,
    /// members and operators may give orders.
    // specs: N4
    fn may_order(&self, query: &Query, asker: Option<&Subject>) -> Result<(), String> {
        match asker {
            Some(Subject::Member(name))
                if !matches!(query, Query::Status { .. })
                    && self.hello.borrow().roster.at(name).is_none() =>
            {
                Err(format!(
                    "{name} is no member of the group, and cannot give it orders; use the key \
                     file of a member, or operator.keys"
                ))
            }
            _ => Ok(()),
        }
    }

    async fn greet_first(
        &self,
        mut wire: Wire,
        node: NodeId,
    ) -> io::Result<(Rc<Link>, Hello, Decoder)> {
        prepare(wire.socket())?;
        let mine = self.hello_to(node);
        send_hello(&mut wire, &mine).await?;
        let first = timeout(FIRST_FRAME_WITHIN, first_frame(&mut wire)).await?;
        let Some((kind, body, decoder)) = first? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if kind != FrameKind::Hello {
            return Err(invalid("its first frame is not a hello"));
        }
        let hello = read_hello(&body)?;
        self.check_speaker(&wire, &hello)?;
        self.judge(&mine, &hello)?;
        Ok((Link::new(node, wire, self.frames_dropped.clone()), hello, decoder))
    }

    fn hello_to(&self, node: NodeId) -> Hello {
        Hello { to: node.number(), ..self.hello.borrow().clone() }
    }

    fn judge(&self, mine: &Hello, theirs: &Hello) -> io::Result<()> {
        let Err(Refusal { what, loser }) = judge(mine, theirs) else { return Ok(()) };
        let text = format!("replica {}: {what}", theirs.node);
        if loser == Loser::Mine {
            // If the queue is full, the next attempt reports it again.
            let by = theirs.address.clone();
            let _ = self.arrivals.try_send(Arrival::Refused(by, text.clone()));
        }
        Err(invalid(&text))
    }

    async fn carry(&self, link: Rc<Link>, hello: Hello, mut decoder: Decoder) {
        let node = link.node;
        info!("linked with replica {node}");
        self.arrivals.send(Arrival::Up(link.clone(), Box::new(hello))).await;
        let outcome = link.carry_frames(&mut decoder, &self.arrivals).await;
        if outcome.is_err() && !link.is_dropped() {
            link.take_rest(&mut decoder, &self.arrivals).await;
        }
        if !link.is_dropped() {
            match outcome {
                Ok(()) => info!("the link to replica {node} is closed"),
                Err(error) => warn!("the link to replica {node} is closed: {error}"),
            }
            self.arrivals.send(Arrival::Down(link)).await;
        }
    }
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

/// Returns whether an error is about keys, and not about a replica that is down.
fn is_distrust(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
