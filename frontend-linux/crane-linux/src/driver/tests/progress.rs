//! Replicas whose disk, server or network stands still while their daemon works.

use crane_core::progress::Ailment;

use super::*;

const PORT: u16 = 80;

/// A group that serves, with a client at each replica.
fn serving() -> Group {
    let mut group = Group::new();
    group.run(1000);
    for place in 0..3 {
        let numbers = [PORT.into(), 0, 0];
        group.say(place, &RingRecord { kind: output::LISTEN, numbers, bytes: &[0; 16] });
        group.input(place, DriverInput::Client(9, connected()));
    }
    group.run(200);
    group
}

impl MemoryHost {
    /// Lets a sync end whose time has come, and begins the next one.
    pub(super) fn sync(&mut self, now: u64) {
        if let Some((synced, _)) = self.syncing.take_if(|(_, until)| *until <= now) {
            self.queue(DriverInput::Durable(synced));
        }
        if self.syncing.is_none()
            && let Some(synced) = self.unsynced.take()
        {
            let until = now.saturating_add(self.sync_takes.saturating_mul(STEP));
            self.syncing = Some((synced, until));
        }
    }

    /// Lets a disk that hung continue, or be as quick as others.
    pub(super) fn heal_disk(&mut self) {
        self.sync_takes = 0;
        let (last, before) = (self.unsynced.take(), self.syncing.take());
        let synced = last.or_else(|| before.map(|(synced, _)| synced));
        if let Some(synced) = synced {
            self.queue(DriverInput::Durable(synced));
        }
    }
}

impl Group {
    /// Sends a byte of the client at a replica every few steps.
    fn write_through(&mut self, place: usize, times: usize) {
        for _ in 0..times {
            self.input(place, DriverInput::Client(9, ClientInput::Sent(vec![b'x'])));
            self.run(10);
        }
    }

    /// Returns the replicas that were primary, one after the other, while this long passes with
    /// writes by the client at a replica.
    fn primaries(&mut self, place: usize, millis: usize) -> Vec<usize> {
        let mut seen = Vec::new();
        for _ in 0..millis / 10 {
            self.write_through(place, 1);
            let is_primary = |place: &usize| self.drivers[*place].is_primary();
            let now: Vec<usize> = (0..3).filter(is_primary).collect();
            if let [primary] = now[..]
                && seen.last() != Some(&primary)
            {
                seen.push(primary);
            }
        }
        seen
    }

    fn slow_disks(&mut self, steps: [u64; 3]) {
        for (place, takes) in steps.into_iter().enumerate() {
            self.drivers[place].host().sync_takes = takes;
        }
    }

    fn faults(&self, place: usize) -> String {
        self.drivers[place].watch.texts(true).join("; ")
    }

    fn events(&self, place: usize) -> String {
        let events = self.drivers[place].events.kept();
        events.map(|told| told.event.to_string()).collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn a_primary_whose_disk_hangs_loses_its_role_and_the_group_goes_on() {
    let mut group = serving();
    let first = group.primary();
    let other = (first + 1) % 3;
    group.drivers[first].host().sync_takes = u64::MAX;
    group.write_through(other, 40);
    assert_eq!(group.primary(), first, "too early");
    group.write_through(other, 30);
    let second = group.primary();
    assert_ne!(second, first);
    assert!(group.faults(first).contains("sync does not return"), "{}", group.faults(first));
    assert!(group.events(first).contains("the role goes to replica"), "{}", group.events(first));
    assert_eq!(group.drivers[first].events.counters.roles_given_up, 1);
    assert_eq!(group.drivers[first].host().ports, [0; 0], "it refuses clients");
    assert_eq!(group.drivers[other].host().ports, [PORT]);
    // More entries than the window of the sick replica has room for.
    group.write_through(other, 400);
    assert_eq!(group.sent(second).len(), 470);
    assert_eq!(group.primary(), second, "the role stays");
    assert_eq!(group.drivers[first].host().resets, [9], "its client is handed on");
    assert!(group.events(first).contains("were reset, so that"), "{}", group.events(first));
    assert_eq!(group.drivers[other].host().resets, [0; 0]);

    let mut retired = Vec::new();
    group.ops(second, |op| {
        retired.extend(matches!(op, Op::Retire { .. }).then(|| format!("{op:?}")))
    });
    let mine = format!("node: {:?}, generation: Generation(1)", node(first));
    assert!(retired.iter().any(|op| op.contains(&mine)), "{mine} in {retired:?}");

    // The disk works again, and the replica is on trial before it takes clients.
    group.drivers[first].host().heal_disk();
    group.run(3000);
    assert_eq!(group.faults(first), "");
    assert_eq!(group.drivers[first].host().ports, [0; 0]);
    group.run(4000);
    assert_eq!(group.drivers[first].host().ports, [PORT]);
    assert_eq!(group.sent(first).len(), 470);
    assert_eq!(group.primary(), second);
}

#[test]
fn a_backup_whose_disk_hangs_hands_its_clients_on_once_its_server_waits() {
    let mut group = serving();
    let primary = group.primary();
    let (sick, other) = ((primary + 1) % 3, (primary + 2) % 3);
    group.drivers[sick].host().sync_takes = u64::MAX;
    group.write_through(other, 100);
    assert_eq!(group.drivers[sick].host().ports, [0; 0], "it refuses clients");
    assert_eq!(group.drivers[sick].host().resets, [0; 0], "its server moves");
    group.write_through(other, 300);
    assert_eq!(group.drivers[sick].host().resets, [9]);
    assert_eq!(group.primary(), primary);
    assert_eq!(group.sent(other).len(), 400);
}

/// The proof needs ops that the disk has, and does not end.
#[test]
fn a_replica_whose_disk_hangs_hands_its_clients_on_although_its_server_proves() {
    let mut group = serving();
    let primary = group.primary();
    let (sick, other) = ((primary + 1) % 3, (primary + 2) % 3);
    held::hold(&mut group, sick);
    group.drivers[sick].host().sync_takes = u64::MAX;
    group.write_through(other, 500);
    assert!(group.drivers[sick].is_held());
    assert_eq!(group.drivers[sick].host().resets, [9]);
    assert_eq!(group.sent(other).len(), 500);
}

#[test]
fn a_primary_whose_server_hangs_loses_its_role() {
    let mut group = serving();
    let first = group.primary();
    let other = (first + 1) % 3;
    let slot = Slot(group.drivers[first].host().admitted());
    group.drivers[first].host().stands_at = Some(slot);
    group.write_through(other, 40);
    assert_eq!(group.primary(), first, "too early");
    group.write_through(other, 60);
    let second = group.primary();
    assert_ne!(second, first);
    assert!(group.faults(first).contains("kill -CONT"), "{}", group.faults(first));
    assert_eq!(group.drivers[first].host().resets, [9], "its client is handed on");
    group.drivers[first].host().stands_at = None;
    group.run(7000);
    assert_eq!(group.faults(first), "");
    assert_eq!(group.drivers[first].host().ports, [PORT]);
    assert_eq!(group.sent(first), group.sent(second));
}

#[test]
fn a_server_that_computes_keeps_the_role_for_its_replica() {
    let mut group = serving();
    let first = group.primary();
    let slot = Slot(group.drivers[first].host().admitted());
    group.drivers[first].host().stands_at = Some(slot);
    group.drivers[first].host().computes = true;
    assert_eq!(group.primaries((first + 1) % 3, 10_000), [first]);
    assert_eq!(group.drivers[first].host().resets, [0; 0]);
}

#[test]
fn slow_disks_everywhere_move_no_role_and_refuse_nobody() {
    for takes in [[2000; 3], [2000, 1900, 2100], [700, 600, 500]] {
        let mut group = serving();
        let first = group.primary();
        group.slow_disks(takes);
        let primaries = group.primaries((first + 1) % 3, 20_000);
        assert!(primaries.len() <= 2, "{takes:?}: {primaries:?}");
        let last = *primaries.last().expect("a primary");
        let refused = (0..3).filter(|place| group.drivers[*place].host().ports.is_empty()).count();
        assert!(refused < 3, "{takes:?}: nobody takes clients");
        let ailment = group.drivers[last].health.found.ailment.map(|(ailment, _)| ailment);
        if ailment == Some(Ailment::Disk) {
            let faults = group.faults(last);
            assert!(faults.contains("no other replica is known to do better"), "{faults}");
        }
    }
}

#[test]
fn a_primary_is_elected_although_all_disks_are_slow() {
    let mut group = serving();
    group.slow_disks([2000; 3]);
    group.write_through(0, 300);
    for place in 0..3 {
        group.drivers[place].host().mute_to = NodeSet::first(3);
    }
    group.run(1000);
    assert!((0..3).all(|place| !group.drivers[place].is_primary()), "a primary has no quorum");
    for place in 0..3 {
        group.drivers[place].host().mute_to = NodeSet::EMPTY;
    }
    group.run(60_000);
    let primary = group.primary();
    group.run(10_000);
    assert_eq!(group.primary(), primary);
}

#[test]
fn one_slow_disk_costs_the_role_once() {
    for place in 0..3 {
        let mut group = serving();
        let first = group.primary();
        group.slow_disks([0, 1, 2].map(|at| if at == place { 2000 } else { 1 }));
        let primaries = group.primaries((place + 1) % 3, 20_000);
        assert_eq!(primaries.len(), if first == place { 2 } else { 1 }, "{primaries:?}");
    }
}

#[test]
fn a_replica_that_hears_nothing_of_its_group_hands_its_clients_on() {
    let mut group = serving();
    let primary = group.primary();
    let (deaf, other) = ((primary + 1) % 3, (primary + 2) % 3);
    let muted = NodeSet::EMPTY.with(node(deaf));
    group.drivers[primary].host().mute_to = muted;
    group.write_through(other, 200);
    assert_eq!(group.drivers[deaf].host().resets, [9]);
    assert!(group.events(deaf).contains("in both directions"), "{}", group.events(deaf));
    assert_eq!(group.drivers[deaf].host().ports, [0; 0]);
    assert_eq!(group.sent(other).len(), 200);
    group.drivers[primary].host().mute_to = NodeSet::EMPTY;
    group.write_through(other, 1000);
    assert_eq!(group.drivers[deaf].host().ports, [PORT]);
    assert_eq!(group.sent(deaf), group.sent(other));
}
