//! `crane-linux log cut`: takes the front off the log of a replica that does not run.

use std::path::Path;

use crane_core::id::Slot;

use crate::group;
use crate::log::Log;
use crate::meta::{DataDirectory, Meta};
use crate::reach;
use crate::terminal::{complain, print_line};

/// Cuts the log in this data directory behind a slot, and returns the exit status.
pub(crate) fn run(data: &Path, behind: u64, keys: Option<&Path>, insecure_peers: bool) -> i32 {
    let ask = |meta: &Meta| {
        let or = "--insecure-peers if the group runs with that";
        let access = group::access(keys, insecure_peers, or)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
        runtime.block_on(reach::spares(&access, meta, behind))
    };
    match cut(data, Slot(behind), ask) {
        Ok(told) => {
            print_line(&told);
            0
        }
        Err(why) => {
            complain(&why);
            1
        }
    }
}

/// Cuts the log, if the other members can `spare` it.
fn cut(
    data: &Path,
    behind: Slot,
    spare: impl FnOnce(&Meta) -> Result<(), String>,
) -> Result<String, String> {
    // Opening a data directory would create it.
    if !data.join("meta").exists() {
        return Err(format!("{} is no data directory of a replica", data.display()));
    }
    let directory = DataDirectory::open(data)?;
    let meta =
        directory.meta()?.ok_or("the file meta is missing; this data directory cannot be cut")?;
    if !meta.witness {
        return Err(format!(
            "{} belongs to a replica that runs a server, which needs the log from slot 1; only the \
             log of a witness can be cut",
            directory.path.display()
        ));
    }
    let mut opened = Log::open(&directory.log()).map_err(|error| error.to_string())?;
    let front = opened.log.front();
    if behind <= front {
        return Ok(format!("the log starts behind slot {front} already"));
    }
    let last = Slot(front.0 + opened.entries.len() as u64);
    let committed = opened.stored.committed.min(last);
    if behind > committed {
        return Err(format!(
            "slot {behind} is not known to be committed, slot {committed} is; cut the log behind \
             slot {committed} or an earlier one"
        ));
    }
    // The front keeps genesis: without it, the log does not identify its group.
    if opened.log.genesis().is_none() {
        return Err(
            "the log does not hold the group's creation yet; cut it after the group has started"
                .to_string(),
        );
    }
    spare(&meta).map_err(|why| format!("the log is not cut: {why}"))?;
    let snapshot = opened.snapshot_at(behind, meta.founders.first_members());
    let gone = opened.log.cut(&directory.log(), &snapshot).map_err(|error| error.to_string())?;
    Ok(format!("the log starts behind slot {behind}; segments deleted: {gone}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use crane_core::id::NodeId;
    use crane_core::paxos::{Ballot, Content, Entry, NodeSet, Record, WriteNumber};

    use super::*;
    use crate::log::disk::HostDisk;
    use crate::log::segments::Segments;
    use crate::log::{Payload, describe};
    use crate::meta::DATA_VERSION;
    use crate::roster::Roster;
    use crate::show;

    /// The third is a witness.
    fn founders() -> Roster {
        let names = ["a:1".to_string(), "b:1".into(), "c:1".into()];
        Roster::founders(&names, NodeSet::first(3).difference(NodeSet::first(2)))
    }

    /// A data directory with a log of twelve entries, of which ten are known to be committed.
    fn made(name: &str, witness: bool) -> PathBuf {
        let path = std::env::temp_dir().join(format!("crane-cut-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let data = DataDirectory::open(&path).unwrap();
        let meta = Meta {
            version: DATA_VERSION,
            group: None,
            node: NodeId::new(3).unwrap(),
            address: "c:1".into(),
            witness,
            founders: founders(),
            roster: founders(),
            given: Vec::new(),
            generation: 1,
            diverged_behind: None,
            restart: None,
            command: Vec::new(),
            upgrades: Vec::new(),
        };
        data.put_meta(&meta).unwrap();
        let mut log = Log::open(&data.log()).unwrap().log;
        let ballot = Ballot::new(1, NodeId::new(1));
        for slot in 1..=12 {
            let payload = Payload::from(&b"bytes"[..]);
            let content = Content::Payload(describe(&payload));
            let record = Record::Accept { slot: Slot(slot), entry: Entry { ballot, content } };
            log.append(WriteNumber(slot), &record, Some(payload));
        }
        log.append_committed(Slot(10));
        Segments::new(&data.log(), HostDisk, false).write(&log.take_batch().unwrap()).unwrap();
        path
    }

    #[test]
    fn only_what_is_committed_can_be_cut_and_only_of_a_witness() {
        let path = made("witness", true);
        let refused = |behind, word: &str| {
            let why = cut(&path, Slot(behind), |_| Ok(())).unwrap_err();
            assert!(why.contains(word), "{why}");
            assert_eq!(Log::open(&path.join("log")).unwrap().entries.len(), 12);
        };
        refused(11, "slot 10 is");
        refused(13, "slot 10 is");
        let running = DataDirectory::open(&path).unwrap();
        refused(5, "in use");
        drop(running);
        let why = cut(&path, Slot(7), |_| Err("replica 2 does not answer".into())).unwrap_err();
        assert!(why.contains("not cut: replica 2"), "{why}");
        assert_eq!(Log::open(&path.join("log")).unwrap().entries.len(), 12);
        assert!(cut(&path, Slot(7), |_| Ok(())).unwrap().contains("behind slot 7"));
        assert!(cut(&path, Slot(7), |_| Ok(())).unwrap().contains("behind slot 7 already"));
        assert!(cut(&path, Slot(10), |_| Ok(())).unwrap().contains("behind slot 10"));
        let opened = Log::open(&path.join("log")).unwrap();
        assert_eq!(opened.entries.len(), 2);
        assert_eq!(opened.stored.snapshot.unwrap().members, founders().first_members());
        for records in [true, false] {
            assert_eq!(show::run(&path, records), 0);
        }
        fs::remove_dir_all(&path).unwrap();

        let path = made("server", false);
        let why = cut(&path, Slot(5), |_| Ok(())).unwrap_err();
        assert!(why.contains("only the log of a witness"), "{why}");
        assert_eq!(Log::open(&path.join("log")).unwrap().entries.len(), 12);
        fs::remove_dir_all(&path).unwrap();
        assert!(cut(&path, Slot(5), |_| Ok(())).unwrap_err().contains("no data directory"));
        assert!(!path.exists(), "it was only asked");
    }
}
