//! Where clients of this host come in: the sockets of the proxy, by where the server listens.
//!
//! A server at all addresses is reached at this replica's address; one at a loopback address, from
//! this host alone. A replica whose own address is a loopback one (`--local`) has that as its
//! host's 127.0.0.1 and ::1, so that several replicas on one machine do not meet.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use crane_core::wire::Endpoint;
use tracing::{debug, warn};

use crate::proxy::{self, ClientEvents, ClientListener};

/// The open sockets, each with the places of the server's that lead to it.
pub(super) struct Listeners {
    own: IpAddr,
    open: BTreeMap<SocketAddr, (ClientListener, Vec<Endpoint>)>,
}

impl Listeners {
    /// None, of a replica at this address.
    pub(super) fn new(own: IpAddr) -> Self {
        Self { own, open: BTreeMap::new() }
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Why that is not possible, and the remedy.
    pub(super) fn open(
        &mut self,
        at: Endpoint,
        client_events: &Rc<ClientEvents>,
    ) -> Result<(), String> {
        let (address, local) = address_for(self.own, at);
        if let Some((_, places)) = self.open.get_mut(&address) {
            places.push(at);
            return Ok(());
        }
        let listener = match proxy::listen(address, local, client_events) {
            Ok(listener) => listener,
            // A host without IPv6, or another replica of this machine.
            Err(error) if is_dispensable(self.own, address, error.kind()) => {
                warn!("{address}, where the server listens, cannot be opened: {error}");
                return Ok(());
            }
            Err(error) => {
                return Err(format!(
                    "{address}, where the server listens, cannot be opened: {error}; stop what \
                     uses it, or give the server another port"
                ));
            }
        };
        debug!("clients may connect to {}", listener.address);
        self.open.insert(address, (listener, vec![at]));
        Ok(())
    }

    /// Lets no more clients connect. Connections stay.
    pub(super) fn close(&mut self, at: Endpoint) {
        let (address, _) = address_for(self.own, at);
        let Some((_, places)) = self.open.get_mut(&address) else { return };
        places.retain(|place| *place != at);
        if places.is_empty() {
            self.open.remove(&address);
        }
    }
}

/// Returns the address of this host for a place where the server listens, and what its clients'
/// connections are told to be at, if not that.
fn address_for(own: IpAddr, at: Endpoint) -> (SocketAddr, Option<Endpoint>) {
    let ip = match at.ipv4() {
        Some(octets) => IpAddr::from(octets),
        None => IpAddr::from(at.address),
    };
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let (ip, local) = match ip {
        ip if ip.is_unspecified() => (own, None),
        ip if own.is_loopback() && usual.contains(&ip) => (own, Some(at)),
        ip => (ip, Some(at)),
    };
    (SocketAddr::new(ip, at.port), local)
}

/// Returns whether the server is reached without this address.
fn is_dispensable(own: IpAddr, address: SocketAddr, error: ErrorKind) -> bool {
    let shared = own.is_loopback() && own != address.ip() && error == ErrorKind::AddrInUse;
    shared || (address.is_ipv6() && error == ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_stays_on_its_host_and_all_addresses_are_the_replicas() {
        let at = |ip: &str| proxy::endpoint(SocketAddr::new(ip.parse().unwrap(), 80));
        let leads = |own: &str, ip: &str| {
            let (address, local) = address_for(own.parse().unwrap(), at(ip));
            assert!(local.is_none_or(|local| local == at(ip)));
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
}
