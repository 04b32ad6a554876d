//! End-to-end tests: real server programs, real clients, killed replicas.
//!
//! The rooms, in the order in which a test walks through them:
//!
//! * [`machine`]: only one group at a time on this computer; scratch folders, addresses, ports;
//! * [`program`]: the server programs, their arguments and their files;
//! * [`programs`]: small programs that stick, or make odd calls: lists, compiled forms;
//! * [`odd_programs`]: odd programs as services, beside their native transcripts;
//! * [`native`] and [`group`]: a program started as it is, or as a replicated service;
//! * [`status`]: what `crane-linux status --json` says, parsed;
//! * [`http`], [`resp`], [`racy`], [`calls`], [`odd`], [`prefixed`]: clients that know every byte
//!   they should get;
//! * [`load`]: `ab` and `redis-benchmark`;
//! * [`counting`]: clients that know which of their writes were acknowledged;
//! * [`hosts`]: hosts of their own, in network namespaces; [`frozen`]: a replica that hangs;
//! * [`probe`]: clients that note how long each request takes;
//! * [`linear`]: histories under faults, and whether they are linearizable;
//! * [`alarm`]: stuck programs and launchers as services;
//! * [`divergence`]: a server that goes wrong under full load, by a fault in its [`memory`];
//! * [`kills`], [`idle`], [`bench`], [`cost`], [`failover`], [`steady`], [`sizes`], [`runtimes`]:
//!   long runs, shared by the tests and by `ci/measure`;
//! * [`wait`]: every wait has a bound and a name.
//!
//! A test owns what it starts and ends nothing else. It panics with the reason when something is
//! not as it should be; the folder with all logs is then kept and named.

pub mod alarm;
pub mod bench;
pub mod binary;
pub mod calls;
pub mod cost;
pub mod counting;
pub mod divergence;
pub mod failover;
pub mod frozen;
pub mod group;
pub mod hosts;
pub mod http;
pub mod idle;
pub mod kills;
#[cfg(feature = "e2e")]
pub mod linear;
pub mod load;
pub mod machine;
pub mod memory;
pub mod native;
pub mod odd;
pub mod odd_programs;
pub mod prefixed;
pub mod probe;
pub mod program;
pub mod programs;
pub mod racy;
pub mod resp;
pub mod runtimes;
pub mod sizes;
pub mod status;
pub mod steady;
pub mod wait;
