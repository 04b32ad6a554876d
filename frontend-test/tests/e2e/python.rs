//! Python's `ThreadingHTTPServer`, with a thread for each connection, and a count in memory and in
//! a file.

use std::collections::BTreeSet;
use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::http::{Connection, fetch};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::ANSWER;

#[test]
fn each_post_is_counted_once_in_spite_of_a_kill() {
    let machine = Machine::take("python");
    let mut group = Group::start(&machine, program::python(machine.folder()), 3, &[]);
    let posted = post_everywhere(&group, "before");
    let before = counts(&group, 1);
    assert_eq!(before, (posted, posted));
    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).unwrap();
    group.kill(primary);
    assert_eq!(counts(&group, survivor), before, "each post before the kill is counted once");
    post(&group, survivor, "between", 10);
    group.start_replica(primary);
    group.await_serving();
    for id in group.ids() {
        assert_eq!(counts(&group, id), (posted + 10, posted + 10), "replica {id}");
    }
    let more = post_everywhere(&group, "after");
    let total = posted + 10 + more;
    for id in group.ids() {
        assert_eq!(counts(&group, id), (total, total), "replica {id}");
    }
    group.await_settled();
    let files: Vec<Vec<u8>> =
        group.ids().map(|id| group.file(id, "posts.txt").expect("the file")).collect();
    assert!(files.iter().all(|file| *file == files[0]), "the files differ");
    let text = String::from_utf8_lossy(&files[0]);
    let names: BTreeSet<&str> = text.lines().collect();
    assert_eq!(names.len(), total, "each post is in the file once");
}

/// Posts through all replicas at once, and returns the number of posts.
fn post_everywhere(group: &Group, name: &str) -> usize {
    scope(|threads| {
        for id in group.ids() {
            threads.spawn(move || post(group, id, name, 20));
        }
    });
    group.ids().count() * 20
}

fn post(group: &Group, id: u8, name: &str, count: usize) {
    let mut connection = Connection::open(group.address(id), ANSWER).unwrap();
    for number in 1..=count {
        let reply = connection.post("/", &format!("{name} {id} {number}")).unwrap();
        assert_eq!(reply.status, 200);
    }
}

/// Returns the counts in memory and in the file, as a replica's server reports them.
fn counts(group: &Group, id: u8) -> (usize, usize) {
    let reply = fetch(group.address(id), "/", ANSWER).unwrap();
    let text = String::from_utf8(reply.body).unwrap();
    let (memory, file) = text.split_once(' ').unwrap();
    (memory.parse().unwrap(), file.parse().unwrap())
}
