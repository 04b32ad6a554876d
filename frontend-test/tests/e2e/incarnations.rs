//! Restarts of a server on all replicas: by order, and after a crash by one request.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, Raise, START, eventually};

/// The time in which a group must serve again after a crash.
const SERVES_WITHIN: Duration = Duration::from_secs(2);

/// An answer of `poison.c`: the requests in its file, those of its process, and random bytes.
type Answer = (u64, u64, String);

fn ask(stream: &TcpStream, line: &str) -> io::Result<Answer> {
    stream.set_read_timeout(Some(ANSWER))?;
    let mut writing = stream;
    writing.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let words: Vec<&str> = answer.split_whitespace().collect();
    match words[..] {
        [file, taken, drawn] => {
            let number = |word: &str| word.parse().map_err(io::Error::other);
            Ok((number(file)?, number(taken)?, drawn.to_owned()))
        }
        _ => Err(io::Error::other(format!("the answer is {answer:?}"))),
    }
}

/// Asks by a new connection through one replica, until the group serves there.
fn ask_anew(group: &Group, id: u8, line: &str) -> Answer {
    eventually(&format!("an answer of replica {id}"), START, || {
        ask(&TcpStream::connect(group.address(id))?, line)
    })
}

fn crash(group: &Group, id: u8) {
    let stream = TcpStream::connect(group.address(id)).unwrap();
    assert!(ask(&stream, "POISON").is_err(), "the server has answered the request that ends it");
}

/// Returns the incarnation of each server.
pub(crate) fn incarnations(group: &Group) -> Vec<Option<u64>> {
    group.status().unwrap().servers().map(|replica| replica.incarnation).collect()
}

/// Returns the requests in the server's file, which are the same on all replicas.
fn requests(group: &Group) -> Vec<String> {
    let texts: Vec<String> = group
        .ids()
        .map(|id| String::from_utf8(group.file(id, "requests").unwrap()).unwrap())
        .collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "the files differ");
    texts[0].lines().map(str::to_owned).collect()
}

#[test]
fn a_request_that_crashes_all_servers_does_not_stop_the_service() {
    let machine = Machine::take("poison");
    let program = program::compiled(machine.folder(), "poison", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    let kept: Vec<TcpStream> =
        group.ids().map(|id| TcpStream::connect(group.address(id)).unwrap()).collect();
    let mut count = 0;
    let mut drawn = Vec::new();
    for (number, stream) in kept.iter().enumerate() {
        count += 1;
        let (in_file, taken, random) = ask(stream, &format!("before {number}")).unwrap();
        assert_eq!((in_file, taken), (count, count));
        drawn.push(random);
    }
    assert!(drawn.iter().all(|random| *random == drawn[0]));

    let poisoned = Instant::now();
    crash(&group, 1);
    let mut after = Vec::new();
    for id in group.ids() {
        count += 1;
        let (in_file, taken, random) = ask_anew(&group, id, &format!("after {id}"));
        // Its file is the one that the crashed server left; its memory and random bytes are new.
        assert_eq!((in_file, taken), (count, count - 3));
        assert_ne!(random, drawn[0]);
        after.push(random);
    }
    let paused = poisoned.elapsed();
    println!("three replicas serve {} ms after the request that crashed them", paused.as_millis());
    assert!(after.iter().all(|random| *random == after[0]));
    assert!(paused < SERVES_WITHIN, "the group serves only after {paused:?}");
    for stream in &kept {
        assert!(ask(stream, "late").is_err(), "a connection has outlived its incarnation");
    }
    let status = group.await_settled();
    assert_eq!(incarnations(&group), [Some(2); 3], "{}", status.brief());
    let lines = requests(&group);
    assert!(lines.len() == 6 && !lines.iter().any(|line| line == "POISON"), "{lines:?}");

    // A replica that has lost everything replays both incarnations, the crash included.
    let lost = group.ids().find(|id| *id != group.primary()).unwrap();
    group.kill(lost);
    fs::remove_dir_all(group.data(lost)).unwrap();
    group.start_replica(lost);
    group.await_serving();
    count += 1;
    let (in_file, taken, random) = ask_anew(&group, lost, "returned");
    assert_eq!((in_file, taken, random), (count, count - 3, after[0].clone()));
    group.await_settled();
    assert_eq!(incarnations(&group), [Some(2); 3]);
    assert_eq!(requests(&group).len(), 7);
}

#[test]
fn the_third_crash_within_a_minute_stops_the_group_until_it_is_started_again() {
    let machine = Machine::take("poisoned");
    let program = program::compiled(machine.folder(), "poison", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    for round in 1..=3 {
        ask_anew(&group, 1, &format!("round {round}"));
        crash(&group, 1);
    }
    for id in group.ids() {
        let status = group.await_exit(id);
        let log = group.log(id);
        assert_eq!(status.code(), Some(1), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("has crashed 3 times within a minute"), "{last}");
    }
    group.start_all();
    let (in_file, taken, _) = ask_anew(&group, 2, "again");
    assert_eq!((in_file, taken), (4, 1));
    group.await_settled();
    assert_eq!(incarnations(&group), [Some(4); 3]);
}

#[test]
fn a_restart_by_order_loses_no_acknowledged_write_of_redis() {
    let machine = Machine::take("restart");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let mut told = String::new();
    let counts = while_writing(&group, || {
        for _ in 0..3 {
            sleep(Duration::from_millis(700));
            told = restart(&group);
            println!("{told}");
        }
        sleep(Duration::from_millis(500));
    });
    assert!(told.contains("incarnation 4"), "{told}");
    require_kept(&group, &counts);
    group.await_settled();
    assert_eq!(incarnations(&group), [Some(4); 3]);
}

/// Orders a restart, and returns what the command prints.
pub(crate) fn restart(group: &Group) -> String {
    let output = Command::new(crane_linux())
        .arg("restart")
        .args(group.reached())
        .output()
        .expect("crane-linux");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The writes through one replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes {
    acknowledged: u64,
    failed: u64,
}

/// Writes to redis through all replicas until `act` has ended. Returns the writes through each.
pub(crate) fn while_writing(group: &Group, act: impl FnOnce()) -> Vec<Writes> {
    let done = AtomicBool::new(false);
    scope(|threads| {
        let done = &done;
        let clients: Vec<_> =
            group.ids().map(|id| threads.spawn(move || write(group, id, done))).collect();
        let end = Raise(done);
        act();
        drop(end);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Requires that redis has each acknowledged write, and none that no client has made. A write whose
/// answer was lost with its connection may have been carried out.
pub(crate) fn require_kept(group: &Group, counts: &[Writes]) {
    for (id, Writes { acknowledged, failed }) in group.ids().zip(counts) {
        let list = format!("writes {id}");
        let kept = eventually("the kept writes", START, || {
            let mut connection = Connection::open(group.address(id), ANSWER)?;
            match connection.call(&[b"LLEN", list.as_bytes()])? {
                Reply::Number(kept) => Ok::<_, io::Error>(u64::try_from(kept).unwrap()),
                other => panic!("{other:?}"),
            }
        });
        assert!(*acknowledged > 100 && *failed > 0, "{acknowledged} writes, {failed} failed");
        assert!((*acknowledged..=acknowledged + failed).contains(&kept), "{kept} are kept");
    }
}

/// Writes through a replica until the end, by a new connection after each failure. Prints the
/// longest time between two answers.
fn write(group: &Group, id: u8, done: &AtomicBool) -> Writes {
    let list = format!("writes {id}");
    let (mut acknowledged, mut failed, mut longest) = (0, 0, Duration::ZERO);
    let mut last = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::open(group.address(id), ANSWER) else {
            sleep(Duration::from_millis(2));
            continue;
        };
        while !done.load(Ordering::Relaxed) {
            match connection.call(&[b"RPUSH", list.as_bytes(), b"value"]) {
                Ok(Reply::Number(_)) => acknowledged += 1,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {
                    failed += 1;
                    break;
                }
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    let pause = longest.as_millis();
    println!("replica {id}: {acknowledged} writes, {failed} failed, longest pause {pause} ms");
    Writes { acknowledged, failed }
}

/// Rounds, each of which restarts the server by order or by a crash, and kills a replica meanwhile.
const ROUNDS: u64 = 6;

#[test]
fn replicas_that_are_killed_around_a_restart_return_to_the_same_incarnation() {
    let machine = Machine::take("restarts-and-kills");
    let program = program::compiled(machine.folder(), "poison", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    let mut crashes = Vec::new();
    for round in 0..ROUNDS {
        ask_anew(&group, 1, &format!("round {round}"));
        let primary = group.primary();
        let killed = if round % 3 == 0 { primary } else { 1 + (primary + round as u8) % 3 };
        let kept = group.ids().find(|id| *id != killed).unwrap();
        // The third crash within a minute would stop the group.
        let by_crash = round % 3 == 2;
        if by_crash {
            crashes.push(round);
            let address = group.address(kept);
            let _ = TcpStream::connect(address).map(|stream| (&stream).write_all(b"POISON\n"));
        } else {
            let reached = group.reached();
            Command::new(crane_linux())
                .arg("restart")
                .args(reached)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .and_then(|mut child| {
                    sleep(Duration::from_millis(10 + round * 25));
                    group.kill(killed);
                    child.wait()
                })
                .unwrap();
        }
        if by_crash {
            sleep(Duration::from_millis(round * 10));
            group.kill(killed);
        }
        group.start_replica(killed);
        group.await_serving();
        ask_anew(&group, killed, &format!("after {round}"));
        let status = group.await_settled();
        let all = incarnations(&group);
        assert!(all.iter().all(|incarnation| *incarnation == all[0]), "{}", status.brief());
        requests(&group);
    }
    let lines = requests(&group);
    assert!(lines.len() as u64 >= 2 * ROUNDS, "{lines:?}");
    assert!(!lines.iter().any(|line| line == "POISON"), "{lines:?}");
    let all = incarnations(&group)[0].unwrap();
    println!("{ROUNDS} rounds ({} crashes) led to incarnation {all}", crashes.len());
    assert!(all > ROUNDS / 2, "incarnation {all}");
}
