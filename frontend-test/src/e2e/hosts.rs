//! Several hosts on one machine: network namespaces, joined by a switch.
//!
//! ```text
//!   host 1          host 2          host 3           each: its own loopback, port e0 at 10.79.0.N
//!     e0              e0              e0
//!     │               │               │
//!   ──p1──────────────p2──────────────p3──  hub      the switch, with an address of its own
//! ```
//!
//! No packet leaves the machine. Taking a host's port from the switch cuts the host off, and a
//! wrong neighbour entry makes another host unreachable: frames are lost without any error. This
//! needs root and `ip`.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::machine::{Machine, skip};

/// Up to seven hosts and their switch. All are removed when this is dropped, and the next run
/// removes those that a killed run has left.
pub struct Hosts {
    prefix: String,
    hub: File,
    hosts: Vec<File>,
}

/// A visit of the calling thread at another host, with every thread and process that it starts. The
/// visit ends when dropped.
#[must_use]
pub struct Visit {
    home: File,
    /// Keeps the visit on its thread, for which alone it holds.
    _thread: PhantomData<*const ()>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Hosts {
    /// Checks whether hosts can be made here.
    ///
    /// # Errors
    ///
    /// Returns the error of `ip` or the kernel.
    pub fn possible() -> Result<(), String> {
        let name = format!("{NAMES}{}-try", process::id());
        let made = run(&["netns", "add", &name])
            .and_then(|()| run(&["-n", &name, "link", "add", "hub", "type", "bridge"]));
        let _ = run(&["netns", "del", &name]);
        made
    }

    /// Returns whether hosts can be made here, and prints the reason if they cannot.
    #[must_use]
    pub fn are_possible() -> bool {
        Self::possible()
            .inspect_err(|why| skip(&format!("cannot make network namespaces: {why}")))
            .is_ok()
    }

    /// Takes the machine for a test of this name, makes `count` hosts, and takes the calling thread
    /// to their switch. Returns `None`, and prints the reason, if hosts cannot be made here.
    ///
    /// # Panics
    ///
    /// Panics as [`Hosts::make`] does.
    #[must_use]
    pub fn take(name: &str, count: u8) -> Option<(Machine, Arc<Self>, Visit)> {
        if !Self::are_possible() {
            return None;
        }
        let machine = Machine::take(name);
        let hosts = Arc::new(Self::make(count));
        let hub = hosts.visit_hub();
        Some((machine, hosts, hub))
    }

    /// Makes `count` hosts, numbered from 1.
    ///
    /// # Panics
    ///
    /// Panics if that is not permitted here.
    #[must_use]
    pub fn make(count: u8) -> Self {
        remove_leftovers();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{NAMES}{}-{number}", process::id());
        let hub = name_of(&prefix, 0);
        must(&["netns", "add", &hub]);
        // From here on, a panic removes the hosts made so far.
        let mut made = Self { hub: open(&hub), prefix, hosts: Vec::new() };
        must(&["-n", &hub, "link", "set", "lo", "up"]);
        must(&["-n", &hub, "link", "add", "hub", "type", "bridge"]);
        must(&["-n", &hub, "addr", "add", "10.79.0.100/24", "dev", "hub"]);
        must(&["-n", &hub, "link", "set", "hub", "up"]);
        for id in 1..=count {
            made.add(id);
        }
        made
    }

    fn add(&mut self, id: u8) {
        let (hub, host) = (name_of(&self.prefix, 0), name_of(&self.prefix, id));
        let (port, address) = (format!("p{id}"), format!("{}/24", self.address(id)));
        must(&["netns", "add", &host]);
        self.hosts.push(open(&host));
        let pair = ["type", "veth", "peer", "name", "e0", "address", &link_address(id)];
        must(&[&["-n", &hub, "link", "add", &port][..], &pair, &["netns", &host]].concat());
        must(&["-n", &hub, "link", "set", &port, "master", "hub", "up"]);
        must(&["-n", &host, "link", "set", "lo", "up"]);
        must(&["-n", &host, "addr", "add", &address, "dev", "e0"]);
        must(&["-n", &host, "link", "set", "e0", "up"]);
    }

    /// Returns the hosts' numbers.
    pub fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        1..=u8::try_from(self.hosts.len()).expect("at most seven hosts")
    }

    /// Returns a host's address.
    #[must_use]
    pub fn address(&self, id: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, 0, id)
    }

    /// Gives a host, or with number 0 the switch, one more address, such as `fd79::1/64`.
    pub fn give(&self, id: u8, address: &str) {
        let device = if id == 0 { "hub" } else { "e0" };
        let name = name_of(&self.prefix, id);
        let mut words = vec!["-n", &name, "addr", "add", address, "dev", device];
        if address.contains(':') {
            words.push("nodad");
        }
        must(&words);
    }

    /// Takes the calling thread to the switch, from where all hosts are reached.
    pub fn visit_hub(&self) -> Visit {
        visit(&self.hub)
    }

    /// Calls a function at a host, on a new thread. Threads and processes that it starts stay
    /// there.
    ///
    /// # Panics
    ///
    /// Panics if `what` does.
    pub fn at<T: Send>(&self, id: u8, what: impl FnOnce() -> T + Send) -> T {
        let host = &self.hosts[usize::from(id) - 1];
        thread::scope(|threads| {
            let there = threads.spawn(|| {
                enter(host);
                what()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Cuts a host off by taking its port from the switch. The port stays up, so no host notices.
    /// (A pulled cable would be noticed, and usable again only about a second after its return.)
    pub fn cut(&self, id: u8) {
        self.port(id, &["nomaster"]);
    }

    /// Ends [`Hosts::cut`].
    pub fn join(&self, id: u8) {
        self.port(id, &["master", "hub"]);
    }

    fn port(&self, id: u8, change: &[&str]) {
        let (hub, port) = (name_of(&self.prefix, 0), format!("p{id}"));
        must(&[&["-n", &hub, "link", "set", &port][..], change].concat());
    }

    /// Drops all packets from `from` to `to` from now on. The other direction works.
    pub fn mute(&self, from: u8, to: u8) {
        self.neighbour(from, to, &link_address(0xee), "permanent");
    }

    /// Ends [`Hosts::mute`].
    pub fn unmute(&self, from: u8, to: u8) {
        self.neighbour(from, to, &link_address(to), "reachable");
    }

    fn neighbour(&self, from: u8, to: u8, link: &str, state: &str) {
        let (host, to) = (name_of(&self.prefix, from), self.address(to).to_string());
        must(&["-n", &host, "neigh", "replace", &to, "lladdr", link, "dev", "e0", "nud", state]);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let hosts = u8::try_from(self.hosts.len()).unwrap_or(u8::MAX);
        for id in (0..=hosts).rev() {
            if let Err(error) = run(&["netns", "del", &name_of(&self.prefix, id)]) {
                eprintln!("not removed: {error}");
            }
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        enter(&self.home);
    }
}

/// The beginning of the names of all namespaces, which the pid of their run follows.
const NAMES: &str = "crane-";
const FOLDER: &str = "/run/netns";

fn name_of(prefix: &str, id: u8) -> String {
    if id == 0 { format!("{prefix}-hub") } else { format!("{prefix}-h{id}") }
}

fn link_address(id: u8) -> String {
    format!("02:00:00:00:79:{id:02x}")
}

fn open(name: &str) -> File {
    let path = format!("{FOLDER}/{name}");
    File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn visit(there: &File) -> Visit {
    let home = File::open("/proc/thread-self/ns/net").expect("this thread's network");
    enter(there);
    Visit { home, _thread: PhantomData }
}

fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("permission to change networks");
}

/// Removes the namespaces of processes that are gone.
fn remove_leftovers() {
    let Ok(items) = fs::read_dir(FOLDER) else { return };
    for name in items.flatten().filter_map(|item| item.file_name().into_string().ok()) {
        let owner = name.strip_prefix(NAMES).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| is_number(owner) && !fs::exists(proc(owner)).unwrap_or(true)) {
            let _ = run(&["netns", "del", &name]);
        }
    }
}

fn proc(process: &str) -> String {
    format!("/proc/{process}")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn must(words: &[&str]) {
    run(words).unwrap_or_else(|error| panic!("{error}"));
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", words.join(" "), error.trim()))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    const BOUND: Duration = Duration::from_millis(300);

    fn reaches(hosts: &Hosts, from: u8, to: u8) -> io::Result<()> {
        hosts.at(from, || TcpStream::connect_timeout(&(hosts.address(to), 80).into(), BOUND))?;
        Ok(())
    }

    #[test]
    fn a_host_that_is_cut_off_is_not_reached_until_it_is_back() {
        if !Hosts::are_possible() {
            return;
        }
        let hosts = Hosts::make(2);
        let _listeners: Vec<_> = hosts
            .ids()
            .map(|id| hosts.at(id, || TcpListener::bind((hosts.address(id), 80)).unwrap()))
            .collect();
        reaches(&hosts, 1, 2).unwrap();
        hosts.cut(2);
        assert!(reaches(&hosts, 1, 2).is_err());
        hosts.join(2);
        reaches(&hosts, 1, 2).unwrap();
        hosts.mute(2, 1);
        // Both directions need answers, so neither connects. Only the kernel's counters of arrivals
        // would show that a single direction is cut.
        assert!(reaches(&hosts, 2, 1).is_err());
        hosts.unmute(2, 1);
        reaches(&hosts, 2, 1).unwrap();
    }
}
