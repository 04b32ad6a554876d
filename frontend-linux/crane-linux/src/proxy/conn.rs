//! One client's connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use crane_core::limits::{DRAINED_STEP, RECEIVE_WINDOW, SEND_BYTES_MAX};
use crane_core::wire::Endpoint;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use rustix::net::connect_unspec;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until};

use crate::net::outlet::Outlet;
use crate::net::reading::read_available;

use super::{ClientAction, ClientEvent, ClientEvents, endpoint};

/// How long a client may continue to send after the server has closed.
const LINGER: Duration = Duration::from_secs(5);
/// How many appended bytes are sent without waiting for more. A socket's buffer takes this many at
/// once.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// How long a client may read nothing of the bytes that a closed server left for it.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// A client's connection, which its task and the driver share. All totals count bytes from 0.
pub(crate) struct ClientConn {
    /// The address to which the client connected.
    pub local: Endpoint,
    /// The client's address.
    pub peer: Endpoint,
    /// The connection's key, unique on this host; 0 before the host assigns one.
    pub key: Cell<u64>,
    outlet: Outlet,
    /// Whether bytes were appended since the last send, and the socket was not full before.
    unsent: Cell<bool>,
    received: Cell<u64>,
    consumed: Cell<u64>,
    drained: Cell<u64>,
    drained_reported: Cell<u64>,
    end: Cell<ServerEnd>,
    nudge: Signal<NoopRawMutex, ()>,
}

/// The state of the server's side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum ServerEnd {
    Open,
    /// The server writes no more.
    Shut,
    /// The server neither writes nor reads.
    Closed,
    /// The client gets a reset.
    Reset,
}

impl ClientConn {
    /// Wraps a connection that was just accepted.
    ///
    /// # Errors
    /// Returns the socket's error.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        local: Option<Endpoint>,
    ) -> io::Result<Rc<Self>> {
        stream.set_nodelay(true)?;
        let local = local.unwrap_or(endpoint(stream.local_addr()?));
        Ok(Self::between(stream, local, endpoint(peer)))
    }

    /// Wraps a connection that was just accepted by a Unix socket, which is the server's `local`.
    ///
    /// # Errors
    /// Returns the socket's error.
    pub(super) fn of_unix(stream: UnixStream, local: Endpoint) -> io::Result<Rc<Self>> {
        let client = stream.peer_cred()?;
        let peer = Endpoint::from_unix_client(client.uid(), client.gid());
        // To the runtime both are a descriptor that is read, written and shut down by the calls of
        // stream sockets; what only TCP has is asked of neither from here on.
        let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
        Ok(Self::between(TcpStream::from_std(stream)?, local, peer))
    }

    fn between(stream: TcpStream, local: Endpoint, peer: Endpoint) -> Rc<Self> {
        Rc::new(Self {
            local,
            peer,
            key: Cell::new(0),
            outlet: Outlet::new(stream),
            unsent: Cell::new(false),
            received: Cell::new(0),
            consumed: Cell::new(0),
            drained: Cell::new(0),
            drained_reported: Cell::new(0),
            end: Cell::new(ServerEnd::Open),
            nudge: Signal::new(),
        })
    }

    /// Appends bytes that the server has written for the client, and returns whether the caller
    /// must call [`ClientConn::send`] before it waits for anything: a reply that the server writes
    /// in many pieces leaves in one system call and, where it fits, in one packet.
    #[must_use]
    pub(crate) fn append(&self, bytes: &[u8]) -> bool {
        if self.end.get() == ServerEnd::Reset {
            return false;
        }
        // While the socket is full, the connection's task waits for room in it.
        let is_full = self.outlet.backlog() > 0 && !self.unsent.get();
        self.outlet.append(|space| space.extend_from_slice(bytes));
        if is_full {
            return false;
        }
        let is_first = !self.unsent.replace(true);
        if self.outlet.backlog() >= UNSENT_BYTES_MAX {
            self.send();
        }
        is_first
    }

    /// Sends the appended bytes, as far as the socket has room. Does nothing if no bytes are left.
    pub(crate) fn send(&self) {
        if !self.unsent.replace(false) {
            return;
        }
        match self.flush() {
            Ok(()) if self.outlet.backlog() == 0 && !self.has_drained_step() => {}
            // The connection's task finds the error by itself.
            _ => self.nudge.signal(()),
        }
    }

    /// Records that the server has read the client's bytes up to `total`.
    pub(crate) fn consumed(&self, total: u64) {
        let was_full = !self.has_window();
        self.consumed.set(self.consumed.get().max(total));
        if was_full && self.has_window() {
            self.nudge.signal(());
        }
    }

    /// Records that the server writes no more.
    pub(crate) fn shut(&self) {
        self.advance(ServerEnd::Shut);
    }

    /// Records that the server has closed the connection.
    pub(crate) fn close(&self) {
        self.advance(ServerEnd::Closed);
    }

    /// Resets the client's connection at once, and drops any bytes that wait for it. The connection
    /// is closed later: events that hold it may wait until this replica takes clients again.
    pub(crate) fn reset(&self) {
        if connect_unspec(self.outlet.stream()).is_err() {
            let _ = self.socket().shutdown(Shutdown::Both);
        }
        self.advance(ServerEnd::Reset);
    }

    fn advance(&self, end: ServerEnd) {
        self.end.set(self.end.get().max(end));
        self.nudge.signal(());
    }

    fn flush(&self) -> io::Result<()> {
        let written = self.outlet.flush()? as u64;
        self.drained.set(self.drained.get() + written);
        Ok(())
    }

    fn has_window(&self) -> bool {
        // A faulty server may claim to have read more than arrived.
        self.received.get().saturating_sub(self.consumed.get()) < RECEIVE_WINDOW as u64
    }

    fn has_drained_step(&self) -> bool {
        self.drained.get() - self.drained_reported.get() >= DRAINED_STEP as u64
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.outlet.stream())
    }
}

/// The way in which a connection's task ends.
enum Outcome {
    /// Both sides have closed.
    Finished,
    /// The client has disconnected, and the server does not know it yet.
    Lost,
    /// The client gets a reset.
    Aborted,
}

/// Serves a connection to its end.
pub(super) async fn run(conn: Rc<ClientConn>, client_events: Rc<ClientEvents>) {
    let report = |what: ClientAction| client_events.send(ClientEvent { conn: conn.clone(), what });
    report(ClientAction::Connected).await;
    match serve(&conn, &client_events).await {
        Outcome::Finished => {}
        Outcome::Lost => report(ClientAction::Gone).await,
        Outcome::Aborted => {
            // Closing with a linger of 0 sends the reset (tcp(7), socket(7)).
            let _ = conn.socket().set_linger(Some(Duration::ZERO));
        }
    }
    report(ClientAction::Over).await;
}

async fn serve(conn: &Rc<ClientConn>, client_events: &ClientEvents) -> Outcome {
    let stream = conn.outlet.stream();
    let report = |what: ClientAction| client_events.send(ClientEvent { conn: conn.clone(), what });
    let mut client_shut = false;
    let mut shut_sent = false;
    let mut deadline = Instant::now();
    let mut lingers = false;
    loop {
        let end = conn.end.get();
        if end == ServerEnd::Reset {
            return Outcome::Aborted;
        }
        let backlog = conn.outlet.backlog();
        if end >= ServerEnd::Shut && backlog == 0 && !shut_sent {
            shut_sent = true;
            // The next read finds a client that has disconnected.
            let _ = conn.socket().shutdown(Shutdown::Write);
        }
        let closed = end == ServerEnd::Closed;
        if closed && shut_sent && !lingers {
            lingers = true;
            deadline = Instant::now() + LINGER;
        }
        if closed && shut_sent && client_shut {
            return Outcome::Finished;
        }
        if closed && backlog > 0 && deadline < Instant::now() {
            deadline = Instant::now() + DRAIN_WITHIN;
        }
        if conn.has_drained_step() && !closed {
            conn.drained_reported.set(conn.drained.get());
            report(ClientAction::Drained(conn.drained.get())).await;
            continue;
        }
        let reading = !client_shut && (closed || conn.has_window());
        tokio::select! {
            ready = stream.readable(), if reading => {
                let window = RECEIVE_WINDOW as u64 - (conn.received.get() - conn.consumed.get())
                    .min(RECEIVE_WINDOW as u64);
                let limit = if closed { SEND_BYTES_MAX } else { window as usize };
                match ready.and_then(|()| read(conn, limit)) {
                    Ok(Some(bytes)) if bytes.is_empty() => {
                        client_shut = true;
                        if !closed {
                            report(ClientAction::Shut).await;
                        }
                    }
                    Ok(Some(bytes)) if !closed => {
                        conn.received.set(conn.received.get() + bytes.len() as u64);
                        report(ClientAction::Sent(bytes)).await;
                    }
                    Ok(_) => {}
                    Err(_) => return lost(closed),
                }
            }
            // While nothing is read, only an error shows that the client has disconnected.
            _ = stream.ready(Interest::ERROR), if !reading => return lost(closed),
            ready = conn.outlet.writable(), if backlog > 0 => {
                let before = conn.drained.get();
                if ready.and_then(|()| conn.flush()).is_err() {
                    return lost(closed);
                }
                if closed && conn.drained.get() > before {
                    deadline = Instant::now() + DRAIN_WITHIN;
                }
            }
            () = conn.nudge.wait() => {
                if conn.outlet.backlog() > 0 && conn.flush().is_err() {
                    return lost(closed);
                }
            }
            () = sleep_until(deadline), if closed => {
                return if conn.outlet.backlog() > 0 { Outcome::Aborted } else { Outcome::Finished };
            }
        }
    }
}

fn lost(closed: bool) -> Outcome {
    if closed { Outcome::Finished } else { Outcome::Lost }
}

thread_local! {
    /// The space that all connections read into: most requests are short, and space of one's own
    /// would have to be zeroed for each.
    static READ_SPACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; SEND_BYTES_MAX].into());
}

/// Reads at most `limit` of the bytes that have arrived. Returns `None` if there are none, and
/// empty bytes at the end of the stream.
fn read(conn: &ClientConn, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let limit = limit.clamp(1, SEND_BYTES_MAX);
    READ_SPACE.with_borrow_mut(|space| {
        let length = read_available(conn.outlet.stream(), &mut space[..limit])?;
        Ok(length.map(|length| space[..length].to_vec()))
    })
}
