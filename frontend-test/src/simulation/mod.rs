//! Whole groups of the real core in one thread, from one seed.
//!
//! | file | thought |
//! |---|---|
//! | `random` | chance that can be repeated |
//! | `network`, `disk` | the world, and how it fails |
//! | `group` | nodes, network and disks under one clock |
//! | `checks` | what must hold at every moment |
//! | `scenario` | what happens in a run, and what must come of it |

pub mod checks;
pub mod disk;
pub mod group;
pub mod network;
pub mod random;
pub mod scenario;
