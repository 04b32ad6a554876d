//! Whole groups of daemons in one thread, from one seed: the product's driver, log, codecs and
//! handshake, on hosts, disks, links, servers and clients in memory, in simulated time.
//!
//! | file | content |
//! |---|---|
//! | `random`, `queue` | randomness that can be repeated; future events |
//! | `server`, `history` | a server on the real scheduler; what it did last |
//! | `requests`, `clients`, `links` | what it is asked; its clients; the network |
//! | `images` | the checkpoints of a data directory |
//! | `files` | a data directory, written by the product's writer of segments |
//! | `host` | the driver's effects, collected |
//! | `replica` | a replica: its data, and its daemon while that runs |
//! | `group` | replicas, network and clients under one clock |
//! | `checkpoints` | checkpoints: taken, proved, sent |
//! | `effects`, `wiring`, `service` | the outcomes of effects; links; clients |
//! | `faults` | what fails |
//! | `ending` | the state to which each run must lead |
//! | `sick` | runs in which one thing stands still, which the rules of progress answer |
//! | `copies` | runs in which old copies of data directories are put back |
//! | `members` | runs in which members are replaced, and the server restarted |
//! | `scenario` | the runs |

mod checkpoints;
mod clients;
mod copies;
mod effects;
mod ending;
mod faults;
mod files;
mod group;
mod history;
mod host;
mod images;
mod links;
mod members;
mod queue;
mod random;
mod replica;
mod requests;
mod scenario;
mod server;
mod service;
mod sick;
#[cfg(test)]
mod tests;
mod wiring;

pub use ending::DaemonsOutcome;
pub use faults::FaultCounts;
pub use scenario::{DaemonsFailure, run};
