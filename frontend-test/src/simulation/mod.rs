//! Whole groups of the real core in one thread, from one seed.
//!
//! | file | thought |
//! |---|---|
//! | `random` | chance that can be repeated |
//! | `queue` | what is going to happen |
//! | `network`, `disk` | the world, and how it fails |
//! | `server`, `clients` | a server on the real scheduler, and who talks to it by the entry rule |
//! | `group` | nodes, network and disks under one clock |
//! | `runs` | entries that travel together, and are written together |
//! | `service`, `faults` | the group's service, and what is done to the group |
//! | `checks` | what must hold at every moment |
//! | `scenario` | what happens in a run, and what must come of it |

pub mod checks;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod group;
pub mod network;
pub mod queue;
pub mod random;
pub mod runs;
pub mod scenario;
pub mod server;
mod service;
