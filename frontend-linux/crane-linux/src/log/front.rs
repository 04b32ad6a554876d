//! Where a log starts that does not start at slot 1: the file `front` beside the segments.
//!
//! It says what the records before it come to, so that they can go. It is made durable first, as a whole
//! or not at all, and then older segments are deleted; what a crash leaves of them is not read again.
//!
//! ```text
//! front:  "CRANEFRN"  version u32  length u32  crc of all but this u32   body: Front
//! ```

use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{Anchor, Ballot, Standing, Stored};
use serde::{Deserialize, Serialize};

use super::record::LOG_VERSION;
use super::{LogError, disk};

const NAME: &str = "front";
const MAGIC: &[u8; 8] = b"CRANEFRN";
const HEADER_BYTES: usize = 20;

/// What stands in the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Front {
    /// The log before this place is not needed any more: a segment …
    pub segment: u32,
    /// … and where in it.
    pub offset: u32,
    /// Whether the entry that the anchor ends with stands at that place. (It does in a log that was cut,
    /// and does not in one that began with a state transfer.)
    pub entry_kept: bool,
    /// What the log up to its slot comes to.
    pub anchor: Anchor,
    /// As in [`Stored`], at some time from that place on.
    pub promised: Ballot,
    /// The same.
    pub accepted: Ballot,
    /// The same.
    pub standing: Standing,
    /// The same.
    pub committed: Slot,
    /// The genesis entry, and where it stood.
    pub genesis: Option<(Slot, Vec<u8>)>,
}

impl Front {
    /// What paxos starts from, before any record.
    pub fn stored(&self) -> Stored {
        Stored {
            promised: self.promised,
            accepted: self.accepted,
            standing: self.standing,
            committed: self.committed,
            anchor: Some(self.anchor),
        }
    }

    /// Reads the file; `None` if there is none: the log starts at slot 1.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn read(directory: &Path) -> Result<Option<Self>, LogError> {
        let path = directory.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::Io(path, error)),
        };
        let word = |at: usize| {
            bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
        };
        let whole = bytes.starts_with(MAGIC)
            && word(12).is_some_and(|length| bytes.len() == HEADER_BYTES + length as usize)
            && word(16) == Some(checksum(&bytes));
        if !whole {
            return Err(LogError::Damaged(path, 0));
        }
        if let Some(version) = word(8).filter(|version| *version != LOG_VERSION) {
            return Err(LogError::Version(path, version));
        }
        let front = postcard::from_bytes(&bytes[HEADER_BYTES..]);
        front.map(Some).map_err(|_| LogError::Damaged(path, HEADER_BYTES))
    }

    /// Writes the file; it is durable afterwards.
    ///
    /// # Errors
    /// What the system refused: then the old one is there still.
    pub fn write(&self, directory: &Path) -> Result<(), LogError> {
        let body = postcard::to_allocvec(self).expect("plain data");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&LOG_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&body);
        let crc = checksum(&bytes).to_le_bytes();
        bytes[16..HEADER_BYTES].copy_from_slice(&crc);
        disk::replace(directory, NAME, &bytes)
            .map_err(|error| LogError::Io(directory.join(NAME), error))
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..16]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}
