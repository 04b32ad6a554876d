//! The clients' side: real sockets at the replica's own address.
//!
//! Each listener and each connection has a task. The tasks pass the clients' actions to the driver.
//! The driver writes replies directly to the connection; the task sends only bytes that did not
//! fit.

mod conn;

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crane_core::wire::Endpoint;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use tracing::warn;

pub(crate) use conn::ClientConn;

/// How many client events may wait for the driver. While the queue is full, the proxy reads from no
/// client.
pub(crate) const ACTS: usize = 128;
const BACKLOG: u32 = 1024;

/// An action of a client, with its connection.
pub(crate) struct ClientEvent {
    /// The connection.
    pub conn: Rc<ClientConn>,
    /// The action.
    pub what: ClientAction,
}

/// The kinds of client actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ClientAction {
    /// The client has connected.
    Connected,
    /// The client has sent bytes, at most [`crane_core::limits::SEND_BYTES_MAX`].
    Sent(Vec<u8>),
    /// The client will send no more.
    Shut,
    /// The client has disconnected.
    Gone,
    /// The client has taken this many bytes of replies since its connection began.
    Drained(u64),
    /// The connection's task has ended, and no action follows.
    Over,
}

/// The queue of client events.
pub(crate) type ClientEvents = Channel<NoopRawMutex, ClientEvent, ACTS>;

/// A port that clients connect to. Dropping it closes the port; its connections stay open.
#[derive(Debug)]
pub(crate) struct ClientListener {
    /// The port's address.
    pub address: SocketAddr,
    /// The local address that new connections report, or `None` if each reports the address to
    /// which it connected.
    pub local: Rc<Cell<Option<Endpoint>>>,
    task: JoinHandle<()>,
}

impl Drop for ClientListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens for clients. `absent` says that this host may receive the address only later.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn listen(
    address: SocketAddr,
    absent: bool,
    client_events: &Rc<ClientEvents>,
) -> io::Result<ClientListener> {
    let listener = open(address, absent)?;
    let address = listener.local_addr()?;
    let client_events = client_events.clone();
    let local = Rc::new(Cell::new(None));
    let of_new = local.clone();
    let task = spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Ok(conn) = ClientConn::new(stream, peer, of_new.get()) {
                        spawn_local(conn::run(conn, client_events.clone()));
                    }
                }
                Err(error) => {
                    warn!("cannot accept a connection on {address}: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(ClientListener { address, local, task })
}

/// A Unix socket that clients connect to. Dropping it closes the socket; its connections stay open.
#[derive(Debug)]
pub(crate) struct UnixClientListener {
    task: JoinHandle<()>,
}

impl Drop for UnixClientListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets clients connect by a Unix socket, which is the server's `local`.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn listen_unix(
    listener: std::os::unix::net::UnixListener,
    local: Endpoint,
    client_events: &Rc<ClientEvents>,
) -> io::Result<UnixClientListener> {
    let listener = UnixListener::from_std(listener)?;
    let client_events = client_events.clone();
    let task = spawn_local(async move {
        loop {
            let accepted = listener.accept().await;
            match accepted.and_then(|(stream, _)| ClientConn::of_unix(stream, local)) {
                Ok(conn) => drop(spawn_local(conn::run(conn, client_events.clone()))),
                Err(error) => {
                    warn!("cannot accept a connection by a Unix socket: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(UnixClientListener { task })
}

/// Binds a port, even if its last user has ended only a moment ago.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, false)
}

fn open(address: SocketAddr, absent: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if absent && address.is_ipv4() {
        set_ip_freebind(&socket, true)?;
    } else if absent {
        set_ipv6_freebind(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Converts an address to the log's form.
pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Endpoint { address: octets, port: address.port() }
}

#[cfg(test)]
mod tests;
