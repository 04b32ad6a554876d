//! The host: carries out the driver's effects by real links, files, sockets and a real server, and
//! returns their outcomes as inputs.
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `disk` | the data directory: stores meta and base, and reads the log again, on other threads |
//! | `inspect` | what a thread of the server does, as seen from outside |
//! | `listeners` | kernel sockets on which processes of the cell listen |
//! | `ports` | the sockets at which clients connect to this host |
//! | `unix` | the Unix sockets at which they do |
//! | `attach`, `left`, `checkpoint` | a held server's way back, and its way out; a checkpoint of it |
//! | `server` | the server's process: its cell, its rings and the lines that it prints |
//! | `taking` | the checkpoint that is being taken, on other threads |
//! | `remains` | what is left of a run that has ended |
//! | `bound`, `proof` | the memory of a second server; one that proves a checkpoint |
//! | `offer`, `arrival` | a checkpoint that others can receive; one that comes from another |
//! | `transfer` | checkpoints on their way between hosts |
//! | `upgrade` | another program in the place of the present one |
//! | `bypass`, `caught` | the calls of the server that bypass the hooks; the most frequent ones |
//! | `linux` | the driver's effects |
//! | `run` | the loop: waits for events, gives them to the driver, and makes passes |

mod arrival;
mod attach;
mod bound;
mod bypass;
mod caught;
mod checkpoint;
mod disk;
mod inspect;
mod left;
mod linux;
mod listeners;
mod offer;
mod ports;
mod proof;
mod remains;
mod run;
mod server;
mod taking;
mod transfer;
mod unix;
mod upgrade;

use std::rc::Rc;

use crate::addresses::ClientAddresses;
use crate::cell::Spec;
use crate::driver::DriverInput;
use crate::log::storage::{Storage, WriteProgress};
use crate::meta::DataDirectory;
use crate::net::peers::Peers;
use crate::options::ReplicaArgs;

pub(crate) use linux::LinuxHost;
pub(crate) use run::run;

/// The queue by which outcomes of slow effects reach the loop.
type Outcomes = tokio::sync::mpsc::UnboundedSender<HostOutcome>;

/// The outcome of an effect that takes time.
enum HostOutcome {
    /// An input for the driver, unchanged.
    Input(DriverInput),
    /// The server's process was started.
    Started(u64, Box<server::ServerProcess>),
    /// Another program is in the place of the present one, and starts so.
    Upgraded(Box<Spec>, Box<crate::program::Upgraded>),
    /// Files of this run were copied for a checkpoint, or not, for this reason.
    Prepared(u64, Result<Box<checkpoint::PreparedFiles>, String>),
    /// A report of the launcher of this run.
    Cell(u64, crate::cell::Report),
}

/// The parts from which a host starts.
pub(crate) struct HostParts {
    /// The addresses at which the replica listens for clients.
    pub addresses: ClientAddresses,
    /// How to look at another program of the server.
    pub context: crate::program::ProgramContext,
    /// How to start the server; `None` for a witness.
    pub spec: Option<Spec>,
    /// The base from which the server starts.
    pub base: crate::base::Base,
    /// The data directory.
    pub data: DataDirectory,
    /// The command line.
    pub args: ReplicaArgs,
    /// The CRIU that writes images, or why there is none.
    pub criu: Result<crate::checkpoint::criu::Criu, String>,
    /// The storage of the log.
    pub storage: Storage,
    /// The progress of the storage.
    pub progress: WriteProgress,
    /// The links.
    pub peers: Rc<Peers>,
    /// The replica's clock, from which moments are read.
    pub clock: crate::clock::Clock,
}
