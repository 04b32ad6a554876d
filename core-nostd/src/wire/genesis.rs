//! Entry of slot 1: the group's configuration.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits::{ADDRESS_BYTES_MAX, NODES_MAX};

use super::WireError;

/// Which threads of the server may run program code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Only the holder of the turn: right for every program.
    Serial,
    /// All, between their calls: right for programs without data races.
    Parallel,
}

/// A member's address, `host:port`.
pub type Address = String<ADDRESS_BYTES_MAX>;

/// One of the first members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founder {
    /// The address at which it is reached.
    pub address: Address,
    /// Whether it keeps the log only, and runs no server.
    pub witness: bool,
}

/// Everything that all incarnations of the server start from.
///
/// ```
/// use crane_core::wire::{Founder, Genesis, Schedule};
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
/// };
/// let mut space = [0; 256];
/// let length = genesis.encode(&mut space)?;
/// assert_eq!(Genesis::decode(&space[..length])?, genesis);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// The group's identity, drawn at random when it was created.
    pub group: u128,
    /// The first members; a node's number is its place, from 1. Later members are in the log.
    pub members: Vec<Founder, NODES_MAX>,
    /// Digest of program, libraries, files, arguments and environment.
    pub base: [u8; 32],
    /// Seed of all random bytes that the server gets.
    pub seed: [u8; 32],
    /// Agreed time at the start, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Calls that a thread may make before it passes the turn.
    pub quantum: u32,
    /// Clock steps in a bubble.
    pub nclock: u32,
    /// Whether threads run one at a time.
    pub schedule: Schedule,
}

impl Genesis {
    /// Reads a genesis entry.
    ///
    /// # Errors
    /// [`WireError`] for any bytes that are no genesis entry; never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let genesis: Self = postcard::from_bytes(bytes)?;
        let bounded = !genesis.members.is_empty() && genesis.quantum > 0 && genesis.nclock > 0;
        if bounded { Ok(genesis) } else { Err(WireError::OutOfBounds) }
    }

    /// Writes the entry to the front of `space` and returns how many bytes it took.
    ///
    /// # Errors
    /// [`WireError::Full`] when `space` does not suffice.
    pub fn encode(&self, space: &mut [u8]) -> Result<usize, WireError> {
        Ok(postcard::to_slice(self, space)?.len())
    }
}
