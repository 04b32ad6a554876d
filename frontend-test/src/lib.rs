//! Simulation and tests of whole groups.
