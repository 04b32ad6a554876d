//! The resources of a test: the right to run alone, a folder, addresses, a port.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

/// A test's share of the machine. When dropped, removes the folder unless the test failed or
/// `CRANE_KEEP` is set, and lets the next test start.
///
/// Tests run one after the other, also across processes: on two cores, two groups at once only
/// make each other's waits longer.
pub struct Machine {
    folder: PathBuf,
    network: [u8; 2],
    /// Its lock, which ends when the last share of a turn is dropped.
    alone: File,
}

/// Reports that a test is skipped.
///
/// # Panics
///
/// Panics if `CRANE_NO_SKIP` is set: on a machine that permits everything, as CI does, a skipped
/// test hides a hole.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CRANE_NO_SKIP").is_none(), "a test would be skipped: {why}");
    println!("skipped: {why}");
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Machine {
    /// Waits until no other test runs, then makes a new folder and picks addresses.
    ///
    /// # Panics
    ///
    /// Panics if the scratch folder cannot be written.
    #[must_use]
    pub fn take(name: &str) -> Self {
        let root =
            std::env::var_os("CRANE_SCRATCH").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let lock_path = root.join("crane-e2e.lock");
        let alone = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .unwrap_or_else(|error| panic!("{}: {error}", lock_path.display()));
        flock(&alone, FlockOperation::LockExclusive).expect("waiting for the machine");
        Self::new(&root, name, alone)
    }

    /// Returns a second folder and network in the same turn, for a test of several groups.
    ///
    /// # Panics
    ///
    /// Panics as [`Machine::take`] does.
    #[must_use]
    pub fn share(&self, name: &str) -> Self {
        let root = self.folder.parent().expect("the scratch folder");
        Self::new(root, name, self.alone.try_clone().expect("a second descriptor of the lock"))
    }

    fn new(root: &Path, name: &str, alone: File) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("crane-e2e-{}-{number}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self { folder, network: free_network(number), alone }
    }

    /// Returns the folder of this test, which is removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the address of replica `id` (1 to 7). Each group has a loopback network of its own,
    /// so that it never meets the listeners of an earlier group or of another user.
    ///
    /// # Panics
    ///
    /// Panics if `id` is not from 1 to 7.
    #[must_use]
    pub fn address(&self, id: u8) -> Ipv4Addr {
        assert!((1..=7).contains(&id), "replica {id}");
        Ipv4Addr::new(127, self.network[0], self.network[1], id)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("CRANE_KEEP").is_some() {
            eprintln!("kept: {}", self.folder.display());
        } else if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("not removed: {}: {error}", self.folder.display());
        }
    }
}

/// Returns a port on which no process of this machine listens at the moment.
///
/// # Panics
///
/// Panics if the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    // The kernel prefers ports that outgoing connections use too; look below that range, so that
    // a client's own port is never in the way of a server that starts later.
    let first = 20_000 + (process::id() % 10_000) as u16;
    (first..32_000)
        .chain(20_000..first)
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .expect("a free port from 20000 to 31999")
}

/// Returns the two middle bytes of a network 127.x.y.0/24 whose default peer port is free.
fn free_network(number: u32) -> [u8; 2] {
    let seed = process::id().wrapping_mul(31).wrapping_add(number);
    (0..1000)
        .map(|step| seed.wrapping_add(step * 251))
        .map(|value| [10 + (value / 250 % 200) as u8, 1 + (value % 250) as u8])
        .find(|[a, b]| TcpListener::bind((Ipv4Addr::new(127, *a, *b, 1), PEER_PORT)).is_ok())
        .expect("a free loopback network")
}

/// The port at which replicas listen for each other by default.
pub const PEER_PORT: u16 = 6790;
