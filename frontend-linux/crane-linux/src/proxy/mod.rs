//! The clients' side: real sockets at the replica's own address.
//!
//! A task for each listener and for each connection. They tell the driver what clients do, and the
//! driver writes replies straight to the connection; the task only carries what did not fit.

mod conn;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crane_core::wire::Endpoint;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use tracing::warn;

pub use conn::ClientConn;

/// What clients have done and the driver has not looked at; when it is full, nothing more is read
/// from any client.
pub const ACTS: usize = 128;
const BACKLOG: u32 = 1024;

/// What a client has done.
pub struct ClientEvent {
    /// By this connection.
    pub conn: Rc<ClientConn>,
    /// What.
    pub what: ClientAction,
}

/// Kinds of acts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientAction {
    /// It has connected.
    Connected,
    /// It has sent bytes, at most [`crane_core::limits::SEND_BYTES_MAX`].
    Sent(Vec<u8>),
    /// It will send no more.
    Shut,
    /// It is gone.
    Gone,
    /// It has taken replies, so many bytes in all.
    Drained(u64),
    /// Nothing will come from this connection any more; its task has ended.
    Over,
}

/// Where acts go.
pub type ClientEvents = Channel<NoopRawMutex, ClientEvent, ACTS>;

/// A port that clients connect to. Dropped: it is closed, connections stay.
#[derive(Debug)]
pub struct ClientListener {
    /// Where it is.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for ClientListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens for clients.
///
/// # Errors
/// What the system refused.
pub fn listen(address: SocketAddr, client_events: &Rc<ClientEvents>) -> io::Result<ClientListener> {
    let listener = bind(address)?;
    let address = listener.local_addr()?;
    let client_events = client_events.clone();
    let task = spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Ok(conn) = ClientConn::new(stream, peer) {
                        spawn_local(conn::run(conn, client_events.clone()));
                    }
                }
                Err(error) => {
                    warn!("{address} takes no connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(ClientListener { address, task })
}

/// Binds a port, also right after its last user has ended.
///
/// # Errors
/// What the system refused.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// An address as the log says it.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Endpoint { address: octets, port: address.port() }
}

#[cfg(test)]
mod tests;
