//! A replica's parts as each start makes them from its data directory, in the product and in the
//! simulation.

use crane_core::id::Slot;
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Config, Node};
use crane_core::time::{Duration, Instant};

use crate::base::Base;
use crate::driver::WINDOW;
use crate::log::Opened;
use crate::meta::Meta;
use crate::net::handshake::{Hello, MAGIC, PROTOCOL_VERSION};
use crate::options::{Durability, Priority, ReplicaArgs};

/// A primary that dies is noticed at once, by its closed link. These two intervals detect one that
/// hangs or is cut off. They are short enough for a fail-over within a second, and long enough to
/// keep idle groups idle and busy hosts from being taken for dead.
const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a starting replica waits for what all others recall of its storage, if a quorum has
/// answered: long enough for links to open on a busy host, and for one that is down not to matter.
const STORAGE_CHECK: Duration = Duration::from_millis(1000);

/// Returns the settings of agreement in this run, which the nonce distinguishes from earlier ones.
pub(crate) fn config(args: &ReplicaArgs, meta: &Meta, nonce: u64) -> Config {
    let mut config = Config::new(meta.node, meta.founders.first_members(), nonce);
    (config.heartbeat, config.election_timeout) = (HEARTBEAT, ELECTION_TIMEOUT);
    config.storage_check = match args.durability {
        Durability::Fsync => STORAGE_CHECK,
        // A loss of power may take what was acknowledged. If it hit most hosts at once, and all of
        // them rejoined, nobody would be left to agree to that.
        Durability::Memory => Duration::ZERO,
    };
    config.rank = match args.priority {
        Priority::High => 0,
        Priority::Normal => meta.node.number(),
        Priority::Low => meta.node.number() + NODES_MAX as u8,
    };
    config
}

/// Restores agreement from a log that was opened, and takes its entries.
pub(crate) fn node(config: Config, now: Instant, opened: &mut Opened) -> Box<Node<WINDOW>> {
    let slots = (opened.log.front().0 + 1..).map(Slot);
    let entries = slots.zip(std::mem::take(&mut opened.entries));
    Box::new(Node::restore(config, now, opened.stored, entries))
}

/// Returns the hello of a replica that starts.
pub(crate) fn hello(args: &ReplicaArgs, meta: &Meta, base: &Base) -> Hello {
    Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        node: meta.node.number(),
        address: meta.address.clone(),
        to: 0,
        generation: meta.generation,
        group: meta.group_number(),
        joined: false,
        roster: meta.roster.clone(),
        witness: meta.witness,
        priority: args.priority,
        program_since: meta.program_since(),
        base: base.clone(),
    }
}
