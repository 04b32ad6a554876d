//! Tests of entries that are read again: for a replay, and for replicas that lack them.

use super::*;
use crate::log::{FETCH_RECORDS, SEGMENT_BYTES, segment_path};

/// The number of bytes that a client sends at once.
const LENGTH: usize = 8000;
/// The number of times that it does.
const TIMES: usize = 140;

/// Lets a client of this replica send, until the log has left its memory for the greater part.
fn grow(group: &mut Group, place: usize) {
    for _ in 0..TIMES {
        group.input(place, DriverInput::Client(1, ClientInput::Sent(vec![5; LENGTH])));
        group.run(2);
    }
    group.run(200);
}

/// Starts a replica again, over its log.
fn restart(group: &mut Group, place: usize, directory: &std::path::Path) {
    group.cut_off(place);
    group.run(100);
    let disk = std::mem::take(&mut group.drivers[place].host().disk);
    let write = |number: u32, bytes: &[u8]| {
        // The host in memory does without headers, and without a spare.
        let header = record::segment_header(number);
        let bytes = [&header, bytes.get(header.len()..).unwrap_or_default()].concat();
        std::fs::write(segment_path(directory, number), bytes).expect("a segment");
    };
    disk.iter().for_each(|(number, bytes)| write(*number, bytes));
    write(disk.keys().max().expect("a segment") + 1, &[]);
    let opened = Log::open(directory).expect("the log");
    group.queues[place].borrow_mut().clear();
    let moment = group.moment();
    group.drivers[place] = driver_from(place, &group.queues.clone(), opened, disk, moment);
    group.drivers[place].begin(moment);
    group.link_again(place);
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crane-driver-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn assert_each_once(slots: &[Slot], all: u64) {
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(slots.len(), sorted.len(), "each slot is read once: {slots:?}");
    assert!(sorted.len() as u64 > all * 9 / 10, "{} of {all}", sorted.len());
}

/// Returns a group with a large log, its primary, and a backup that has just started again.
fn started_again(scratch: &Scratch) -> (Group, usize, usize) {
    let (mut group, place, _) = Group::with_backups();
    let primary = group.primary();
    group.input(primary, DriverInput::Client(1, connected()));
    grow(&mut group, primary);
    restart(&mut group, place, &scratch.0);
    (group, primary, place)
}

/// A replay observes and feeds the whole log. Both come from one reading of it, and the next part
/// is asked for before the present one is used up.
#[test]
fn a_replica_that_starts_again_reads_each_slot_once() {
    let scratch = Scratch::new("replay");
    let (mut group, primary, place) = started_again(&scratch);
    // The server is slow to start: the observation waits for it.
    group.drivers[place].host().starts_late = true;
    group.run(100);
    let run = group.drivers[place].host().scripts.len() as u64;
    assert_eq!(run, 1);
    assert!(group.drivers[place].script.observed.0 as usize <= FETCH_RECORDS);
    group.input(place, DriverInput::Server(run, ServerChange::Ready));
    group.run(1000);
    assert_eq!(group.script(place), group.script(primary));
    let slots = group.drivers[place].committed.0;
    assert!(slots as usize > TIMES && slots as usize * LENGTH > SEGMENT_BYTES);
    assert_each_once(&group.drivers[place].host().read_again, slots);
}

/// Nothing that the log says may wait for a server that does not come.
#[test]
fn a_replica_whose_server_does_not_start_observes_the_log_all_the_same() {
    let scratch = Scratch::new("no-server");
    let (mut group, _, place) = started_again(&scratch);
    group.drivers[place].host().starts_late = true;
    group.run(1000);
    let driver = &group.drivers[place];
    assert_eq!(driver.script.observed, driver.committed);
    assert!(driver.committed.0 as usize > TIMES);
}

#[test]
fn what_a_replica_lacks_is_read_once_and_sent_while_others_are_served() {
    let (mut group, place, other) = Group::with_backups();
    let primary = group.primary();
    group.input(primary, DriverInput::Client(1, connected()));
    group.run(100);
    group.cut_off(place);
    grow(&mut group, primary);
    group.input(other, DriverInput::Client(2, connected()));
    group.link_again(place);
    group.run(1);
    group.input(other, DriverInput::Client(2, ClientInput::Sent(b"now".to_vec())));
    group.run(6);
    assert!(group.sent(primary).ends_with(b"now"));
    assert_ne!(group.drivers[place].committed, group.drivers[primary].committed);
    group.run(2000);
    assert_eq!(group.script(place), group.script(primary));
    let slots = group.drivers[primary].committed.0;
    assert_each_once(&group.drivers[primary].host().read_again, slots);
    assert!(group.drivers[primary].owed.next.iter().all(Option::is_none));
}

#[test]
fn a_round_sends_a_bounded_part_of_what_replicas_lack_to_each_in_turns() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    group.input(primary, DriverInput::Client(1, connected()));
    grow(&mut group, primary);
    let (first, last) = (Slot(30), Slot(93));
    for _ in 0..8 {
        for other in (0..3).filter(|other| *other != primary) {
            group.drivers[primary].serve_catch_up(node(other), first, last);
        }
    }
    let all = 16 * 64 * LENGTH;
    let before = group.drivers[primary].host().sent;
    let mut rounds = Vec::new();
    while rounds.iter().sum::<usize>() < all {
        let sent = group.drivers[primary].host().sent;
        group.step(primary);
        rounds.push(group.drivers[primary].host().sent - sent);
        assert!(rounds.len() < 100, "{rounds:?}");
    }
    let most = rounds.iter().max().expect("rounds");
    assert!(*most <= (1 << 20) + (256 << 10), "{most} bytes in one round");
    assert!(group.drivers[primary].host().sent - before < all + all / 4);
}

#[test]
fn entries_whose_segment_was_cut_off_are_needed_no_more() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    group.input(primary, DriverInput::Client(1, connected()));
    grow(&mut group, primary);
    let moment = group.moment();
    let place = (primary + 1) % 3;
    let driver = &mut group.drivers[primary];
    driver.host().lacks_segments = true;
    // The log is cut between the request and the reading.
    let snapshot = driver.script.sum_at(Slot(100)).expect("a sum").snapshot;
    driver.serve_catch_up(node(place), Slot(30), Slot(93));
    driver.pass(moment, None);
    assert_eq!(driver.fetching, [FetchFor::Owing(node(place))]);
    let front = driver.log.front_behind(&snapshot);
    driver.log.start_behind(&front);
    group.run(10);
    let driver = &mut group.drivers[primary];
    assert_eq!((driver.fetching.len(), driver.owed.queue.len()), (0, 0));
    // A segment that the log has, and the disk has not, is damage.
    driver.serve_catch_up(node(place), Slot(110), Slot(120));
    group.may_stop = vec![primary];
    group.run(10);
    let stop = group.drivers[primary].stop().expect("it stops");
    assert!(stop.why.contains("it is missing"), "{}", stop.why);
}
