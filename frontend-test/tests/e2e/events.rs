//! The events that replicas report: elections with their votes, stalls with their causes.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply, command};
use crane_test::e2e::wait::{ANSWER, SOON, START, eventually};
use serde_json::Value;

/// Waits until a replica has reported an event with these fields.
#[track_caller]
fn await_event(group: &Group, id: u8, fields: &[(&str, Value)]) {
    eventually(&format!("an event {fields:?} of replica {id}"), SOON, || {
        let status = group.status()?;
        let events = &status.replica(id).events;
        let fits =
            |event: &Value| fields.iter().all(|(name, value)| event.get(name) == Some(value));
        if events.iter().any(fits) { Ok(()) } else { Err(format!("{events:?}")) }
    });
}

#[test]
fn an_election_is_reported_with_its_reason_and_its_votes() {
    let machine = Machine::take("events");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let first = group.primary();
    group.kill(first);
    let second = group.primary();
    let other = group.ids().find(|id| ![first, second].contains(id)).expect("three replicas");
    let status = group.status().expect("a status");
    let ballot = status.replica(second).ballot.clone();
    await_event(&group, second, &[("event", "link_down".into()), ("node", first.into())]);
    await_event(&group, second, &[("role", "candidate".into())]);
    await_event(&group, second, &[("event", "voted_for".into()), ("by", other.into())]);
    await_event(
        &group,
        second,
        &[
            ("event", "role".into()),
            ("role", "primary".into()),
            ("ballot", ballot.clone()),
            ("why", "a quorum voted for it".into()),
        ],
    );
    await_event(&group, other, &[("event", "promised".into()), ("ballot", ballot)]);
    let count = |id: u8, name: &str| status.replica(id).counters[name].as_u64();
    assert!(count(second, "elections_won") >= Some(1), "{:?}", status.replica(second).counters);
    assert!(count(other, "promises") >= Some(1), "{:?}", status.replica(other).counters);
    group.start_replica(first);
    group.await_serving();
    group.await_settled();
}

#[test]
fn a_stall_is_reported_with_its_cause_and_its_end() {
    let machine = Machine::take("stall");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let primary = group.primary();
    let others: Vec<u8> = group.ids().filter(|id| *id != primary).collect();
    let open = || Connection::open(group.address(primary), ANSWER);
    let mut client = eventually("a connection", START, open);
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    group.kill(others[0]);
    group.freeze(others[1], true);
    client.stream().write_all(&command(&[b"SET", b"key", b"value"])).expect("room to send");
    // The primary waits for votes, and steps down after a time without a quorum. On a busy machine
    // it may step down before it reports the first cause.
    let stalled = eventually("a stall with its cause", SOON, || {
        let status = group.status()?;
        let events = &status.replica(primary).events;
        let causes = ["votes", "no_primary"];
        let stall = events.iter().find(|event| {
            event["at_ms"].as_u64() >= Some(since)
                && event["event"] == "stalled"
                && causes.iter().any(|cause| event["cause"] == *cause)
        });
        stall.cloned().ok_or_else(|| format!("{events:?}"))
    });
    let waits_for = stalled["nodes"].as_array().expect("the nodes that the primary waits for");
    assert!(waits_for.contains(&others[0].into()), "{stalled}");
    group.freeze(others[1], false);
    assert_eq!(client.reply().expect("an answer at last"), Reply::Simple("OK".to_owned()));
    await_event(&group, primary, &[("event", "resumed".into())]);
    group.start_replica(others[0]);
    group.await_serving();
    drop(client);
    group.await_settled();
}
