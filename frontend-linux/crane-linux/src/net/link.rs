//! A link to one other replica: frames in both directions, once the handshake is done.
//!
//! A malformed frame closes its own stream, and nothing else.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crane_core::id::{Generation, NodeId};
use crane_core::paxos::Message;
use crane_core::progress::Vitals;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use serde::de::DeserializeOwned;

use crate::report::{
    CallsMessage, CheckpointMessage, ClockMessage, MarkMessage, ServerReport, TransferMessage,
};
use crate::roster::Roster;

use super::first::invalid;
use super::frame::{self, Decoder, FrameKind};
use super::handshake::Hello;
use super::message::{FetchedEntry, Received, read_message, write_message};
use super::outlet::Outlet;
use super::query::Query;
use super::wire::Wire;

/// How many frames may wait for the driver, of all links together.
pub(crate) const ARRIVALS: usize = 256;
/// How many bytes may wait for one slow replica. Frames beyond that are dropped: agreement repeats
/// each one that is needed.
pub(crate) const BACKLOG_BYTES_MAX: usize = 16 << 20;

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
    /// The generation of a daemon that has taken this one's place.
    Fence(Rc<Link>, Generation),
    /// Calls of the peer's server.
    Calls(Rc<Link>, CallsMessage),
    /// A mark of the peer's server.
    Mark(Rc<Link>, MarkMessage),
    /// A message about clocks.
    Clock(Rc<Link>, ClockMessage),
    /// The members as the peer knows them.
    Roster(Rc<Link>, Box<Roster>),
    /// A message about checkpoints.
    Checkpoint(Rc<Link>, CheckpointMessage),
    /// A message of a transfer of a checkpoint.
    Transfer(Rc<Link>, TransferMessage),
    /// A question, and where the answer goes.
    Asked(Query, Rc<Signal<NoopRawMutex, Vec<u8>>>),
    /// This replica does not fit together with a peer, by its name, and would have to stop.
    Refused(String, String),
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

    /// Wraps a stream whose handshake is done.
    pub(super) fn new(node: NodeId, wire: Wire, frames_dropped: Rc<Cell<u64>>) -> Rc<Self> {
        let (stream, connection, _) = wire.into_parts();
        let outlet = Outlet::secured(stream, connection);
        let (dropped, nudge) = (Cell::new(false), Signal::new());
        Rc::new(Self { node, outlet, dropped, nudge, frames_dropped })
    }

    /// Returns whether the link was closed by [`Link::drop_silently`].
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.get()
    }

    /// Closes the link, without an event for the driver.
    pub(crate) fn drop_silently(&self) {
        self.dropped.set(true);
        self.nudge.signal(());
    }

    /// Hands over the frames that had arrived when the link failed: a peer that ends says so last,
    /// and a write may fail before that is read.
    pub(super) async fn take_rest(self: &Rc<Self>, decoder: &mut Decoder, arrivals: &Arrivals) {
        let mut space = vec![0; Outlet::READ_BYTES];
        while let Ok(Some(length @ 1..)) = self.outlet.read_available(&mut space) {
            decoder.feed(&space[..length]);
            while let Ok(Some((kind, body))) = decoder.take() {
                let Ok(arrival) = read_frame(self, kind, body) else { return };
                arrivals.send(arrival).await;
            }
        }
    }

    /// Passes arriving frames on, and sends those that wait, until the link is closed.
    ///
    /// # Errors
    /// Returns why the link has failed.
    pub(super) async fn carry_frames(
        self: &Rc<Self>,
        decoder: &mut Decoder,
        arrivals: &Arrivals,
    ) -> io::Result<()> {
        let mut space = vec![0; Outlet::READ_BYTES];
        let stream = self.outlet.stream();
        // Bytes that came with the end of the handshake make no socket readable.
        let mut rest = self.outlet.read_available(&mut space)?;
        loop {
            match rest.take() {
                Some(0) => return Ok(()),
                Some(length) => decoder.feed(&space[..length]),
                None => {}
            }
            while let Some((kind, body)) = decoder.take().map_err(|error| invalid(&error))? {
                let arrival = read_frame(self, kind, body)?;
                arrivals.send(arrival).await;
            }
            tokio::select! {
                readable = stream.readable() => {
                    readable?;
                    rest = self.outlet.read_available(&mut space)?;
                }
                writable = self.outlet.writable(), if self.outlet.backlog() > 0 => {
                    writable?;
                    self.outlet.flush()?;
                }
                () = self.nudge.wait() => {
                    if self.dropped.get() {
                        return Ok(());
                    }
                    self.outlet.flush()?;
                }
            }
        }
    }
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
        FrameKind::Fence => Ok(Arrival::Fence(link, plain(body, "generation")?)),
        FrameKind::Clock => Ok(Arrival::Clock(link, plain(body, "message about clocks")?)),
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
