//! The beginning of a log behind a checkpoint that came from another replica: the file `arrived` in
//! the data directory says that it came, and the next start begins the log there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crane_core::id::Slot;
use crane_core::paxos::DurableState;

use super::store::Prefix;
use crate::cell::upper::{self, describe};
use crate::checked_file;
use crate::log::disk::HostDisk;
use crate::log::segments::Segments;
use crate::log::{Batch, Log, Opened, disk};

const NAME: &str = "arrived";
const MAGIC: &[u8; 8] = b"CRANEARR";
const VERSION: u32 = 2;
/// The log that is being made.
const NEW: &str = "log.arriving";
/// The log that is being replaced.
const OLD: &str = "log.before";

/// Records that the log is to begin behind a prefix, durably.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn record(data: &Path, prefix: &Prefix) -> io::Result<()> {
    disk::replace(data, NAME, &checked_file::encode(MAGIC, VERSION, prefix))
}

/// Lets the log begin behind the prefix that has arrived, if one has and the log does not hold it.
/// All promises of this replica are kept. A crash at any moment leaves a state from which the next
/// start continues. Returns the slot.
///
/// # Errors
/// Returns what the system refused.
// specs: C6
pub(crate) fn begin_behind(data: &Path) -> Result<Option<Slot>, String> {
    let path = data.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(describe(&path, &error)),
    };
    let (log, new, old) = (data.join("log"), data.join(NEW), data.join(OLD));
    let prefix: Prefix = match checked_file::decode(MAGIC, VERSION, &bytes) {
        Ok(prefix) => prefix,
        Err(_) => {
            // The group offers another one.
            remove(&path)?;
            return Ok(None);
        }
    };
    let slot = prefix.snapshot.slot;
    let rename = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|error| describe(from, &error))?;
        sync(data)
    };
    let is_there = |path: &Path| fs::read_dir(path).is_ok_and(|mut items| items.next().is_some());
    if is_there(&old) && !is_there(&log) {
        // A crash came between the two renames: the new log is whole.
        upper::remove(&log)?;
        rename(&new, &log)?;
    } else {
        let mut opened = Log::open(&log).map_err(|error| error.to_string())?;
        match compare(&opened, &prefix) {
            LogHolds::Decided => {}
            LogHolds::Undecided => {
                let mut segments = Segments::new(&log, HostDisk, false);
                segments.write(&decided(&mut opened, slot))?;
                segments.sync()?;
            }
            LogHolds::Another => {
                upper::remove(&new)?;
                upper::remove(&old)?;
                fs::create_dir(&new).map_err(|error| describe(&new, &error))?;
                let stored = behind(&opened, &prefix);
                Log::begin(&new, &stored, Some(prefix.genesis))?;
                sync(&new)?;
                rename(&log, &old)?;
                rename(&new, &log)?;
            }
        }
    }
    remove(&path)?;
    sync(data)?;
    upper::remove(&old)?;
    Ok(Some(slot))
}

/// How much a log holds of a decided prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogHolds {
    /// All of it, and knows that it is decided.
    Decided,
    /// All of it, and does not know how much of it is decided: those who do may have deleted it.
    Undecided,
    /// A part of it, or another one, of whose entries behind the decided ones none can be chosen
    /// any more.
    Another,
}

/// Returns what a log holds of a decided prefix. Logs that have one entry in common are equal up to
/// it (P4), and an entry is known by its slot and ballot.
pub(crate) fn compare(opened: &Opened, prefix: &Prefix) -> LogHolds {
    let (front, slot) = (opened.log.front(), prefix.snapshot.slot);
    if slot <= opened.stored.committed || slot <= front {
        return LogHolds::Decided;
    }
    let entry = opened.entries.get((slot.0 - front.0) as usize - 1);
    match entry.is_some_and(|entry| entry.ballot == prefix.snapshot.ballot) {
        true => LogHolds::Undecided,
        false => LogHolds::Another,
    }
}

/// Returns what is to be written to a log that holds everything up to a slot, all of which is
/// decided.
pub(crate) fn decided(opened: &mut Opened, slot: Slot) -> Batch {
    opened.log.append_committed(slot);
    opened.log.take_batch().expect("a record was appended")
}

/// Returns the durable state of a log that begins behind a prefix, with all promises of the log
/// before.
pub(crate) fn behind(opened: &Opened, prefix: &Prefix) -> DurableState {
    let stored = &opened.stored;
    let accepted = stored.accepted.max(prefix.snapshot.ballot);
    DurableState {
        promised: stored.promised.max(accepted),
        accepted,
        voting: stored.voting,
        committed: stored.committed.max(prefix.snapshot.slot),
        snapshot: Some(prefix.snapshot),
    }
}

fn sync(directory: &Path) -> Result<(), String> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| describe(directory, &error))
}

fn remove(path: &PathBuf) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| describe(path, &error))
}

#[cfg(test)]
mod tests {
    use crane_core::id::{Generation, Incarnation, NodeId};
    use crane_core::limits::NODES_MAX;
    use crane_core::paxos::{
        Ballot, Content, Entry, Members, Record, SnapshotMeta, StorageEpoch, VotingStatus,
        WriteNumber,
    };

    use super::*;

    fn prefix(slot: u64) -> Prefix {
        let ballot = Ballot::new(3, NodeId::new(1));
        let genesis = SnapshotMeta::genesis(Members::first(3));
        Prefix {
            snapshot: SnapshotMeta { slot: Slot(slot), ballot, ..genesis },
            connected: [None; NODES_MAX],
            retired: [Generation(0); NODES_MAX],
            timestamp: 7,
            incarnation: Incarnation::FIRST,
            upgrades: Vec::new(),
            genesis: (Slot(1), b"genesis".to_vec()),
        }
    }

    /// Makes a data directory whose log has promised a ballot, and belongs to a rejoining replica.
    fn made(name: &str) -> PathBuf {
        let data =
            std::env::temp_dir().join(format!("crane-arrived-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(data.join("log")).unwrap();
        let voting = VotingStatus::Rejoining { epoch: StorageEpoch(5) };
        let stored = DurableState { voting, ..DurableState::BLANK };
        Log::begin(&data.join("log"), &stored, None).unwrap();
        data
    }

    fn opened(data: &Path) -> Opened {
        Log::open(&data.join("log")).unwrap()
    }

    #[test]
    fn a_log_begins_behind_what_has_arrived_with_its_promises_kept() {
        let data = made("begins");
        assert_eq!(begin_behind(&data), Ok(None), "nothing has arrived");
        record(&data, &prefix(40)).unwrap();
        assert_eq!(begin_behind(&data), Ok(Some(Slot(40))));
        let found = opened(&data);
        assert_eq!(found.log.front(), Slot(40));
        assert_eq!(found.log.genesis(), Some(Slot(1)));
        assert_eq!(found.stored.voting, VotingStatus::Rejoining { epoch: StorageEpoch(5) });
        assert_eq!(found.stored.accepted, prefix(40).snapshot.ballot);
        assert_eq!(begin_behind(&data), Ok(None), "once");
        // A log that reaches further is left alone.
        record(&data, &prefix(30)).unwrap();
        record(&data, &prefix(40)).unwrap();
        assert_eq!(begin_behind(&data), Ok(Some(Slot(40))));
        assert_eq!(opened(&data).log.front(), Slot(40));
        fs::remove_dir_all(&data).unwrap();
    }

    /// Appends entries under a ballot.
    fn append(data: &Path, slots: std::ops::RangeInclusive<u64>, round: u64) {
        let mut log = opened(data).log;
        let ballot = Ballot::new(round, NodeId::new(1));
        for slot in slots {
            let content = Content::Change(Members::first(3));
            let record = Record::Accept { slot: Slot(slot), entry: Entry { ballot, content } };
            log.append(WriteNumber(slot), &record, None);
        }
        let mut segments = Segments::new(&data.join("log"), HostDisk, false);
        segments.write(&log.take_batch().unwrap()).unwrap();
    }

    /// Others delete what they know to be decided; a log may hold that, and not know.
    #[test]
    fn a_log_that_holds_what_has_arrived_learns_that_it_is_decided() {
        let data = made("holds");
        append(&data, 1..=45, prefix(40).snapshot.ballot.round());
        assert_eq!(opened(&data).stored.committed, Slot::NONE);
        record(&data, &prefix(40)).unwrap();
        assert_eq!(begin_behind(&data), Ok(Some(Slot(40))));
        let found = opened(&data);
        assert_eq!((found.log.front(), found.stored.committed), (Slot::NONE, Slot(40)));
        assert_eq!(found.entries.len(), 45, "its votes are kept");
        fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn a_log_that_holds_other_entries_begins_behind_what_has_arrived() {
        let data = made("others");
        append(&data, 1..=45, prefix(40).snapshot.ballot.round() - 1);
        record(&data, &prefix(40)).unwrap();
        assert_eq!(begin_behind(&data), Ok(Some(Slot(40))));
        let found = opened(&data);
        assert_eq!((found.log.front(), found.stored.committed), (Slot(40), Slot(40)));
        assert_eq!(found.entries.len(), 0);
        fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn a_crash_at_any_step_is_continued() {
        for step in 0..4 {
            let data = made(&format!("crash-{step}"));
            record(&data, &prefix(40)).unwrap();
            // The steps of `begin_behind`, broken off.
            let (log, new, old) = (data.join("log"), data.join(NEW), data.join(OLD));
            if step >= 1 {
                fs::create_dir(&new).unwrap();
                let state = behind(&opened(&data), &prefix(40));
                if step >= 2 {
                    Log::begin(&new, &state, Some(prefix(40).genesis)).unwrap();
                }
            }
            if step >= 3 {
                fs::rename(&log, &old).unwrap();
                // The start makes the directory of a log before it opens it.
                fs::create_dir(&log).unwrap();
            }
            assert_eq!(begin_behind(&data), Ok(Some(Slot(40))), "step {step}");
            assert_eq!(opened(&data).log.front(), Slot(40), "step {step}");
            assert!(!old.exists() && !data.join(NAME).exists(), "step {step}");
            fs::remove_dir_all(&data).unwrap();
        }
    }

    #[test]
    fn a_damaged_record_of_an_arrival_is_dropped() {
        let data = made("damaged");
        fs::write(data.join(NAME), "no prefix").unwrap();
        assert_eq!(begin_behind(&data), Ok(None));
        assert!(!data.join(NAME).exists());
        assert_eq!(opened(&data).log.front(), Slot::NONE);
        fs::remove_dir_all(&data).unwrap();
    }
}
