//! Kernel sockets on which processes of a cell listen, and which reveal a server that crane does
//! not see (proc(5), `/proc/PID/net/tcp`).

use std::fs;
use std::io;
use std::path::Path;

use crate::driver::{SeenCell, Unannounced};

use super::bound::full_in_memory;

/// The state of a listening socket, as the table shows it.
const LISTENS: &str = "0A";

/// Looks into the cell of a process. A process without a cell shows nothing.
pub(super) fn see_cell(process: u32) -> SeenCell {
    if !is_isolated(process).unwrap_or(false) {
        return SeenCell::default();
    }
    let listeners = unannounced(process).unwrap_or_default();
    SeenCell { listeners, full: full_in_memory(process) }
}

/// Lists the listening TCP sockets of the kernel in the network namespace of a process, with their
/// owners. The process should have a namespace of its own.
///
/// # Errors
/// The system's: the process may be gone.
fn unannounced(process: u32) -> io::Result<Vec<Unannounced>> {
    let mut found: Vec<Unannounced> = Vec::new();
    // To write the tables, the kernel walks over the sockets of all namespaces, which takes
    // milliseconds. Its counters cost next to nothing, and are zero in nearly every cell.
    for (counters, label, table) in [("sockstat", "TCP:", "tcp"), ("sockstat6", "TCP6:", "tcp6")] {
        let counters = fs::read_to_string(format!("/proc/{process}/net/{counters}"));
        if counters.is_ok_and(|text| sockets_in_use(&text, label) == Some(0)) {
            continue;
        }
        let Ok(text) = fs::read_to_string(format!("/proc/{process}/net/{table}")) else { continue };
        for (port, inode) in text.lines().filter_map(listening) {
            if found.iter().all(|known| known.port != port) {
                found.push(Unannounced { port, owner: owner(process, inode) });
            }
        }
    }
    Ok(found)
}

/// Returns whether a process has a network namespace of its own.
///
/// # Errors
/// The system's: the process may be gone.
fn is_isolated(process: u32) -> io::Result<bool> {
    let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    Ok(space(&process.to_string())? != space("self")?)
}

/// Reads how many sockets of a kind are bound, listen or are connected in a namespace.
fn sockets_in_use(counters: &str, label: &str) -> Option<u64> {
    let line = counters.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().skip_while(|word| *word != "inuse").nth(1)?.parse().ok()
}

/// Reads a line of the table, and returns the port and the inode if its socket listens.
fn listening(line: &str) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (_, port) = local.rsplit_once(':')?;
    (*state == LISTENS).then_some(())?;
    Some((u16::from_str_radix(port, 16).ok()?, inode.parse().ok()?))
}

/// Names the process in the same network namespace that has the socket open.
fn owner(process: u32, inode: u64) -> Option<String> {
    let space = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|item| item.path());
    let mut holders = processes.filter(|path| {
        fs::read_link(path.join("ns/net")).is_ok_and(|other| other == space)
            && has_open(path, &socket)
    });
    let name = fs::read_to_string(holders.next()?.join("comm")).ok()?;
    Some(name.trim_end().to_string())
}

fn has_open(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    let mut links = descriptors.flatten().filter_map(|item| fs::read_link(item.path()).ok());
    links.any(|link| link.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_a_process_is_found_with_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = unannounced(std::process::id()).unwrap();
        let mine = found.iter().find(|found| found.port == port).expect("the listener is found");
        assert!(mine.owner.is_some());
        drop(listener);
        let found = unannounced(std::process::id()).unwrap();
        assert!(found.iter().all(|found| found.port != port));
    }

    #[test]
    fn the_counters_are_read_by_their_label() {
        let text =
            "sockets: used 7\nTCP: inuse 3 orphan 0 tw 0 alloc 8 mem 1\nUDP: inuse 0 mem 0\n";
        assert_eq!(sockets_in_use(text, "TCP:"), Some(3));
        assert_eq!(sockets_in_use(text, "UDP:"), Some(0));
        assert_eq!(sockets_in_use(text, "TCP6:"), None);
    }

    #[test]
    fn connections_are_no_listeners() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   \
                    0        0 4242 1 0000000000000000";
        assert_eq!(listening(line), Some((8080, 4242)));
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening("  sl  local_address rem_address   st"), None);
    }
}
