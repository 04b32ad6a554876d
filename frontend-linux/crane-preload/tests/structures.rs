//! The unit tests of the library's tables, built into a program without the library's hooks, which
//! would be in front of the test program itself.

#![allow(dead_code, reason = "the hooks that use the rest of the tables are not here")]

#[path = "../src/capacities.rs"]
mod capacities;
#[path = "../src/descriptors.rs"]
mod descriptors;
#[path = "../src/execution.rs"]
mod execution;
#[path = "../src/net/table.rs"]
mod table;
#[path = "../src/watch.rs"]
mod watch;
