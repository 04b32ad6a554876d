//! The entry of slot 1: the group's configuration.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits::{ADDRESS_BYTES_MAX, NODES_MAX, PROCESSORS_MAX, SERVICE_ADDRESSES_MAX};

use super::WireError;

/// Which threads of the server may run program code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Only the holder of the turn runs program code. This is right for every program.
    Serial,
    /// All threads run between their calls. This is right for programs without data races.
    Parallel,
}

/// A member's address, `host:port`.
pub type Address = String<ADDRESS_BYTES_MAX>;

/// Addresses in the form of [`Endpoint::address`](super::Endpoint::address).
pub type ServiceAddresses = Vec<[u8; 16], SERVICE_ADDRESSES_MAX>;

/// One of the members with which the group was created.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founder {
    /// The member's address.
    pub address: Address,
    /// Whether the member only keeps the log, and runs no server.
    pub witness: bool,
}

/// The figures of a host that the server sees, whatever host it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostFigures {
    /// The number of processors.
    pub processors: u32,
    /// The number of bytes of memory.
    pub memory: u64,
}

/// The configuration from which all incarnations of the server start.
///
/// ```
/// use crane_core::wire::{Founder, Genesis, HostFigures, Schedule};
///
/// let address = "10.0.0.1:7000".try_into()?;
/// let genesis = Genesis {
///     group: 1,
///     members: [Founder { address, witness: false }].into_iter().collect(),
///     base: [2; 32],
///     seed: [3; 32],
///     timestamp: 1_000,
///     quantum: 100,
///     nclock: 1_000,
///     schedule: Schedule::Serial,
///     service: Default::default(),
///     figures: HostFigures { processors: 8, memory: 16 << 30 },
/// };
/// let mut space = [0; 256];
/// let length = genesis.encode(&mut space)?;
/// assert_eq!(Genesis::decode(&space[..length])?, genesis);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// The group's identity, drawn at random at its creation.
    pub group: u128,
    /// The first members; the number of a node is its position here, from 1. The log adds later
    /// members.
    pub members: Vec<Founder, NODES_MAX>,
    /// The digest of program, libraries, files, arguments and environment.
    pub base: [u8; 32],
    /// The seed of all random bytes that the server gets.
    pub seed: [u8; 32],
    /// The agreed time at the start, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The number of calls that a thread may make before it passes the turn.
    pub quantum: u32,
    /// The number of clock steps in a bubble.
    pub nclock: u32,
    /// Which threads may run program code at the same time.
    pub schedule: Schedule,
    /// Addresses that the server may bind although not every host has them.
    pub service: ServiceAddresses,
    /// The figures of a host that the server sees.
    pub figures: HostFigures,
}

impl Genesis {
    /// Decodes a genesis entry.
    ///
    /// # Errors
    /// Returns [`WireError`] for any bytes that are no genesis entry; never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let genesis: Self = postcard::from_bytes(bytes)?;
        let bounded = !genesis.members.is_empty() && genesis.quantum > 0 && genesis.nclock > 0;
        let HostFigures { processors, memory } = genesis.figures;
        if bounded && (1..=PROCESSORS_MAX).contains(&processors) && memory > 0 {
            Ok(genesis)
        } else {
            Err(WireError::OutOfBounds)
        }
    }

    /// Writes the entry to the front of `space` and returns how many bytes it took.
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when `space` does not suffice.
    pub fn encode(&self, space: &mut [u8]) -> Result<usize, WireError> {
        Ok(postcard::to_slice(self, space)?.len())
    }
}
