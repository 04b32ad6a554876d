//! Simulation and tests of whole groups.

pub mod cases;
pub mod e2e;
pub mod seeds;
pub mod simulation;
pub mod specification;
