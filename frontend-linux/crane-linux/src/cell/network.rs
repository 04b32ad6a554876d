//! The network that the server sees: a loopback device, and no other.
//!
//! The sockets of the server's clients are made by the preload library, and their bytes travel
//! through the region. So the server needs no network of the kernel's. A call that the library does
//! not see, such as a raw `bind` or `connect`, stays in the cell: no host is routed to from there.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The namespaces that the launcher has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Network {
    /// All of them.
    OwnWithAll,
    /// That of the network alone.
    Own,
    /// The host's: this kernel gives no other to this user.
    Host,
}

/// Moves the calling process, which is not privileged, into a user namespace with all the others,
/// if they are given, or with a network namespace at least. It keeps its user and its group.
pub(super) fn leave_host_unprivileged(all: Option<libc::c_int>) -> Network {
    // SAFETY: these calls touch no memory.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let all = all.map(|all| (all, Network::OwnWithAll));
    let left = all.into_iter().chain([(libc::CLONE_NEWNET, Network::Own)]).find(|(spaces, _)| {
        // SAFETY: unshare touches no memory.
        unsafe { libc::unshare(libc::CLONE_NEWUSER | spaces) == 0 }
    });
    let Some((_, left)) = left else { return Network::Host };
    // A process whose user could not be mapped sees itself as "nobody", which is harmless here:
    // its rights to files are still those of its user on the host.
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        let _ = std::fs::write(format!("/proc/self/{file}"), text);
    }
    left
}

/// Switches the loopback device of the calling process's network namespace on.
///
/// # Errors
/// Returns what the system refused.
pub(crate) fn raise_loopback() -> Result<(), String> {
    let failed = || format!("loopback device: {}", io::Error::last_os_error());
    // SAFETY: socket touches no memory.
    let made = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if made < 0 {
        return Err(failed());
    }
    // SAFETY: just opened, and owned by nothing else.
    let socket = unsafe { OwnedFd::from_raw_fd(made) };
    // SAFETY: all fields are integers or arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is live, and has a name that ends with a zero byte.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(failed()),
    }
}

/// Gives the loopback device of the calling process's network namespace these addresses as well,
/// each for itself alone.
///
/// # Errors
/// Returns what the system refused.
pub(super) fn add_addresses(addresses: &[IpAddr]) -> Result<(), String> {
    for address in addresses {
        add_address(*address).map_err(|error| {
            format!("--service-address {address} cannot be given to the server: {error}")
        })?;
    }
    Ok(())
}

/// Asks the kernel by rtnetlink(7), and reads its acknowledgement.
fn add_address(address: IpAddr) -> io::Result<()> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    // NETLINK_ROUTE is protocol 0.
    let kernel = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    send(&kernel, &new_address(address), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty())?;
    let error = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns the request for a new address of the loopback device: an `nlmsghdr`, an `ifaddrmsg` and
/// two attributes.
fn new_address(address: IpAddr) -> Vec<u8> {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut body = vec![family as u8, 8 * octets.len() as u8, libc::IFA_F_NODAD as u8, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    for attribute in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        body.extend((4 + octets.len() as u16).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&octets);
    }
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The number of the loopback device in every network namespace.
const LOOPBACK: u32 = 1;
