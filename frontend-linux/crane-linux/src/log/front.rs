//! The beginning of a log that does not start at slot 1: the file `front` beside the segments.
//!
//! The file holds the snapshot of the records before it, so that they can be deleted. It is made
//! durable first, as a whole or not at all, and then older segments are deleted; segments that a
//! crash leaves are not read again.
//!
//! ```text
//! front:  "CRANEFRN"  version u32  length u32  crc of all but this u32   body: Front
//! ```

use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{Ballot, DurableState, SnapshotMeta, VotingStatus};
use serde::{Deserialize, Serialize};

use crate::checked_file::{self, CheckError, HEADER_BYTES};

use super::record::{LOG_VERSION, SEGMENT_HEADER_BYTES};
use super::{LogError, disk};

const NAME: &str = "front";
const MAGIC: &[u8; 8] = b"CRANEFRN";

/// The contents of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Front {
    /// The segment of the first record that is still needed.
    pub segment: u32,
    /// The offset of that record in the segment.
    pub offset: u32,
    /// Whether that record is the last entry of the snapshot. (It is in a log that was cut, and is
    /// not in a log that began with a state transfer.)
    pub entry_kept: bool,
    /// The state of the log up to its slot.
    pub snapshot: SnapshotMeta,
    /// The promised ballot, as in [`DurableState`], at some time from that record on.
    pub promised: Ballot,
    /// The accepted ballot, likewise.
    pub accepted: Ballot,
    /// The voting status, likewise.
    pub voting: VotingStatus,
    /// The commit index, likewise.
    pub committed: Slot,
    /// The genesis entry and its slot.
    pub genesis: Option<(Slot, Vec<u8>)>,
}

impl Front {
    /// Returns the durable state before any record.
    pub fn stored(&self) -> DurableState {
        DurableState {
            promised: self.promised,
            accepted: self.accepted,
            voting: self.voting,
            committed: self.committed,
            snapshot: Some(self.snapshot),
        }
    }

    /// Reads the file. Returns `None` if there is none, because the log starts at slot 1.
    ///
    /// # Errors
    /// Returns [`LogError`].
    pub fn read(directory: &Path) -> Result<Option<Self>, LogError> {
        let path = directory.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::Io(path, error)),
        };
        Self::decode(&path, &bytes).map(Some)
    }

    /// Decodes the bytes of the file at this path.
    ///
    /// # Errors
    /// Returns [`LogError`], whatever the bytes are; never a panic.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, LogError> {
        let damaged = |offset| LogError::Damaged(path.to_path_buf(), offset);
        match checked_file::decode::<Self>(MAGIC, LOG_VERSION, bytes) {
            Ok(front) if front.is_sound() => Ok(front),
            Ok(_) | Err(CheckError::Body) => Err(damaged(HEADER_BYTES)),
            Err(CheckError::Version(version)) => {
                Err(LogError::Version(path.to_path_buf(), version))
            }
            Err(CheckError::Foreign | CheckError::Damaged) => Err(damaged(0)),
        }
    }

    /// Returns whether a log can start like this.
    fn is_sound(&self) -> bool {
        let SnapshotMeta { slot, ballot, members, .. } = self.snapshot;
        slot > Slot::NONE
            && slot.0 < u64::MAX / 2
            && members.is_sound()
            && ballot <= self.accepted
            && self.segment > 0
            && self.offset as usize >= SEGMENT_HEADER_BYTES
            && self.genesis.as_ref().is_none_or(|(genesis, _)| *genesis <= slot)
    }

    /// Writes the file. It is durable afterwards.
    ///
    /// # Errors
    /// Returns the system's error; the old file is unchanged in that case.
    pub fn write(&self, directory: &Path) -> Result<(), LogError> {
        let bytes = checked_file::encode(MAGIC, LOG_VERSION, self);
        disk::replace(directory, NAME, &bytes)
            .map_err(|error| LogError::Io(directory.join(NAME), error))
    }
}

#[cfg(test)]
mod tests {
    use crane_core::id::NodeId;
    use crane_core::paxos::Members;

    use super::*;

    fn front() -> Front {
        let ballot = Ballot::new(3, NodeId::new(1));
        let genesis = SnapshotMeta::genesis(Members::first(3));
        Front {
            segment: 2,
            offset: 99,
            entry_kept: true,
            snapshot: SnapshotMeta { slot: Slot(40), ballot, ..genesis },
            promised: ballot,
            accepted: ballot,
            voting: VotingStatus::Ready,
            committed: Slot(41),
            genesis: Some((Slot(1), b"genesis".to_vec())),
        }
    }

    #[test]
    fn a_front_is_read_as_it_was_written_and_not_otherwise() {
        let scratch = super::super::tests::Scratch::new("front");
        assert_eq!(Front::read(&scratch.0).unwrap(), None);
        front().write(&scratch.0).unwrap();
        assert_eq!(Front::read(&scratch.0).unwrap(), Some(front()));
        let path = scratch.0.join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            assert!(Front::decode(&path, &bytes[..at]).unwrap_err().is_damage());
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(Front::decode(&path, &changed).unwrap_err().is_damage(), "{at}");
        }
        let mut newer = bytes.clone();
        newer[8] += 1;
        checked_file::seal(&mut newer);
        assert!(matches!(Front::decode(&path, &newer), Err(LogError::Version(..))));
        let unsound = Front { offset: 3, ..front() };
        unsound.write(&scratch.0).unwrap();
        assert!(Front::read(&scratch.0).unwrap_err().is_damage());
    }
}
