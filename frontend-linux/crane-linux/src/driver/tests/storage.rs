//! Tests of storage that goes back, of daemons with one number, and of clocks that are off.

use crate::report::ClockMessage;

use super::*;
use crate::driver::rooms::ReplicaProgress;

#[test]
fn the_daemon_that_began_later_is_heard_and_the_earlier_one_stops() {
    let mut group = Group::new();
    group.run(1000);
    let (moment, driver) = (group.moment(), &mut group.drivers[0]);
    let own = driver.hello.clone();
    let address = own.roster.get(node(1)).expect("a member").address.clone();
    let hello = |generation| Hello { generation, node: 2, address: address.clone(), ..own.clone() };
    let stranger = Hello { generation: 99, ..own.clone() };
    assert_eq!(driver.superseded_by(&Hello { node: 2, ..stranger }), None, "not of this name");
    assert_eq!(driver.superseded_by(&hello(9)), None);
    assert_eq!(driver.superseded_by(&hello(5)), Some(Generation(9)));
    assert_eq!(driver.superseded_by(&hello(9)), None, "its own link again");
    assert_eq!(driver.superseded_by(&hello(12)), None);
    assert_eq!(driver.superseded_by(&hello(9)), Some(Generation(12)));
    assert_eq!(driver.superseded_by(&hello(u64::MAX / 2)), None);
    assert_eq!(driver.superseded_by(&hello(12)), None, "a claim shuts nobody out");

    let begun = Generation(driver.hello.generation);
    driver.handle(moment, DriverInput::Fenced(node(1), begun));
    assert_eq!(driver.stop(), None, "it is the later one");
    let later = Generation(begun.0 + 1);
    driver.handle(moment, DriverInput::Fenced(node(1), later));
    driver.handle(moment, DriverInput::Fenced(node(1), later));
    driver.handle(moment, DriverInput::Fenced(node(2), Generation(u64::MAX)));
    assert_eq!(driver.stop(), None, "only one of the two others says so");
    driver.handle(moment, DriverInput::Fenced(node(2), later));
    let stop = driver.stop().expect("the earlier one stops");
    assert_eq!((stop.status, stop.again), (1, false));
    assert!(stop.why.contains("replica 3 is linked with a later daemon of replica 1"));
}

#[test]
fn a_daemon_that_may_not_vote_yet_begins_above_the_generation_that_is_known() {
    for joined in [false, true] {
        let mut group = Group::new();
        let (moment, driver) = (group.moment(), &mut group.drivers[0]);
        driver.hello.joined = joined;
        driver.handle(moment, DriverInput::Fenced(node(1), Generation(1 << 30)));
        assert_eq!(driver.stop(), None, "the generation is not kept yet");
        let kept = Generation(driver.meta.generation);
        assert!(kept > Generation(1 << 30));
        driver.handle(moment, DriverInput::MetaKept(kept));
        let stop = driver.stop().expect("it begins again");
        assert!(stop.again, "{}", stop.why);
    }
}

#[test]
fn a_replica_goes_above_the_generation_that_the_log_knows_of_it() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let place = (primary + 1) % 3;
    // The file that kept the generation was lost, and the host's clock set back.
    let known = Generation(1 << 30);
    let op = Op::Retire { node: node(place), generation: known };
    assert!(group.drivers[primary].propose_op(op));
    group.run(100);
    let driver = &group.drivers[place];
    assert!(driver.clients.generation() > known, "{:?}", driver.clients.generation());
    group.input(place, DriverInput::Client(1, connected()));
    group.run(100);
    assert_eq!(group.connects(place).len(), 1);
}

/// A new member begins below the incarnations of which the old one knew.
#[test]
fn a_new_member_is_heard_whatever_generation_its_number_had() {
    let mut group = Group::new();
    group.run(1000);
    let (primary, other) = (group.primary(), (group.primary() + 1) % 3);
    group.may_stop = vec![other];
    let hello = |driver: &Driver<MemoryHost>, address: &str, generation| Hello {
        generation,
        node: node(other).number(),
        address: address.into(),
        ..driver.hello.clone()
    };
    let old = group.drivers[primary].roster().get(node(other)).expect("a member").address.clone();
    let driver = &mut group.drivers[primary];
    let begun = hello(driver, &old, 1 << 50);
    assert_eq!(driver.superseded_by(&begun), None);
    let earlier = hello(driver, &old, 1 << 40);
    assert_eq!(driver.superseded_by(&earlier), Some(Generation(1 << 50)));
    assert!(driver.order_remove(node(other).number(), false).is_ok());
    group.run(1000);
    let driver = &mut group.drivers[primary];
    assert!(driver.order_add("d:1", false).is_ok());
    group.run(1000);
    let driver = &mut group.drivers[primary];
    let new = hello(driver, "d:1", 1 << 40);
    assert_eq!(driver.superseded_by(&new), None);
}

#[test]
fn a_voter_is_removed_only_if_the_others_are_a_quorum() {
    let (mut group, one, other) = Group::with_backups();
    let primary = group.primary();
    group.cut_off(one);
    group.run(10);
    let driver = &mut group.drivers[primary];
    let refused = members::outcome(driver.order_remove(node(other).number(), false));
    let why = refused["error"].as_str().expect("a refusal");
    assert!(why.contains("of the 2 voters that would be left, 1 answer"), "{why}");
    assert!(driver.order_remove(node(one).number(), false).is_ok());
}

#[test]
fn the_last_server_with_a_state_is_not_removed() {
    let (mut group, one, other) = Group::with_backups();
    group.may_stop = vec![one, other];
    let primary = group.primary();
    let driver = &mut group.drivers[primary];
    driver.need_checkpoint(Slot(1));
    let lacks = ReplicaProgress { needed: Slot(1), ..ReplicaProgress::default() };
    driver.on_progress(node(one), lacks);
    let refused = members::outcome(driver.order_remove(node(other).number(), false));
    assert_eq!(refused["retry"], true, "{refused}");
    let why = refused["error"].as_str().expect("a refusal");
    assert!(why.contains("the server could not be built again without it"), "{why}");
    assert!(driver.order_remove(node(one).number(), false).is_ok(), "one that has none");
}

/// Cuts a replica's log behind all that it has observed, and returns that slot.
fn cut_log(driver: &mut Driver<MemoryHost>) -> Slot {
    let observed = driver.script.observed;
    let snapshot = driver.script.sum_at(observed).expect("a sum").snapshot;
    let front = driver.log.front_behind(&snapshot);
    driver.log.start_behind(&front);
    observed
}

#[test]
fn the_last_member_with_a_proved_checkpoint_is_not_removed_once_the_log_is_cut() {
    let (mut group, one, other) = Group::with_backups();
    let primary = group.primary();
    let driver = &mut group.drivers[primary];
    let front = cut_log(driver);
    let has = ReplicaProgress { proved: front, ..ReplicaProgress::default() };
    driver.on_progress(node(one), has);
    let refused = members::outcome(driver.order_remove(node(one).number(), false));
    let why = refused["error"].as_str().expect("a refusal");
    assert!(why.contains("none has a proved checkpoint"), "{why}");
    // It is not lost: it answers.
    let refused = members::outcome(driver.order_remove(node(one).number(), true));
    assert!(refused["error"].is_string(), "{refused}");
    group.cut_off(one);
    group.run(10);
    let driver = &mut group.drivers[primary];
    let refused = members::outcome(driver.order_remove(node(one).number(), false));
    assert!(refused["error"].is_string(), "one that may come back: {refused}");
    driver.on_progress(node(other), has);
    assert!(driver.order_remove(node(one).number(), false).is_ok(), "another one has it");
}

#[test]
fn a_member_whose_data_is_lost_is_removed_although_nobody_has_a_checkpoint() {
    let (mut group, one, _) = Group::with_backups();
    let primary = group.primary();
    cut_log(&mut group.drivers[primary]);
    group.cut_off(one);
    group.run(10);
    let driver = &mut group.drivers[primary];
    let refused = members::outcome(driver.order_remove(node(one).number(), false));
    assert!(refused["error"].is_string(), "{refused}");
    assert!(driver.order_remove(node(one).number(), true).is_ok());
}

#[test]
fn no_voter_is_left_alone_beside_members_that_wait_to_be_promoted() {
    let (mut group, one, other) = Group::with_backups();
    let primary = group.primary();
    group.may_stop = vec![one, other];
    let driver = &mut group.drivers[primary];
    assert!(driver.order_remove(node(one).number(), false).is_ok());
    group.run(100);
    let driver = &mut group.drivers[primary];
    assert!(driver.order_add("d:1", false).is_ok());
    group.run(100);
    let driver = &mut group.drivers[primary];
    let refused = members::outcome(driver.order_remove(node(other).number(), false));
    let why = refused["error"].as_str().expect("a refusal");
    assert!(why.contains("promote replica") && why.contains("first"), "{why}");
    // Without one who waits, the operator has what was asked for.
    let added = driver.node.members().learners.iter().next().expect("a learner");
    assert!(driver.order_remove(added.number(), false).is_ok());
    group.run(100);
    let driver = &mut group.drivers[primary];
    assert!(driver.order_remove(node(other).number(), false).is_ok());
}

#[test]
fn a_clock_that_is_off_is_named_until_it_is_right() {
    let mut group = Group::new();
    group.run(2500);
    assert!(group.drivers[0].watch.texts(false).is_empty());
    let moment = group.moment();
    let (at, wall) = (moment.since_start, moment.unix + 86_400_000_000_000);
    let answer = ClockMessage::Answer { at, wall };
    group.drivers[0].handle(moment, DriverInput::Clock(node(1), answer));
    let mut named = Vec::new();
    for _ in 0..1100 {
        group.run(1);
        named.extend(group.drivers[0].watch.texts(false).first().map(|text| text.to_string()));
    }
    let text = named.first().expect("a note");
    assert!(
        text.contains("the clock of replica 2 (") && text.contains("86400.0 s ahead"),
        "{text}"
    );
    group.run(5000);
    assert!(group.drivers[0].watch.texts(false).is_empty(), "it has answered again");
}

#[test]
fn repeated_ops_do_not_enter_the_log() {
    let mut group = Group::new();
    group.run(1000);
    let primary = group.primary();
    let entry = (primary + 1) % 3;
    group.input(entry, DriverInput::Client(1, connected()));
    group.input(entry, DriverInput::Client(1, ClientInput::Sent(b"once".to_vec())));
    // It forwards them again before the primary has committed any.
    for _ in 0..3 {
        group.step(entry);
        let now = group.moment().instant();
        group.drivers[entry].clients.start_over(now);
    }
    group.run(200);
    let dropped = group.drivers[primary].events.counters.ops_dropped;
    assert!(dropped > 0, "nothing was repeated");
    assert_eq!(group.sent(primary), b"once");
    assert_eq!(group.connects(primary).len(), 1);
}
