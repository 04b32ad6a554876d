//! The members' names on the command line, and which of them this host is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use crane_core::id::NodeId;
use crane_core::limits::{ADDRESS_BYTES_MAX, NODES_MAX};
use crane_core::paxos::NodeSet;

/// Returns a member's address in its one form, `host:port`.
pub(crate) fn member_name(given: &str, port: u16) -> Result<String, String> {
    let given = given.trim();
    let wrong = || format!("peer \"{given}\" is no address; write host, host:port or [ipv6]:port");
    let name = if let Some(rest) = given.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
        if !is_ipv6(host) {
            return Err(wrong());
        }
        match after.strip_prefix(':') {
            Some(number) => format!("[{host}]:{}", number.parse::<u16>().map_err(|_| wrong())?),
            None if after.is_empty() => format!("[{host}]:{port}"),
            None => return Err(wrong()),
        }
    } else {
        match given.split_once(':') {
            None if !given.is_empty() => format!("{given}:{port}"),
            Some((host, number)) if !host.is_empty() && !number.contains(':') => {
                format!("{host}:{}", number.parse::<u16>().map_err(|_| wrong())?)
            }
            Some(_) if is_ipv6(given) => format!("[{given}]:{port}"),
            _ => return Err(wrong()),
        }
    };
    if name.len() > ADDRESS_BYTES_MAX {
        return Err(format!(
            "peer \"{given}\" is longer than {ADDRESS_BYTES_MAX} bytes; give its address"
        ));
    }
    Ok(name)
}

/// Returns whether the text is an IPv6 address, which may have a scope (RFC 4007, `fe80::1%2`).
fn is_ipv6(host: &str) -> bool {
    let (address, scope) = host.split_once('%').unwrap_or((host, "0"));
    let named = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    address.parse::<Ipv6Addr>().is_ok() && !scope.is_empty() && scope.chars().all(named)
}

/// Returns the members' names in their one form: one to seven, each once.
///
/// # Errors
/// Returns what is wrong with the list.
pub fn member_names(given: &[String], port: u16) -> Result<Vec<String>, String> {
    let names: Vec<String> =
        given.iter().map(|name| member_name(name, port)).collect::<Result<_, _>>()?;
    if names.is_empty() || names.len() > NODES_MAX {
        return Err(format!("a group has 1 to {NODES_MAX} members, not {}", names.len()));
    }
    if let Some(double) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("{} is in --peers twice; name each member once", double.1));
    }
    Ok(names)
}

/// Returns the addresses of a member.
///
/// # Errors
/// Returns the name that cannot be resolved, and why.
pub(crate) fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> = name
        .to_socket_addrs()
        .map_err(|error| format!("peer {name} cannot be resolved: {error}; check --peers"))?
        .collect();
    if found.is_empty() {
        Err(format!("peer {name} has no address; check --peers"))
    } else {
        Ok(found)
    }
}

/// Returns the peers that are given by their numbers or addresses.
///
/// # Errors
/// Returns the name that is not one of the peers.
pub(crate) fn among(names: &[String], given: &[String], port: u16) -> Result<NodeSet, String> {
    let place = |text: &String| {
        let number = text.parse().ok().filter(|number| usize::from(*number) <= names.len());
        let named = || {
            let name = member_name(text, port).ok()?;
            u8::try_from(names.iter().position(|other| *other == name)? + 1).ok()
        };
        number
            .or_else(named)
            .and_then(NodeId::new)
            .ok_or_else(|| format!("--witness {text} is not one of the peers {}", names.join(",")))
    };
    given.iter().map(place).collect()
}

/// Finds the member that this host is. Returns its number in the list, from 1, and its address.
///
/// # Errors
/// Returns why this host cannot be identified.
pub(crate) fn identify(
    names: &[String],
    me: Option<&str>,
    port: u16,
) -> Result<(u8, SocketAddr), String> {
    if let Some(me) = me {
        let name = member_name(me, port)?;
        let place = names
            .iter()
            .position(|other| *other == name)
            .ok_or_else(|| format!("--self {me} is not one of the peers {}", names.join(",")))?;
        return Ok((place as u8 + 1, resolve(&name)?[0]));
    }
    let mut mine = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if let Some(address) = resolve(name)?.into_iter().find(|address| is_local(address.ip())) {
            mine.push((place as u8 + 1, address));
        }
    }
    match mine[..] {
        [one] => Ok(one),
        [] => Err(format!(
            "none of the peers {} is an address of this host; say which one this is with --self",
            names.join(",")
        )),
        _ => Err(
            "several of the peers are addresses of this host; say which one this is with --self"
                .to_string(),
        ),
    }
}

/// Returns whether this host has the address.
pub(crate) fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_one_form() {
        let names = member_names(&["a".into(), "b:7".into(), "[::1]".into(), "::2".into()], 6790);
        assert_eq!(names.unwrap(), ["a:6790", "b:7", "[::1]:6790", "[::2]:6790"]);
        for wrong in
            ["", ":", "a:b", "[::1", "a:99999", "a,b::", "b:7-[::1]", "[a]:1", "[]:1", "::2%:1]:9"]
        {
            assert!(member_name(wrong, 1).is_err(), "{wrong}");
        }
        assert_eq!(member_name("fe80::1%eth0", 7).unwrap(), "[fe80::1%eth0]:7");
        assert!(member_names(&["a".into(), "a:6790".into()], 6790).unwrap_err().contains("twice"));
        assert!(member_names(&vec!["a".to_string(); 8], 1).is_err());
    }

    #[test]
    fn witnesses_are_some_of_the_peers() {
        let names = member_names(&["a".into(), "b".into(), "c:7".into()], 6790).unwrap();
        let set = among(&names, &["2".into(), "c:7".into()], 6790).unwrap();
        assert!(set.iter().map(NodeId::number).eq([2, 3]));
        for wrong in ["4", "0", "x", "c"] {
            assert!(among(&names, &[wrong.into()], 6790).unwrap_err().contains("of the peers"));
        }
    }

    #[test]
    fn this_host_is_found_among_the_members() {
        let names = ["192.0.2.1:1".to_string(), "127.0.0.3:1".to_string()];
        let (number, address) = identify(&names, None, 1).unwrap();
        assert_eq!((number, address), (2, "127.0.0.3:1".parse().unwrap()));
        assert!(identify(&names, Some("127.0.0.9"), 1).unwrap_err().contains("of the peers"));
        let both = ["127.0.0.1:1".to_string(), "127.0.0.2:1".to_string()];
        assert!(identify(&both, None, 1).unwrap_err().contains("--self"));
        assert_eq!(identify(&both, Some("127.0.0.2"), 1).unwrap().0, 2);
    }
}
