//! End-to-end tests: real server programs, real clients, killed replicas.
//!
//! The modules, in the order in which a test uses them:
//!
//! * [`machine`]: the right to run alone on this machine; scratch folders, addresses, ports;
//! * [`program`]: the server programs, their arguments and their files; [`trees`]: those of several
//!   processes;
//! * [`programs`]: small programs that stick or make odd calls, with their compiled forms;
//! * [`odd_programs`]: odd programs as services, beside their native transcripts;
//! * [`native`] and [`group`]: a program that runs natively, or as a replicated service;
//! * [`nobody`]: a replica that runs without rights;
//! * [`keys`]: the keys of its hosts;
//! * [`status`]: the parsed output of `crane-linux status --json`;
//! * [`http`], [`resp`], [`racy`], [`calls`], [`odd`], [`prefixed`]: clients that know every byte
//!   that they must get;
//! * [`load`]: `ab`, `redis-benchmark` and `mariadb`;
//! * [`counting`]: clients that know which of their writes were acknowledged;
//! * [`hosts`]: hosts in network namespaces; [`frozen`]: a replica that hangs; [`small_disk`],
//!   [`sick_disk`]: a disk that fills, hangs or is slow;
//! * [`probe`]: clients that record the time of each request; [`pause`]: the longest one;
//! * [`resources`]: the memory, the descriptors and the processor time of processes;
//! * [`linear`]: histories under faults, and the check that they are linearizable;
//! * [`strangers`]: attackers at the port of the replicas and the control socket;
//! * [`alarm`]: stuck programs and launchers as services;
//! * [`divergence`]: a server that goes wrong under full load, by a fault in its [`memory`];
//! * [`kills`], [`idle`], [`mod@bench`], [`cost`], [`failover`], [`steady`], [`sizes`],
//!   [`runtimes`], [`healthy`], [`replay`], [`starts`], [`sick`], [`siege`], [`old_copy`],
//!   [`clocks`], [`flood`], [`traps`], [`languages`], [`probes`], [`host_events`],
//!   [`kin`]: long runs, shared by the tests and by `ci/measure`;
//! * [`wait`]: waits, each with a bound and a name.
//!
//! A test ends only processes that it started. It panics with the reason if a check fails, and then
//! keeps the folder with all logs and prints its path.

pub mod alarm;
pub mod bench;
pub mod binary;
pub mod calls;
pub mod checkpoint_faults;
pub mod checkpoints;
pub mod clocks;
pub mod cost;
pub mod counting;
pub mod dialogues;
pub mod divergence;
pub mod endless;
pub mod failover;
pub mod flood;
pub mod frozen;
pub mod group;
pub mod healthy;
pub mod host_events;
pub mod hosts;
pub mod http;
pub mod idle;
pub mod keys;
pub mod kills;
pub mod kin;
pub mod languages;
#[cfg(feature = "e2e")]
pub mod linear;
pub mod load;
pub mod machine;
pub mod memory;
pub mod native;
pub mod nobody;
pub mod odd;
pub mod odd_programs;
pub mod old_copy;
pub mod pause;
pub mod prefixed;
pub mod probe;
pub mod probes;
pub mod program;
pub mod programs;
pub mod prompt;
pub mod racy;
pub mod replay;
pub mod resources;
pub mod resp;
pub mod runtimes;
pub mod services;
pub mod sick;
pub mod sick_disk;
#[cfg(feature = "e2e")]
pub mod siege;
pub mod sizes;
pub mod small_disk;
pub mod starts;
pub mod status;
pub mod steady;
#[cfg(feature = "e2e")]
pub mod strangers;
pub mod traps;
pub mod trees;
pub mod wait;
pub mod wiped;
