use heapless::Vec;

use super::*;
use crate::id::{NodeId, Slot};
use crate::paxos::NodeSet;
use crate::time::Instant;

const PRIMARY: usize = 0;

fn node(place: usize) -> NodeId {
    NodeId::new(place as u8 + 1).expect("a number")
}

fn all() -> NodeSet {
    NodeSet::first(3)
}

/// Three replicas whose reports arrive at once.
struct Three {
    vigils: [Vigil; 3],
    now: Instant,
    /// The member that is primary.
    primary: usize,
    /// The changes of the primary.
    changes: Vec<usize, 8>,
    /// The members that have the slots durable that are not durable at the primary.
    ahead: NodeSet,
    /// The positions of the servers, 0 for one that is held, and whether they use the processor.
    positions: [u64; 3],
    computes: [bool; 3],
    /// The clocks of the servers, and whether they have work.
    clocks: [u64; 3],
    works: [bool; 3],
    spent: u64,
    /// The member that finds no primary.
    deaf: Option<usize>,
    last: [Findings; 3],
}

impl Three {
    fn new() -> Self {
        Self {
            vigils: [0, 1, 2].map(|place| Vigil::new(node(place), Instant::START)),
            now: Instant::START,
            primary: PRIMARY,
            changes: Vec::new(),
            ahead: all(),
            positions: [1; 3],
            computes: [false; 3],
            clocks: [0; 3],
            works: [true; 3],
            spent: 0,
            deaf: None,
            last: [Findings::default(); 3],
        }
    }

    /// Lets a millisecond pass.
    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.spent += 1000;
        for place in 0..3 {
            let (admitted, clock) = (Slot(self.positions[place]), self.clocks[place]);
            let position = ScriptPosition { admitted, clock };
            let position = (admitted > Slot::NONE).then_some(position);
            self.vigils[place].saw_server(self.now, position, self.works[place]);
            let sight = GroupSight {
                is_primary: place == self.primary,
                knows_primary: Some(place) != self.deaf,
                voters: all(),
                quorum: 2,
                servers: all(),
                linked: all(),
                ahead: self.ahead,
            };
            let found = self.vigils[place].look(self.now, &sight);
            self.last[place] = found;
            if found.measure {
                let spent = if self.computes[place] { self.spent } else { 7 };
                self.vigils[place].used_processor(self.now, spent);
            }
            if found.report {
                let report = self.vigils[place].last_report();
                for other in (0..3).filter(|other| *other != place) {
                    self.vigils[other].heard(self.now, node(place), report);
                }
            }
            if let Some(to) = found.transfer_to {
                self.vigils[place].role_ended(self.now);
                self.primary = to.index();
                self.changes.push(self.primary).expect("few changes");
            }
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.step();
        }
    }

    /// Makes one sync that takes this long at the primary.
    fn sync_primary(&mut self, millis: u64) {
        let number = self.vigils[PRIMARY].sync_due(self.now);
        self.run(millis);
        self.vigils[PRIMARY].synced(self.now, number);
    }

    /// Makes syncs that take this long at each replica, and lets time pass.
    fn sync(&mut self, millis: u64, times: [Option<u64>; 3]) {
        let mut due = [None; 3];
        for _ in 0..millis {
            self.step();
            for place in 0..3 {
                let Some(time) = times[place] else { continue };
                match due[place] {
                    None => due[place] = Some((self.vigils[place].sync_due(self.now), self.now)),
                    Some((number, since))
                        if self.now.since(since) >= Duration::from_millis(time) =>
                    {
                        self.vigils[place].synced(self.now, number);
                        due[place] = None;
                    }
                    Some(_) => {}
                }
            }
        }
        for place in 0..3 {
            if let (Some((number, _)), Some(_)) = (due[place], times[place]) {
                self.vigils[place].synced(self.now, number);
            }
        }
    }
}

#[test]
fn a_disk_that_hangs_costs_the_role_after_the_limit() {
    let mut three = Three::new();
    three.run(1000);
    three.vigils[PRIMARY].sync_due(three.now);
    three.run(499);
    assert_eq!(three.changes, [], "too early");
    three.run(2);
    assert_eq!(three.changes.len(), 1);
    assert_ne!(three.primary, PRIMARY);
    assert!(three.last[PRIMARY].disk_stands && three.last[PRIMARY].on_trial);
}

#[test]
fn a_disk_without_work_does_not_hang() {
    let mut three = Three::new();
    three.sync_primary(300);
    three.run(60_000);
    assert_eq!(three.changes, []);
    assert_eq!(three.last[PRIMARY].ailment, None);
}

#[test]
fn syncs_that_return_are_progress_although_others_are_due() {
    let mut three = Three::new();
    for _ in 0..20 {
        let first = three.vigils[PRIMARY].sync_due(three.now);
        three.vigils[PRIMARY].sync_due(three.now);
        three.run(400);
        three.vigils[PRIMARY].synced(three.now, first);
    }
    assert_eq!(three.changes, []);
}

#[test]
fn the_role_goes_only_to_a_member_whose_sync_of_the_slot_is_done() {
    let mut three = Three::new();
    three.ahead = NodeSet::EMPTY;
    three.vigils[PRIMARY].sync_due(three.now);
    three.run(2000);
    assert_eq!(three.changes, []);
    assert!(three.last[PRIMARY].nobody_is_better);
    three.ahead = all();
    three.run(1);
    assert_eq!(three.changes, [1]);
}

#[test]
fn the_role_stays_if_the_others_have_no_quorum_without_this_disk() {
    let mut three = Three::new();
    three.vigils[PRIMARY].sync_due(three.now);
    three.vigils[1].sync_due(three.now);
    three.ahead = NodeSet::EMPTY.with(node(2));
    three.run(20_000);
    assert_eq!(three.changes, [], "two of three disks hang");
    assert!(three.last[PRIMARY].nobody_is_better);
}

#[test]
fn slow_disks_everywhere_move_no_role() {
    let mut three = Three::new();
    three.sync(60_000, [Some(2000), Some(1990), Some(2010)]);
    assert_eq!(three.changes, []);
    let mut three = Three::new();
    three.sync(60_000, [Some(600), Some(300), Some(290)]);
    assert_eq!(three.changes, [], "others are hardly better");
}

#[test]
fn one_slow_disk_costs_the_role_once() {
    let mut three = Three::new();
    three.sync(60_000, [Some(2000), Some(5), Some(5)]);
    assert_eq!(three.changes.len(), 1);
}

#[test]
fn a_trial_ends_when_probes_were_quick_for_its_time() {
    let mut three = Three::new();
    three.sync_primary(600);
    three.run(20_000);
    assert!(three.last[PRIMARY].on_trial, "no sync has shown that the disk is well");
    three.sync(4000, [Some(100), None, None]);
    three.sync(300, [Some(200), None, None]);
    three.sync(4900, [Some(100), None, None]);
    assert!(three.last[PRIMARY].on_trial, "a sync was slow");
    three.sync(1000, [Some(100), None, None]);
    assert!(!three.last[PRIMARY].on_trial);
}

#[test]
fn probes_are_written_during_a_trial() {
    let mut three = Three::new();
    let number = three.vigils[PRIMARY].sync_due(three.now);
    three.run(600);
    assert!(!three.last[PRIMARY].probe, "the disk has enough to do");
    three.vigils[PRIMARY].synced(three.now, number);
    let mut probes = 0;
    for _ in 0..2000 {
        three.step();
        probes += u32::from(three.last[PRIMARY].probe);
    }
    assert!((3..=5).contains(&probes), "{probes}");
}

#[test]
fn the_limit_doubles_with_each_loss_within_a_minute() {
    let mut three = Three::new();
    let limit = |three: &Three| three.vigils[2].limit(three.now).as_micros() / 1000;
    let mut seen = Vec::<u64, 6>::new();
    for _ in 0..6 {
        seen.push(limit(&three)).expect("room for all");
        let primary = three.primary;
        three.vigils[primary].resigns_for_a_test();
        three.vigils[primary].role_ended(three.now);
        three.run(1000);
    }
    assert_eq!(seen, [500, 1000, 2000, 4000, 8000, 8000]);
    three.run(60_000);
    assert_eq!(limit(&three), 500);
}

#[test]
fn a_server_that_hangs_costs_the_role_and_its_clients_are_handed_on() {
    let mut three = Three::new();
    three.run(100);
    (three.positions[1], three.positions[2]) = (2, 2);
    three.run(450);
    assert_eq!(three.changes, [], "too early");
    three.run(200);
    assert_eq!(three.changes.len(), 1);
    let Findings { ailment, hands_clients_on, .. } = three.last[PRIMARY];
    assert!(hands_clients_on);
    assert_eq!(ailment.map(|(ailment, _)| ailment), Some(Ailment::Server));
    three.positions[PRIMARY] = 2;
    three.run(1);
    assert_eq!(three.last[PRIMARY].ailment, None);
}

#[test]
fn a_server_that_is_held_meanwhile_is_no_reason_to_wait_for_one_that_hangs() {
    let mut three = Three::new();
    three.run(100);
    (three.positions[1], three.positions[2]) = (2, 2);
    three.run(300);
    three.positions[2] = 0;
    three.run(350);
    assert_eq!(three.changes, [1]);
}

#[test]
fn a_long_query_is_no_hang() {
    let mut three = Three::new();
    three.run(100);
    (three.positions[1], three.positions[2]) = (2, 2);
    three.computes[PRIMARY] = true;
    three.run(10_000);
    assert_eq!(three.changes, [], "its server computes");
    three.computes[PRIMARY] = false;
    three.positions = [2, 2, 2];
    three.run(10_000);
    assert_eq!(three.changes, [], "all servers stand at one place");
    three.positions = [2, 3, 2];
    three.run(10_000);
    assert_eq!(three.changes, [], "only one server is ahead");
}

#[test]
fn a_backup_whose_disk_hangs_keeps_its_clients_as_long_as_its_server_moves() {
    let mut three = Three::new();
    three.vigils[1].sync_due(three.now);
    for _ in 0..20 {
        three.positions = three.positions.map(|position| position + 1);
        three.run(100);
    }
    assert!(three.last[1].disk_stands);
    assert!(!three.last[1].hands_clients_on);
    (three.positions[0], three.positions[2]) = (100, 100);
    three.run(300);
    assert!(three.last[1].hands_clients_on, "its server waits for the disk");
    assert_eq!(three.changes, []);
}

#[test]
fn a_member_that_does_not_take_over_is_asked_again_after_the_others() {
    let mut vigil = Vigil::new(node(0), Instant::START);
    let well = Vitals { is_well: true, ..Vitals::default() };
    vigil.heard(Instant::START, node(1), well);
    vigil.heard(Instant::START, node(2), well);
    vigil.sync_due(Instant::START);
    let sight = GroupSight {
        is_primary: true,
        knows_primary: true,
        voters: all(),
        quorum: 2,
        servers: all(),
        linked: all(),
        ahead: all(),
    };
    let at = |millis| Instant::START + Duration::from_millis(millis);
    let mut asked = Vec::<NodeId, 4>::new();
    for millis in 0..1700 {
        vigil.heard(at(millis), node(1), well);
        vigil.heard(at(millis), node(2), well);
        asked.extend(vigil.look(at(millis), &sight).transfer_to);
    }
    assert_eq!(asked, [node(1), node(2), node(1)]);
    vigil.forget(node(1));
    vigil.forget(node(2));
    assert!(vigil.look(at(1700), &sight).nobody_is_better);
}

#[test]
fn a_deadline_comes_before_everything_that_is_found() {
    let mut three = Three::new();
    three.run(100);
    three.vigils[PRIMARY].sync_due(three.now);
    let deadline = three.vigils[PRIMARY].deadline(three.now).expect("a sync is due");
    assert!(deadline <= three.now + STANDSTILL);
    let mut idle = Three::new();
    idle.run(1000);
    let deadline = idle.vigils[1].deadline(idle.now).expect("a report is due");
    assert!(deadline > idle.now && deadline <= idle.now + REPORT_AGAIN);
}

#[test]
fn a_member_that_finds_no_primary_is_sick_if_others_have_one() {
    let mut three = Three::new();
    three.run(100);
    three.deaf = Some(2);
    three.run(499);
    assert_eq!(three.last[2].ailment, None, "too early");
    three.run(2);
    let Findings { ailment, hands_clients_on, .. } = three.last[2];
    assert_eq!(ailment.map(|(ailment, _)| ailment), Some(Ailment::Reception));
    assert!(hands_clients_on);
    three.deaf = None;
    three.run(1);
    assert_eq!(three.last[2].ailment, None);
}

#[test]
fn a_replica_that_stood_still_itself_does_not_blame_its_disk() {
    let mut three = Three::new();
    three.run(100);
    let number = three.vigils[PRIMARY].sync_due(three.now);
    three.now = three.now + Duration::from_millis(5000);
    three.run(100);
    assert_eq!(three.last[PRIMARY].ailment, None);
    three.vigils[PRIMARY].synced(three.now, number);
    three.run(100);
    assert!(!three.last[PRIMARY].on_trial && three.changes.is_empty());
}

#[test]
fn a_server_that_has_diverged_and_waits_for_ops_is_not_sick() {
    let mut three = Three::new();
    three.clocks = [7, 9, 9];
    three.works = [false; 3];
    three.run(2000);
    assert_eq!(three.last[PRIMARY].ailment, None);
    assert!(three.changes.is_empty(), "{:?}", three.changes);
    // With work, the same position is that of a server that stands still.
    three.works = [true; 3];
    three.run(2000);
    assert_eq!(three.changes.len(), 1);
}
