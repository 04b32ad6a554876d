//! The host: carries out what the driver wants done, by real links, files, sockets and a real
//! server, and brings back what comes of it.
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `disk` | the data directory: meta and base, and reading the log again, off this thread |
//! | `inspect` | what a thread of the server does, seen from outside |
//! | `listeners` | sockets of the kernel that processes of the cell listen by |
//! | `server` | the server's process: its cell, its rings, what it prints |
//! | `linux` | the driver's effects |
//! | `run` | the loop: waits for something to happen, hands it to the driver, makes passes |

mod disk;
mod inspect;
mod linux;
mod listeners;
mod run;
mod server;

use std::net::IpAddr;
use std::rc::Rc;

use crate::cell::Spec;
use crate::driver::DriverInput;
use crate::log::storage::{Storage, WriteProgress};
use crate::meta::DataDirectory;
use crate::net::link::Peers;
use crate::options::ReplicaArgs;

pub use linux::LinuxHost;
pub use run::run;

/// Where the outcome of something goes that takes time: to the loop.
type Outcomes = tokio::sync::mpsc::UnboundedSender<HostOutcome>;

/// The outcome of something that takes time.
enum HostOutcome {
    /// For the driver as it is.
    Input(DriverInput),
    /// The server's process was started.
    Started(u64, Box<server::ServerProcess>),
    /// The launcher of this run reports.
    Cell(u64, crate::cell::Report),
}

/// What the host starts from.
pub struct HostParts {
    /// Where it listens for clients.
    pub address: IpAddr,
    /// How the server is started; a witness has none.
    pub spec: Option<Spec>,
    /// What the server starts from.
    pub base: crate::base::Base,
    /// The data directory.
    pub data: DataDirectory,
    /// The command line.
    pub args: ReplicaArgs,
    /// Where the log is written.
    pub storage: Storage,
    /// How far that is, if it takes time.
    pub progress: Option<WriteProgress>,
    /// The links.
    pub peers: Rc<Peers>,
    /// The replica's clock, from which moments are read.
    pub clock: crate::clock::Clock,
}
