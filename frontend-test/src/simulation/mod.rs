//! Whole groups of the real core in one thread, from one seed.
//!
//! | file | content |
//! |---|---|
//! | `random` | randomness that can be repeated |
//! | `queue` | future events |
//! | `network`, `disk` | the world, and how it fails |
//! | `server`, `clients` | a server on the real scheduler, and its clients by the entry rule |
//! | `processes`, `children` | the processes of such a server, and what its children do |
//! | `group` | nodes, network and disks under one clock |
//! | `runs` | entries that travel together, and are written together |
//! | `stamps`, `service`, `faults` | timestamps, the group's service, and the faults that happen |
//! | `checks` | the invariants that must hold at every moment |
//! | `scenario` | the events of a run, and the state to which they must lead |

pub mod checks;
mod children;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod group;
pub mod network;
pub mod processes;
pub mod queue;
pub mod random;
pub mod runs;
pub mod scenario;
pub mod server;
mod service;
mod stamps;
