//! Addresses that clients use: `--listen`.

use std::net::IpAddr;

use crate::names::is_local;

/// The addresses at which this replica's clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClientAddresses {
    /// The replica's own address, by which the other replicas reach it.
    pub own: IpAddr,
    /// Those at which a server is reached that listens at all addresses.
    pub clients: Vec<IpAddr>,
}

impl ClientAddresses {
    /// Reads `--listen`. Without it, the replica's own address is the only one.
    ///
    /// # Errors
    /// Returns the address that is not one of this host, or is named twice, and the remedy.
    pub(crate) fn of(own: IpAddr, listen: &[String]) -> Result<Self, String> {
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
        Ok(Self { own, clients })
    }
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
        let addresses = ClientAddresses::of("10.0.0.9".parse().unwrap(), &given)?;
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
    }
}
