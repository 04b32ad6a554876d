//! Real servers as replicated services. `ci/test` runs these tests one after the other.
//!
//! Every test has a group of its own and leaves nothing behind. A test that fails prints the folder
//! in which it keeps all logs. The long runs (`odd`, `kills`, `idle`) are shorter here than the
//! bars require, and print that; `ci/measure` runs them in full.

mod addresses;
mod alarm;
mod base;
mod behind_cuts;
mod calls;
mod checkpoint;
mod clocks;
mod connections;
mod contained;
mod control;
mod crash;
mod disks;
mod divergence;
mod ends;
mod escapes;
mod events;
mod figures;
mod floor;
mod full_disk;
mod hosts;
mod incarnations;
mod kills;
mod lifecycle;
mod mariadb;
mod members;
mod net;
mod odd;
mod odd_programs;
mod prefixed;
mod processes;
mod proofs;
mod python;
mod redis;
mod refusals;
mod restores;
mod rules;
mod services;
mod shared_memory;
mod sick;
mod signals;
mod sizes;
mod storage;
mod strangers;
mod timers;
mod transfers;
mod unprivileged;
mod upgrades;
mod user;
mod wall;
mod web;
mod without_criu;
