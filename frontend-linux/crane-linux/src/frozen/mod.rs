//! Frozen calls: the latest history of a server, kept when servers differ.
//!
//! When marks differ at a slot, each replica freezes the history of its server (see
//! [`crane_shm::history`]), whether its server is right or wrong, and keeps the history in its data
//! directory:
//!
//! ```text
//! frozen/slot-N:  "CRANECAL"  version u32  length u32  crc of all but this u32   body: FrozenCalls
//! ```
//!
//! Two such files show where the servers parted; see [`mod@compare`]. A replica keeps the last
//! [`KEPT_MAX`] files.

mod compare;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_shm::history::{BLOCKS, CALLS, MARKS, block_end};
use crane_shm::{BlockHash, CallRecord, call_name};
use serde::{Deserialize, Serialize};

use crate::checked_file::{self, CheckError};
use crate::log::disk;
use crate::symbols::Maps;

pub use compare::{CallDifference, Parting, compare};
pub(crate) use compare::{calls_of, compare_calls};

/// The version of the file's format; it rises with each change.
const FROZEN_VERSION: u32 = 1;
/// The name of the folder in a data directory.
const FOLDER: &str = "frozen";
/// The beginning of each file's name, which the slot follows.
const PREFIX: &str = "slot-";
/// The number of files that a data directory keeps: those of the highest slots.
const KEPT_MAX: usize = 4;
/// The length of the longest file, whose parts are bounded.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// The length of the longest group name: 32 hexadecimal digits.
const GROUP_BYTES_MAX: usize = 32;
const MAGIC: &[u8; 8] = b"CRANECAL";

/// The history of a server at the moment when the replica learnt that servers differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrozenCalls {
    /// The group.
    pub group: Option<String>,
    /// The replica.
    pub node: NodeId,
    /// The slot at which servers differ.
    pub slot: Slot,
    /// The history of its server.
    pub history: ServerHistory,
}

/// The latest calls of a server, and their hashes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServerHistory {
    /// The number of the first block.
    pub first_block: u64,
    /// Hashes at the ends of successive blocks.
    pub blocks: Vec<FrozenBlock>,
    /// The clock of the first call.
    pub first_call: u64,
    /// Successive calls.
    pub calls: Vec<FrozenCall>,
    /// The hashes at the admission of slots, by rising slot.
    pub marks: Vec<Mark>,
    /// The executable mappings of its process.
    pub maps: Maps,
}

/// The hashes at the end of a block, as in [`BlockHash`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrozenBlock {
    /// The hash of all calls up to the block's last call.
    pub schedule: u64,
    /// The hash of all bytes written by the calls before that call.
    pub output: u64,
}

/// A call, as in [`crane_shm::CallRecord`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrozenCall {
    /// Thread, kind and object, as the schedule hash takes them in.
    pub word: u64,
    /// The return address of the program's call, or 0 if it is not known.
    pub address: u64,
    /// The hash of all bytes written by the calls before.
    pub output: u64,
}

impl From<BlockHash> for FrozenBlock {
    fn from(BlockHash { schedule, output }: BlockHash) -> Self {
        Self { schedule, output }
    }
}

impl From<CallRecord> for FrozenCall {
    fn from(CallRecord { word, address, output, .. }: CallRecord) -> Self {
        Self { word, address, output }
    }
}

impl ServerHistory {
    /// Returns the hashes of a block.
    pub fn block(&self, block: u64) -> Option<FrozenBlock> {
        let place = usize::try_from(block.checked_sub(self.first_block)?).ok()?;
        self.blocks.get(place).copied()
    }

    /// Returns the call at a clock.
    pub fn call(&self, clock: u64) -> Option<FrozenCall> {
        let place = usize::try_from(clock.checked_sub(self.first_call)?).ok()?;
        self.calls.get(place).copied()
    }

    /// Returns the clock of the last known call, or 0 if no call is known.
    pub fn last_clock(&self) -> u64 {
        let by_calls = self.calls.len().checked_sub(1).map(|more| self.first_call + more as u64);
        let blocks = self.blocks.len().checked_sub(1);
        let by_blocks = blocks.map(|more| block_end(self.first_block + more as u64));
        by_calls.max(by_blocks).unwrap_or(0)
    }

    /// Describes a call, and names the place in the program that made it.
    pub(crate) fn describe(&self, call: FrozenCall) -> String {
        let place = self.maps.place(call.address).map_or(String::new(), |at| format!(" at {at}"));
        format!("{}{place}", describe_word(call.word))
    }

    /// Returns whether a server can have this history.
    pub(crate) fn is_sound(&self) -> bool {
        self.blocks.len() <= BLOCKS
            && self.calls.len() <= CALLS
            && self.marks.len() <= MARKS
            && self.maps.is_sound()
            // No sum of clocks overflows.
            && self.first_block < u64::MAX / 4096
            && self.first_call < u64::MAX / 4
            && self.marks.is_sorted_by(|one, next| one.slot < next.slot)
    }
}

impl FrozenCalls {
    /// Returns the bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        checked_file::encode(MAGIC, FROZEN_VERSION, self)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Returns the fault in the bytes, and never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        match checked_file::decode::<Self>(MAGIC, FROZEN_VERSION, bytes) {
            Ok(frozen) if frozen.is_sound() => Ok(frozen),
            Err(CheckError::Foreign) => Err("it does not hold frozen calls".into()),
            Err(CheckError::Version(version)) => Err(format!(
                "it has version {version}, and this program reads version {FROZEN_VERSION}; use \
                 the program that wrote it"
            )),
            Err(CheckError::Damaged) => {
                Err("it is damaged; copy it again, or use another one".into())
            }
            Ok(_) | Err(CheckError::Body) => Err("it is damaged; use another one".into()),
        }
    }

    fn is_sound(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.len() <= GROUP_BYTES_MAX)
            && self.history.is_sound()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Returns the fault, with the remedy.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let describe = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| describe(&error))?;
        Self::decode(&bytes).map_err(|why| describe(&why))
    }

    /// Keeps the calls in a data directory, and removes the files of the lowest slots there. If the
    /// directory holds calls of the same slot already, those stay instead.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn keep(&self, data: &Path) -> Result<PathBuf, String> {
        let folder = data.join(FOLDER);
        let name = format!("{PREFIX}{}", self.slot);
        let path = folder.join(&name);
        let written = fs::create_dir_all(&folder).and_then(|()| {
            if path.exists() {
                return Ok(());
            }
            disk::replace(&folder, &name, &self.encode())?;
            let kept = list(data)?;
            let surplus = kept.len().saturating_sub(KEPT_MAX);
            kept[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

/// Returns the slots at which calls were frozen in a data directory, in rising order, with their
/// files.
///
/// # Errors
/// Returns the system's error. A missing folder is no error.
pub(crate) fn list(data: &Path) -> io::Result<Vec<(Slot, PathBuf)>> {
    let items = match fs::read_dir(data.join(FOLDER)) {
        Ok(items) => items,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for item in items {
        let item = item?;
        let name = item.file_name();
        let slot = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        found.extend(slot.map(|slot| (Slot(slot), item.path())));
    }
    found.sort();
    Ok(found)
}

/// Describes a call by its word in the schedule hash.
pub(crate) fn describe_word(word: u64) -> String {
    let (thread, kind, object) = (word >> 48, (word >> 32) as u16, word as u32);
    format!("{} of object {object} by thread {thread}", call_name(kind))
}

#[cfg(test)]
mod tests;
