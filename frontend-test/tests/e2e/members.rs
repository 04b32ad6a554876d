//! Changes of members, witnesses, and a preferred primary.

use std::thread;

use crane_test::e2e::binary::told;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, SOON, START, eventually};

/// Writes a value through one replica.
#[track_caller]
fn set(group: &Group, id: u8, value: &str) {
    let open = || Connection::open(group.address(id), ANSWER);
    let mut connection = eventually("a connection", START, open);
    let reply = connection.call(&[b"SET", b"key", value.as_bytes()]).expect("an answer");
    assert_eq!(reply, Reply::Simple("OK".to_owned()));
}

/// Asserts that the value can be read through each member.
#[track_caller]
fn all_have(group: &Group, value: &str) {
    for id in group.ids() {
        let open = || Connection::open(group.address(id), ANSWER);
        let mut connection = eventually("a connection", START, open);
        let reply = connection.call(&[b"GET", b"key"]).expect("an answer");
        assert_eq!(reply, Reply::Bulk(Some(value.as_bytes().to_vec())), "replica {id}");
    }
}

/// Returns the kind of a member, as `crane-linux member list` prints it.
fn listed(group: &Group, id: u8) -> Result<String, String> {
    let list = group.member(&["list"])?;
    let address = group.peer_address(id).to_string();
    let line = list.lines().find(|line| line.contains(&address));
    Ok(line.unwrap_or_default().split_whitespace().nth(2).unwrap_or_default().to_owned())
}

fn await_listed(group: &Group, id: u8, kind: &str) {
    eventually(&format!("replica {id} as {kind:?}"), SOON, || match listed(group, id)? {
        found if found == kind => Ok(()),
        other => Err(format!("the list says {other:?}")),
    });
}

#[test]
fn members_are_added_replaced_and_removed_while_the_group_serves() {
    let machine = Machine::take("members");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    set(&group, 1, "one");
    let address = |group: &Group, id| group.peer_address(id).to_string();

    // The order comes before the replica: the command makes a learner and waits for it.
    let adding = group.member_later(&["add", &address(&group, 4)]);
    let adding = thread::spawn(adding);
    await_listed(&group, 4, "learner");
    group.start_newcomer(4);
    adding.join().expect("no panic").expect("replica 4 is added");
    await_listed(&group, 4, "voter");
    group.now_has(&[1, 2, 3, 4]);
    group.await_serving();
    set(&group, 4, "two");
    all_have(&group, "two");

    // The replica comes before the order, and waits for it. The order removes the primary.
    let primary = group.primary();
    group.replace(primary, 5);
    group.await_serving();
    set(&group, 5, "three");
    all_have(&group, "three");

    // A removed replica cannot rejoin by itself, not even with its old data.
    let output = group.refused(primary);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("has been removed from the group"), "{text}");

    // A second removal leaves three members. They serve without one backup.
    group.member(&["remove", &address(&group, 5)]).expect("replica 5 is removed");
    group.await_removed(5);
    let gone = group.ids().find(|id| *id != group.primary()).expect("a backup");
    group.kill(gone);
    set(&group, group.primary(), "four");
    // A replica that was added later returns with the command line of its first start.
    group.start_replica(gone);
    group.await_serving();
    all_have(&group, "four");
    group.stop();
    group.start_all();
    all_have(&group, "four");
    group.await_settled();
}

/// The word of the others ends no replica: it gets the part of the log that it lacks, which says
/// that it has been removed. Where its number has been given away, it stays, and says so.
#[test]
fn a_replica_that_was_removed_while_it_was_down_learns_of_it_by_the_log() {
    for is_taken in [false, true] {
        let machine = Machine::take("away");
        let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
        set(&group, 1, "one");
        group.await_settled();
        // To the one with the lowest number, the others connect.
        let away = 1;
        if group.primary() == away {
            let words = ["primary", "move", "--to", "2"].map(String::from);
            told(&[&words[..], &group.reached()].concat(), &group.program().base).expect("a move");
            eventually("the role", SOON, || match group.status()?.primary()? {
                id if id != away => Ok(()),
                id => Err(format!("the primary is {id}")),
            });
        }
        let address = group.peer_address(away).to_string();
        group.kill(away);
        group.member(&["remove", &address]).expect("it is removed");
        let left: Vec<_> = group.ids().filter(|id| *id != away).collect();
        group.now_has(&left);
        set(&group, group.primary(), "two");
        if is_taken {
            let other = group.peer_address(4).to_string();
            group.start_newcomer(4);
            group.member(&["add", &other]).expect("replica 4 is added");
            group.start_replica(away);
            eventually("the refusal", START, || match group.log(away) {
                log if log.contains("refuses this replica") => Ok(()),
                log => Err(log),
            });
            group.kill(away);
            continue;
        }
        for _ in 0..2 {
            let output = group.refused(away);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("has been removed from the group"), "{text}");
            assert_eq!(output.status.code(), Some(1), "{text}");
        }
    }
}

#[test]
fn orders_that_cannot_be_carried_out_are_refused_with_a_reason() {
    let machine = Machine::take("orders");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 2, &[]);
    let why = |words: &[&str]| group.member(words).expect_err("the order cannot be carried out");
    assert!(why(&["remove", "7"]).contains("not a member"));
    assert!(why(&["add", "no-such-host.invalid"]).contains("no-such-host.invalid"));
    assert!(why(&["replace", "1", &group.peer_address(1).to_string()]).contains("itself"));
    let known = group.peer_address(2).to_string();
    assert!(why(&["add", &known, "--witness"]).contains("of the other kind"));
    // Without the replica that is down, the group has no quorum.
    group.kill(2);
    let refused = group.member(&["list"]).expect("the list needs no quorum");
    assert!(refused.contains("down"), "{refused}");
    group.start_replica(2);
    group.await_serving();
    group.await_settled();
}

#[test]
fn a_witness_votes_runs_no_server_and_does_not_stay_primary() {
    let machine = Machine::take("witness");
    let witness = machine.address(3).to_string();
    let program = program::redis(machine.folder());
    let mut group = Group::start(&machine, program, 3, &["--witness", &witness]);
    set(&group, 1, "one");
    let status = group.status().expect("a status");
    let seen = status.replica(3);
    assert_eq!((&*seen.member, seen.server_pid), ("witness", None));
    assert_ne!(group.primary(), 3);

    // With the witness's vote, the other server serves alone.
    let primary = group.primary();
    group.kill(primary);
    let other = 3 - primary;
    set(&group, other, "two");
    eventually("a primary with a server", SOON, || match group.status()?.primary()? {
        3 => Err("the primary is the witness".to_owned()),
        _ => Ok(()),
    });
    group.start_replica(primary);
    group.await_serving();
    group.await_settled();

    // Another witness replaces it.
    group.replace(3, 4);
    await_listed(&group, 4, "witness");
    group.kill(primary);
    set(&group, other, "three");
    group.start_replica(primary);
    group.await_serving();
    group.await_settled();

    // A witness need not keep committed entries; a replica with a server must.
    let committed = group.status().expect("a status").committed();
    group.stop_replica(4);
    cut(&group, 4, committed + 1_000_000).expect_err("entries that are not committed stay");
    let told = cut(&group, 4, committed - 5).expect("the log of a witness is cut");
    assert!(told.contains("starts behind slot"), "{told}");
    let why = cut(&group, primary, committed - 5).expect_err("a running replica uses its log");
    assert!(why.contains("in use"), "{why}");
    group.stop_replica(primary);
    let why = cut(&group, primary, committed - 5).expect_err("its server starts from slot 1");
    assert!(why.contains("runs a server"), "{why}");
    // The other server needs the vote of the witness, and the entries that the witness has kept.
    group.start_replica(4);
    set(&group, other, "four");
    group.start_replica(primary);
    group.await_serving();
    group.await_settled();
}

/// Runs `crane-linux log cut`.
fn cut(group: &Group, id: u8, behind: u64) -> Result<String, String> {
    let data = group.data(id).display().to_string();
    let line = ["log".into(), "cut".into(), data, "--behind".into(), behind.to_string()];
    told(&[&line[..], &group.known()].concat(), &group.program().base)
}

#[test]
fn a_replica_of_high_priority_takes_the_role_when_it_is_in_step() {
    let machine = Machine::take("priority");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let preferred = group.ids().find(|id| *id != group.primary()).expect("a backup");
    group.stop_replica(preferred);
    group.options_mut().extend(["--priority".into(), "high".into()]);
    group.start_replica(preferred);
    eventually("the preferred primary", START, || match group.status()?.primary()? {
        id if id == preferred => Ok(()),
        id => Err(format!("the primary is {id}")),
    });
    set(&group, preferred, "one");
    all_have(&group, "one");
    group.await_settled();
}
