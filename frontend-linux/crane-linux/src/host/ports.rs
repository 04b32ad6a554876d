//! The sockets at which clients connect to this host, by the addresses at which the server listens.
//!
//! Clients reach a server that listens at all addresses at this replica's client addresses, which
//! are those of `--listen`. They reach a server at a loopback address from this host alone, and a
//! server at a service address there and at the client address that represents it on this host. If
//! a replica's own address is a loopback address (`--local`), it takes the place of 127.0.0.1 and
//! ::1, so that several replicas on one machine do not conflict.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use crane_core::wire::Endpoint;
use tracing::{debug, warn};

use crate::addresses::ClientAddresses;
use crate::driver::ServerListener;
use crate::names::is_local;
use crate::proxy::{self, ClientEvents, ClientListener};

/// The open sockets.
pub(super) struct Listeners {
    addresses: ClientAddresses,
    open: BTreeMap<SocketAddr, OpenSocket>,
}

/// An open socket, with the server's listeners for which it is open.
struct OpenSocket {
    socket: ClientListener,
    leading: Vec<(ServerListener, Option<Endpoint>)>,
}

impl OpenSocket {
    /// Sets the local address of new connections to that of the nearest listener of the server: a
    /// listener at exactly this address comes before a listener at all addresses.
    fn choose_local(&self) {
        let local = self.leading.iter().find_map(|(_, local)| *local);
        self.socket.local.set(local);
    }
}

impl Listeners {
    /// Creates the state of a replica with these addresses and no open socket.
    pub(super) fn new(addresses: ClientAddresses) -> Self {
        Self { addresses, open: BTreeMap::new() }
    }

    /// Lets clients connect to a listener of the server. Returns a text for the operator if no
    /// client reaches the listener.
    ///
    /// # Errors
    /// Returns why the socket cannot be opened, and the remedy.
    pub(super) fn open(
        &mut self,
        at: &ServerListener,
        client_events: &Rc<ClientEvents>,
    ) -> Result<Option<String>, String> {
        let sockets = sockets_for(&self.addresses, at);
        if sockets.is_empty() {
            let kind = if ip_of(at).is_ipv4() { "an IPv4 address" } else { "an IPv6 address" };
            return Ok(Some(format!(
                "the server listens at {}, where no client reaches it: none of this replica's \
                 client addresses is {kind}; give one by --listen",
                SocketAddr::new(ip_of(at), at.at.port)
            )));
        }
        for (address, local) in sockets {
            let Some(socket) = self.socket(address, client_events)? else { continue };
            socket.leading.push((*at, local));
            socket.choose_local();
        }
        let ip = ip_of(at);
        let is_unreachable = self.addresses.service.contains(&ip)
            && self.addresses.partner(ip).is_none()
            && !is_local(ip);
        Ok(is_unreachable.then(|| {
            format!(
                "the server listens at {}, which this host has not, and no client address of this \
                 replica is left for it: name one more address of this host in --listen",
                SocketAddr::new(ip, at.at.port)
            )
        }))
    }

    /// Returns the socket at an address, or `None` if clients reach the server without it.
    fn socket(
        &mut self,
        address: SocketAddr,
        client_events: &Rc<ClientEvents>,
    ) -> Result<Option<&mut OpenSocket>, String> {
        if !self.open.contains_key(&address) {
            let absent = self.addresses.service.contains(&address.ip());
            let socket = match proxy::listen(address, absent, client_events) {
                Ok(socket) => socket,
                // The host has no IPv6, or another replica on this machine has the address.
                Err(error) if is_dispensable(&self.addresses, address, error.kind()) => {
                    warn!("{address}, where the server listens, cannot be opened: {error}");
                    return Ok(None);
                }
                Err(error) => {
                    return Err(format!(
                        "{address}, where the server listens, cannot be opened: {error}; stop \
                         what uses it, or give the server another port"
                    ));
                }
            };
            debug!("clients may connect to {}", socket.address);
            self.open.insert(address, OpenSocket { socket, leading: Vec::new() });
        }
        Ok(self.open.get_mut(&address))
    }

    /// Lets no more clients connect to a listener. Open connections stay.
    pub(super) fn close(&mut self, at: &ServerListener) {
        for socket in self.open.values_mut() {
            socket.leading.retain(|(leading, _)| leading != at);
            socket.choose_local();
        }
        self.open.retain(|_, socket| !socket.leading.is_empty());
    }
}

/// Returns the address that the server bound.
fn ip_of(at: &ServerListener) -> IpAddr {
    match at.at.ipv4() {
        Some(octets) => IpAddr::from(octets),
        None => IpAddr::from(at.at.address),
    }
}

/// Returns the addresses of this host for a listener of the server. Each comes with the local
/// address that its connections report, unless they report the address itself.
// specs: E10
fn sockets_for(
    addresses: &ClientAddresses,
    at: &ServerListener,
) -> Vec<(SocketAddr, Option<Endpoint>)> {
    let (own, ip) = (addresses.own, ip_of(at));
    let socket = |ip, local| (SocketAddr::new(ip, at.at.port), local);
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if ip.is_unspecified() {
        let takes = |client: &&IpAddr| client.is_ipv4() == ip.is_ipv4() || takes_both(at);
        return addresses.clients.iter().filter(takes).map(|ip| socket(*ip, None)).collect();
    }
    if addresses.service.contains(&ip) {
        let mut reached: Vec<IpAddr> = addresses.partner(ip).into_iter().chain([ip]).collect();
        reached.dedup();
        return reached.into_iter().map(|ip| socket(ip, Some(at.at))).collect();
    }
    let is_own = own.is_loopback() && usual.contains(&ip);
    vec![socket(if is_own { own } else { ip }, Some(at.at))]
}

/// Returns whether a listener at all IPv6 addresses takes IPv4 clients as well.
fn takes_both(at: &ServerListener) -> bool {
    ip_of(at).is_ipv6() && !at.v6only
}

/// Returns whether clients reach the server without this address.
fn is_dispensable(addresses: &ClientAddresses, address: SocketAddr, error: ErrorKind) -> bool {
    let own = addresses.own;
    let shared = own.is_loopback() && own != address.ip() && error == ErrorKind::AddrInUse;
    let is_client = addresses.clients.contains(&address.ip());
    let is_absent = addresses.service.contains(&address.ip()) && error != ErrorKind::AddrInUse;
    shared
        || (is_absent && !is_client)
        || (address.is_ipv6() && error == ErrorKind::AddrNotAvailable && !is_client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(own: &str, clients: &[&str]) -> ClientAddresses {
        let clients = clients.iter().map(|client| client.parse().unwrap()).collect();
        let service = vec!["10.79.0.9".parse().unwrap(), "10.79.0.3".parse().unwrap()];
        ClientAddresses { own: own.parse().unwrap(), clients, service }
    }

    fn listener(ip: &str) -> ServerListener {
        let at = proxy::endpoint(SocketAddr::new(ip.parse().unwrap(), 80));
        ServerListener { at, v6only: false }
    }

    #[test]
    fn a_loopback_address_stays_on_its_host_and_all_addresses_are_the_replicas() {
        let leads = |own: &str, ip: &str| {
            let sockets = sockets_for(&addresses(own, &[own]), &listener(ip));
            let [(address, local)] = sockets[..] else { panic!("one socket: {sockets:?}") };
            assert!(local.is_none_or(|local| local == listener(ip).at));
            (address.ip().to_string(), local.is_some())
        };
        let own = "10.79.0.2";
        assert_eq!(leads(own, "0.0.0.0"), (own.into(), false));
        assert_eq!(leads(own, "::"), (own.into(), false));
        assert_eq!(leads(own, "127.0.0.1"), ("127.0.0.1".into(), true));
        assert_eq!(leads(own, "127.0.0.9"), ("127.0.0.9".into(), true));
        assert_eq!(leads(own, "::1"), ("::1".into(), true));
        assert_eq!(leads("127.0.0.2", "127.0.0.1"), ("127.0.0.2".into(), true));
        assert_eq!(leads("127.0.0.2", "::1"), ("127.0.0.2".into(), true));
        assert_eq!(leads("127.0.0.2", "127.0.0.9"), ("127.0.0.9".into(), true));
        assert_eq!(leads("127.0.0.2", "0.0.0.0"), ("127.0.0.2".into(), false));
    }

    #[test]
    fn a_server_at_all_addresses_is_reached_at_those_of_its_family() {
        let here = addresses("10.79.0.2", &["10.79.0.2", "192.0.2.7", "2001:db8::2"]);
        let leads = |at: &ServerListener| {
            let sockets = sockets_for(&here, at);
            assert!(sockets.iter().all(|(_, local)| local.is_none()));
            sockets.iter().map(|(address, _)| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(leads(&listener("0.0.0.0")), ["10.79.0.2", "192.0.2.7"]);
        assert_eq!(leads(&listener("::")), ["10.79.0.2", "192.0.2.7", "2001:db8::2"]);
        let only = ServerListener { v6only: true, ..listener("::") };
        assert_eq!(leads(&only), ["2001:db8::2"]);
    }

    #[test]
    fn a_service_address_is_reached_at_its_own_and_at_the_clients() {
        let leads = |own: &str, ip: &str| {
            let sockets = sockets_for(&addresses(own, &[own]), &listener(ip));
            assert!(sockets.iter().all(|(_, local)| *local == Some(listener(ip).at)));
            sockets.iter().map(|(address, _)| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(leads("10.79.0.2", "10.79.0.9"), ["10.79.0.2", "10.79.0.9"]);
        assert_eq!(leads("10.79.0.3", "10.79.0.3"), ["10.79.0.3"]);
        assert_eq!(leads("10.79.0.3", "10.79.0.9"), ["10.79.0.9"]);
        assert_eq!(leads("10.79.0.2", "10.79.0.3"), ["10.79.0.3"]);
    }

    #[test]
    fn a_server_that_no_client_reaches_is_told_of() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let events = Rc::new(ClientEvents::new());
        let mut listeners = Listeners::new(addresses("127.0.0.1", &["127.0.0.1"]));
        let only = ServerListener { v6only: true, ..listener("::") };
        let outcome = runtime.block_on(async { listeners.open(&only, &events) });
        let text = outcome.unwrap().expect("a text for the operator");
        assert!(text.contains("[::]:80") && text.contains("--listen"), "{text}");
    }
}
