//! Simulation and tests of whole groups.

pub mod e2e;
pub mod simulation;
pub mod specification;
