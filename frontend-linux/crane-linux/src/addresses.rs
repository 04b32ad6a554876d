//! Addresses that clients use: `--listen`, and `--service-address`.

use std::net::IpAddr;

use crane_core::limits::SERVICE_ADDRESSES_MAX;

use crate::names::is_local;

/// The addresses at which this replica's clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientAddresses {
    /// The replica's own address, by which the other replicas reach it.
    pub own: IpAddr,
    /// Those at which a server is reached that listens at all addresses.
    pub clients: Vec<IpAddr>,
    /// Those of the group, which not every host has.
    pub service: Vec<IpAddr>,
}

impl ClientAddresses {
    /// Reads `--listen` and `--service-address`. Without the one, the replica's own address is the
    /// only one of its clients.
    ///
    /// # Errors
    /// Returns the address that is not one of this host, or is named twice, and the remedy.
    pub(crate) fn of(own: IpAddr, listen: &[String], service: &[String]) -> Result<Self, String> {
        let mut clients = addresses("--listen", listen)?;
        if let Some(foreign) = clients.iter().find(|address| !is_local(**address)) {
            return Err(format!(
                "--listen {foreign} is not an address of this host; name addresses that \
                 \"ip address\" shows here"
            ));
        }
        if clients.is_empty() {
            clients.push(own);
        }
        Ok(Self { own, clients, service: service_addresses(service)? })
    }

    /// Returns the client address at which a service address is reached on this host: itself if it
    /// is one. Of the others, the first has the first client address of its family that is no
    /// service address, the second has the second, and so on.
    pub(crate) fn partner(&self, service: IpAddr) -> Option<IpAddr> {
        if self.clients.contains(&service) {
            return Some(service);
        }
        let of_family = |address: &&IpAddr| address.is_ipv4() == service.is_ipv4();
        let mut absent = self.service.iter().filter(|other| !self.clients.contains(other));
        let place = absent.by_ref().filter(of_family).position(|other| *other == service)?;
        let free = self.clients.iter().filter(|client| !self.service.contains(client));
        free.filter(of_family).nth(place).copied()
    }
}

/// Reads `--service-address`.
fn service_addresses(given: &[String]) -> Result<Vec<IpAddr>, String> {
    const OPTION: &str = "--service-address";
    let found = addresses(OPTION, given)?;
    if let Some(address) = found.iter().find(|address| address.is_loopback()) {
        return Err(format!(
            "{OPTION} {address} is a loopback address, which a server may always bind; leave it out"
        ));
    }
    if found.len() > SERVICE_ADDRESSES_MAX {
        return Err(format!(
            "{OPTION} names {} addresses; name at most {SERVICE_ADDRESSES_MAX}",
            found.len()
        ));
    }
    Ok(found)
}

/// Reads a list of addresses, each of one place in the network and named once.
fn addresses(option: &str, given: &[String]) -> Result<Vec<IpAddr>, String> {
    let mut found: Vec<IpAddr> = Vec::new();
    for text in given {
        let address: IpAddr = text.trim().parse().map_err(|_| {
            format!(
                "{option} {text} is no address; write IPv4 or IPv6 addresses, such as \
                 10.0.0.1,2001:db8::1"
            )
        })?;
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!(
                "{option} {text} is not the address of one place; name each address itself"
            ));
        }
        if found.contains(&address) {
            return Err(format!("{address} is in {option} twice; name each address once"));
        }
        found.push(address);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(given: &[&str]) -> Result<Vec<String>, String> {
        let given: Vec<String> = given.iter().map(|text| text.to_string()).collect();
        let addresses = ClientAddresses::of("10.0.0.9".parse().unwrap(), &given, &[])?;
        Ok(addresses.clients.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn the_own_address_is_the_only_one_unless_others_are_given() {
        assert_eq!(listen(&[]).unwrap(), ["10.0.0.9"]);
        let both = ["127.0.0.1", "::ffff:127.0.0.2"];
        assert_eq!(listen(&both).unwrap(), ["127.0.0.1", "127.0.0.2"]);
    }

    #[test]
    fn a_wrong_address_is_refused_by_name_with_the_remedy() {
        for (given, part) in [
            (&["10.0.0"][..], "--listen 10.0.0 is no address; write"),
            (&[""], "is no address"),
            (&["127.0.0.1:80"], "--listen 127.0.0.1:80 is no address"),
            (&["0.0.0.0"], "name each address itself"),
            (&["ff02::1"], "name each address itself"),
            (&["127.0.0.1", "::ffff:127.0.0.1"], "127.0.0.1 is in --listen twice"),
            (&["192.0.2.77"], "--listen 192.0.2.77 is not an address of this host"),
        ] {
            let why = listen(given).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        for (given, part) in [
            ("127.0.0.1", "--service-address 127.0.0.1 is a loopback address"),
            ("::", "--service-address :: is not the address of one place"),
            ("x", "--service-address x is no address"),
        ] {
            let why = service_addresses(&[given.into()]).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let many: Vec<String> = (0..17).map(|number| format!("10.0.0.{number}")).collect();
        assert!(service_addresses(&many).unwrap_err().contains("at most 16"));
    }

    #[test]
    fn a_service_address_is_itself_or_has_a_partner_of_its_family() {
        let partner = |clients: &[&str], service: &str| {
            let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let addresses = ClientAddresses {
                own: "10.0.0.9".parse().unwrap(),
                clients: read(clients),
                service: read(&["10.0.0.1", "fd00::1", "10.0.0.2"]),
            };
            addresses.partner(service.parse().unwrap()).map(|address| address.to_string())
        };
        let text = |text: &str| Some(text.to_string());
        assert_eq!(partner(&["10.0.0.1"], "10.0.0.1"), text("10.0.0.1"));
        assert_eq!(partner(&["10.0.0.1"], "10.0.0.2"), None);
        assert_eq!(partner(&["10.0.0.1", "10.0.0.7"], "10.0.0.2"), text("10.0.0.7"));
        assert_eq!(partner(&["10.0.0.7"], "10.0.0.1"), text("10.0.0.7"));
        assert_eq!(partner(&["10.0.0.7"], "10.0.0.2"), None);
        assert_eq!(partner(&["10.0.0.7"], "fd00::1"), None);
        assert_eq!(partner(&["10.0.0.7", "fd00::7", "10.0.0.8"], "fd00::1"), text("fd00::7"));
        assert_eq!(partner(&["10.0.0.7", "fd00::7", "10.0.0.8"], "10.0.0.2"), text("10.0.0.8"));
    }
}
