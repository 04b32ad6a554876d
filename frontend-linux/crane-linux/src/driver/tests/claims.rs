//! Claims of other members about the members: heard, and not obeyed.

use super::*;
use crate::roster::RosterMember;
use crane_core::paxos::{Ballot, Message};

/// Returns the hello of a member whose list of members is as of the far future.
fn liar(group: &Group, place: usize, places: &[(u8, &str)]) -> Hello {
    let mut hello = group.drivers[place].hello.clone();
    let members = Members {
        voters: places.iter().map(|(number, _)| NodeId::new(*number).unwrap()).collect(),
        ..Members::default()
    };
    assert!(hello.roster.keep(Slot((1 << 62) - 10), &members));
    for (at, (number, address)) in places.iter().enumerate() {
        let node = NodeId::new(*number).unwrap();
        let member = RosterMember { node, address: (*address).into(), witness: false };
        hello.roster.record(Slot((1 << 62) + at as u64), member);
    }
    hello
}

#[test]
fn a_list_of_the_far_future_stops_no_replica_and_is_not_kept() {
    let mut group = Group::new();
    group.run(1000);
    let before = (group.drivers[2].roster(), group.drivers[2].meta.clone());
    assert!(before.1.group.is_some(), "the group exists");
    let hello = liar(&group, 0, &[(1, "a:1"), (2, "x:1")]);
    let metas = group.drivers[2].host().metas;
    group.input(2, DriverInput::LinkUp(Box::new(hello.clone())));
    group.input(2, DriverInput::Roster(node(0), Box::new(hello.roster)));
    group.run(500);
    assert_eq!(group.drivers[2].stop(), None);
    assert_eq!((group.drivers[2].roster(), group.drivers[2].meta.clone()), before);
    assert_eq!(group.drivers[2].host().metas, metas, "a claim was kept");
    let dialed = group.drivers[2].host().dialed.clone();
    assert!(dialed.contains(&(node(1), "x:1".into())), "{dialed:?}");
}

#[test]
fn a_replica_whose_number_is_given_away_connects_to_all_others_by_itself() {
    let mut group = Group::new();
    group.run(1000);
    let hello = liar(&group, 1, &[(1, "x:1"), (2, "b:1"), (3, "c:1")]);
    group.input(0, DriverInput::LinkUp(Box::new(hello)));
    group.run(5);
    let dialed = group.drivers[0].host().dialed.clone();
    for (place, address) in [(1, "b:1"), (2, "c:1")] {
        assert!(dialed.contains(&(node(place), address.into())), "{dialed:?}");
    }
}

#[test]
fn a_replica_of_a_group_stops_for_no_refusal_and_status_fails() {
    let mut group = Group::new();
    group.run(1000);
    let refused = |by: &str| DriverInput::Refused(by.into(), "its base differs".into());
    group.input(2, refused("x:1"));
    group.run(5);
    assert!(group.drivers[2].watch.texts(true).is_empty(), "a stranger");
    for by in ["a:1", "b:1"] {
        group.input(2, refused(by));
        group.run(5);
        assert_eq!(group.drivers[2].stop(), None, "{by}");
        let faults = group.drivers[2].watch.texts(true);
        assert!(faults[0].starts_with("a:1 refuses this replica"), "{faults:?}");
    }
    for (place, address) in [(0, "a:1"), (1, "b:1")] {
        let hello = Hello { address: address.into(), ..group.drivers[place].hello.clone() };
        group.input(2, DriverInput::LinkUp(Box::new(hello)));
    }
    group.run(5);
    assert!(group.drivers[2].watch.texts(true).is_empty(), "both are linked");
}

#[test]
fn a_replica_without_a_group_stops_at_the_first_refusal_of_a_founder() {
    let mut group = Group::new();
    let refused = |by: &str| DriverInput::Refused(by.into(), "its base differs".into());
    group.input(2, refused("x:1"));
    group.run(5);
    assert_eq!(group.drivers[2].stop(), None);
    group.may_stop = vec![2];
    group.input(2, refused("b:1"));
    group.run(5);
    assert!(group.drivers[2].stop().is_some());
}

#[test]
fn nobody_votes_for_another() {
    let mut group = Group::new();
    group.run(1000);
    let hello = Hello { address: "x:1".into(), ..liar(&group, 0, &[(1, "x:1"), (3, "c:1")]) };
    let driver = &mut group.drivers[2];
    assert!(!driver.takes_link(&hello), "it takes the place of the member");
    driver.on_link_down(node(0));
    assert!(driver.takes_link(&hello), "it may have what this log lacks");
    driver.on_link_up(&hello);
    let ballot = Ballot::ZERO;
    let (promised, committed) = (ballot, Slot::NONE);
    let vote = Message::PreVoteReply { ballot, granted: true, promised, committed };
    assert!(!driver.hears(node(0), &vote));
    assert!(driver.hears(node(0), &Message::Commit { ballot, committed }));
    assert!(driver.hears(node(1), &vote), "another member's vote");
    // Once the log gives it the number, it is heard, over a new link.
    let member = RosterMember { node: node(0), address: "x:1".into(), witness: false };
    driver.on_committed_member(Slot(1 << 40), member);
    assert_eq!(driver.host().closed, [node(0)]);
    assert!(driver.hears(node(0), &vote));
}
