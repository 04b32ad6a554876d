//! The treatment of a damaged log: it is set aside, and this replica starts again like a replica
//! that has lost its storage.
//!
//! A lost record may have been a promise. The fresh log therefore begins with the voting status of
//! a rejoining replica, under a new storage epoch: the replica votes once the group's log has named
//! that epoch, and not before. (A blank status would be wrong: if all members had damaged logs,
//! they would form another group.)
//!
//! A crash in between leaves no log, or one without records, beside a damaged log. The damaged log
//! distinguishes this case from a new data directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crane_core::paxos::{DurableState, StorageEpoch, VotingStatus};

use super::{Log, LogError, Opened, segment_path};

const ASIDE: &str = "log.damaged-";

/// The voters of the group, as its members say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Voters {
    /// The number of voters.
    pub count: usize,
    /// How many of them answer and vote, without this replica.
    pub reachable: usize,
}

impl Voters {
    /// Returns the number of voters in a quorum.
    pub(crate) fn quorum(&self) -> usize {
        self.count / 2 + 1
    }

    /// Returns whether there is a quorum without this replica, within reach.
    pub(crate) fn suffice(&self) -> bool {
        self.reachable >= self.quorum()
    }

    /// Returns whether there can be a quorum without this replica.
    pub(crate) fn can_suffice(&self) -> bool {
        self.count > self.quorum()
    }
}

/// Opens the log of a data directory. Returns the damage if the log is damaged, or missing although
/// the group `is_known`: it had records.
///
/// # Errors
/// Returns any other fault.
pub(crate) fn open(data: &Path, is_known: bool) -> Result<Result<Opened, LogError>, String> {
    let log = data.join("log");
    let set_aside = has_been(data).map_err(|error| format!("{}: {error}", data.display()))?;
    match Log::open(&log) {
        Ok(opened) if opened.is_new && (is_known || set_aside) => {
            Ok(Err(LogError::Missing(segment_path(&log, 1))))
        }
        Ok(opened) => Ok(Ok(opened)),
        Err(error) if error.is_damage() => Ok(Err(error)),
        Err(error) => Err(error.to_string()),
    }
}

/// Sets a damaged log aside if the other voters can supply it: this replica then starts again under
/// this storage epoch, and the returned text says so.
///
/// # Errors
/// Returns the fault and its remedy; the log is unchanged in that case.
// specs: R9
pub(crate) fn begin_without(
    data: &Path,
    error: &LogError,
    voters: Voters,
    epoch: StorageEpoch,
) -> Result<(Opened, String), String> {
    let log = data.join("log");
    // A rejoining replica returns when a quorum without it has agreed to that.
    let count = voters.count;
    if !voters.can_suffice() {
        return Err(format!(
            "{}; a group of {count} has no quorum without this replica, which could give it the \
             log again: put the file back from a copy, or begin a new group in another --data-dir",
            error.what()
        ));
    }
    if !voters.suffice() {
        return Err(format!(
            "{}; {} of the {count} voters answer, and {} are needed to give this replica the log \
             again: start the others first, or put the file back from a copy",
            error.what(),
            voters.reachable,
            voters.quorum()
        ));
    }
    let aside = match start_anew(data, epoch)? {
        Some(path) => format!("set aside as {}", path.display()),
        None => "nothing of it was left".to_string(),
    };
    let note = format!(
        "{}; {aside}; rebuilding from the others, without a vote until the group has agreed to it",
        error.what()
    );
    let opened = Log::open(&log).map_err(|error| error.to_string())?;
    Ok((opened, note))
}

/// Returns whether a damaged log was set aside in this data directory.
fn has_been(data: &Path) -> io::Result<bool> {
    for item in fs::read_dir(data)? {
        if item?.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sets the damaged log aside and begins a fresh log of this storage epoch. Returns the path of the
/// damaged log, or `None` if no file of it was left. If the system refuses, a later attempt may
/// succeed.
fn start_anew(data: &Path, epoch: StorageEpoch) -> Result<Option<PathBuf>, String> {
    let log = data.join("log");
    let aside = set_aside(data, &log).map_err(|error| {
        format!("the damaged log {} cannot be set aside: {error}", log.display())
    })?;
    begin_rejoining(&log, epoch)?;
    Ok(aside)
}

/// Begins the log, in an empty directory, of a replica that joins an existing group: it was a
/// member before, or takes the number of a former member.
///
/// # Errors
/// Returns the system's error.
// specs: R9
pub(crate) fn begin_rejoining(log: &Path, epoch: StorageEpoch) -> Result<(), String> {
    let stored = DurableState { voting: VotingStatus::Rejoining { epoch }, ..DurableState::BLANK };
    Log::begin(log, &stored, None)
}

fn set_aside(data: &Path, log: &Path) -> io::Result<Option<PathBuf>> {
    let mut aside = None;
    if fs::read_dir(log)?.next().is_some() {
        let mut names = (1..).map(|number| data.join(format!("{ASIDE}{number}")));
        let free = names.find(|path| !path.exists()).expect("there are many numbers");
        fs::rename(log, &free)?;
        fs::create_dir(log)?;
        aside = Some(free);
    }
    File::open(data)?.sync_all()?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;

    /// Creates a data directory with these bytes as its log.
    fn with_log(name: &str, bytes: Option<&[u8]>) -> Scratch {
        let scratch = Scratch::new(name);
        fs::create_dir(scratch.0.join("log")).unwrap();
        if let Some(bytes) = bytes {
            fs::write(segment_path(&scratch.0.join("log"), 1), bytes).unwrap();
        }
        scratch
    }

    /// Opens a log of a group of this many voters, all of which answer.
    fn open(
        data: &Path,
        is_known: bool,
        count: usize,
        epoch: StorageEpoch,
    ) -> Result<(Opened, Option<String>), String> {
        match super::open(data, is_known)? {
            Ok(opened) => Ok((opened, None)),
            Err(error) => {
                let voters = Voters { count, reachable: count - 1 };
                let (opened, note) = begin_without(data, &error, voters, epoch)?;
                Ok((opened, Some(note)))
            }
        }
    }

    #[test]
    fn a_damaged_log_is_set_aside_and_never_written_over() {
        let scratch = with_log("aside", None);
        let data = &scratch.0;
        let log = data.join("log");
        for epoch in 1..=3 {
            let text = format!("damaged {epoch}, so that it is no log");
            fs::write(segment_path(&log, 1), text).unwrap();
            let (opened, note) = open(data, false, 3, StorageEpoch(epoch)).unwrap();
            assert_eq!(
                opened.stored.voting,
                VotingStatus::Rejoining { epoch: StorageEpoch(epoch) }
            );
            let note = note.unwrap();
            let aside = data.join(format!("log.damaged-{epoch}"));
            for word in ["00000001.log at offset 0", &aside.to_string_lossy(), "without a vote"] {
                assert!(note.contains(word), "{note}");
            }
        }
        for epoch in 1..=3 {
            let kept = segment_path(&data.join(format!("log.damaged-{epoch}")), 1);
            assert!(fs::read_to_string(kept).unwrap().starts_with(&format!("damaged {epoch}")));
        }
        // The next start finds the log unchanged, under the same epoch.
        let (opened, note) = open(data, true, 3, StorageEpoch(9)).unwrap();
        assert_eq!(opened.stored.voting, VotingStatus::Rejoining { epoch: StorageEpoch(3) });
        assert_eq!(note, None);
    }

    #[test]
    fn a_crash_before_the_fresh_log_is_whole_makes_no_new_member() {
        let scratch = with_log("half", Some(b"damaged, so that it is no log"));
        let data = &scratch.0;
        let log = data.join("log");
        open(data, false, 3, StorageEpoch(1)).unwrap();
        let fresh = fs::read(segment_path(&log, 1)).unwrap();
        for left in [None, Some(0), Some(10), Some(20), Some(30), Some(fresh.len() - 1)] {
            fs::remove_dir_all(&log).unwrap();
            fs::create_dir(&log).unwrap();
            if let Some(left) = left {
                fs::write(segment_path(&log, 1), &fresh[..left]).unwrap();
                fs::write(segment_path(&log, 2), super::super::record::segment_header(2)).unwrap();
            }
            let (opened, note) = open(data, false, 3, StorageEpoch(5)).unwrap();
            assert_eq!(
                opened.stored.voting,
                VotingStatus::Rejoining { epoch: StorageEpoch(5) },
                "{left:?}"
            );
            assert!(note.unwrap().contains("is missing"));
        }
    }

    #[test]
    fn only_a_log_of_which_nothing_is_known_may_be_new() {
        let scratch = with_log("new", None);
        let (opened, note) = open(&scratch.0, false, 3, StorageEpoch(1)).unwrap();
        assert_eq!((opened.stored.voting, note), (VotingStatus::Blank, None));
        let (opened, note) = open(&scratch.0, true, 3, StorageEpoch(2)).unwrap();
        assert_eq!(opened.stored.voting, VotingStatus::Rejoining { epoch: StorageEpoch(2) });
        assert!(note.unwrap().contains("00000001.log is missing; nothing of it was left"));
    }

    #[test]
    fn a_log_is_kept_until_a_quorum_of_the_other_voters_answers() {
        let scratch = with_log("alone", Some(b"damaged, so that it is no log"));
        let data = &scratch.0;
        let error = super::open(data, true).unwrap().unwrap_err();
        for (count, reachable) in [(3, 1), (3, 0), (4, 2), (5, 2), (7, 3)] {
            let voters = Voters { count, reachable };
            let why = begin_without(data, &error, voters, StorageEpoch(1)).unwrap_err();
            for word in [&*format!("{reachable} of the {count} voters"), "start the others first"] {
                assert!(why.contains(word), "{why}");
            }
            let kept = fs::read(segment_path(&data.join("log"), 1)).unwrap();
            assert!(kept.starts_with(b"damaged"));
        }
        let voters = Voters { count: 5, reachable: 3 };
        begin_without(data, &error, voters, StorageEpoch(1)).unwrap();
    }

    #[test]
    fn without_a_majority_of_others_it_is_an_error_that_changes_nothing() {
        for members in 1..=7 {
            let scratch = with_log("few", Some(b"damaged, so that it is no log"));
            let outcome = open(&scratch.0, true, members, StorageEpoch(1));
            assert_eq!(outcome.is_ok(), members > 2, "{members}");
            let Err(why) = outcome else { continue };
            for word in ["00000001.log at offset 0", &format!("group of {members}"), "from a copy"]
            {
                assert!(why.contains(word), "{why}");
            }
            let kept = fs::read(segment_path(&scratch.0.join("log"), 1)).unwrap();
            assert!(kept.starts_with(b"damaged"));
        }
    }
}
