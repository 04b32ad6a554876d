//! Storage that goes back: an old copy of a data directory is put back, or started a second time
//! behind the same name, while clients write through the other replicas.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::binary::crane_linux;
use super::counting::{Memory, Writers};
use super::group::Group;
use super::hosts::Hosts;
use super::machine::Machine;
use super::program;
use super::wait::{SOON, START, eventually};
use crate::simulation::random::Random;

const WRITERS: usize = 4;
/// A replica that returns replays its log, so the log must stay short.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest time between a copy and its return, in milliseconds.
const APART_MAX: u64 = 1500;

/// A return of an old copy.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The replica.
    pub id: u8,
    /// The last slot that was durable in the copy, and the one when the copy was put back.
    pub slots: (u64, u64),
    /// The event that named the loss.
    pub text: String,
}

/// Puts old copies back on one replica after the other, `rounds` times at random points, while
/// clients write through the two others; in every fifth round a copy is started behind the same
/// name instead, if hosts are possible here.
///
/// # Panics
///
/// Panics if a write is lost or doubled, or a return is not told by an event.
pub fn run(rounds: usize, mut said: impl FnMut(String)) {
    let machine = Machine::take("old-copy");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let host = Hosts::possible().is_ok().then(|| Hosts::make(1));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = Random::new(since.as_nanos() as u64);
    let mut acknowledged = 0;
    for round in 1..=rounds {
        let id = random.range(1, 4) as u8;
        let others = group.ids().filter(|other| *other != id).map(|other| group.address(other));
        let (others, name) = (others.collect::<Vec<_>>(), WRITERS * round);
        let writers = Writers::default();
        let twice = round.is_multiple_of(5).then_some(host.as_ref()).flatten();
        let (memories, text) = thread::scope(|threads| {
            let _stop = StopAtEnd(&writers);
            let handles: Vec<_> = (0..WRITERS)
                .map(|writer| writers.spawn(threads, name + writer, others.clone(), PAUSE))
                .collect();
            let text = match twice {
                Some(host) => start_twice(&mut group, &writers, host, &mut random),
                None => put_back(&mut group, &writers, id, &mut random).text,
            };
            writers.stop();
            let memories: Vec<Memory> =
                handles.into_iter().map(|handle| handle.join().expect("a writer")).collect();
            (memories, text)
        });
        group.await_settled();
        for memory in &memories {
            for address in group.all_addresses() {
                memory.verify(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            }
            acknowledged += memory.counts().0;
        }
        said(format!(
            "{round}: {acknowledged} writes acknowledged, none lost; replica {id}: {text}"
        ));
    }
}

/// Makes all writers end when it is dropped.
struct StopAtEnd<'a>(&'a Writers);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Copies the storage of a replica that is down for a moment, lets the group write, and puts the
/// copy back.
///
/// # Panics
///
/// Panics if the replica does not return, or does not tell what is missing.
pub fn put_back(group: &mut Group, writers: &Writers, id: u8, random: &mut Random) -> Returned {
    let (copy, copied) = copy_of(group, id);
    group.start_replica(id);
    let durable =
        || group.status()?.replica(id).durable.ok_or_else(|| "it does not answer".to_string());
    // The replica acknowledges something that the copy does not have.
    eventually("writes after the copy", START, || {
        durable().and_then(|now| if now > copied + 20 { Ok(()) } else { Err(now.to_string()) })
    });
    await_writes(writers, 20);
    thread::sleep(Duration::from_millis(random.range(0, APART_MAX)));
    let last = eventually("its last slot", SOON, durable);
    group.kill(id);
    replace(&copy, &group.data(id));
    group.start_replica(id);
    let text = eventually("an event that names the loss", START, || loss(group, id));
    group.await_serving();
    await_writes(writers, 5);
    fs::remove_dir_all(copy).expect("a copy");
    Returned { id, slots: (copied, last), text }
}

/// Starts a copy of replica 3 behind its own name on another host, from where the other replicas
/// are reached, and later the original again. Returns what the earlier daemon said.
///
/// # Panics
///
/// Panics if the earlier daemon does not end with status 1, or the replica does not return.
pub fn start_twice(
    group: &mut Group,
    writers: &Writers,
    host: &Hosts,
    random: &mut Random,
) -> String {
    const ID: u8 = 3;
    let (copy, _) = copy_of(group, ID);
    group.start_replica(ID);
    group.await_serving();
    await_writes(writers, 20);
    thread::sleep(Duration::from_millis(random.range(0, APART_MAX)));
    relay(group, host, &[1, 2]);
    let mut second = start_elsewhere(group, host, ID, &copy);
    let ended = group.await_exit(ID);
    let log = group.log(ID);
    assert_eq!(ended.code(), Some(1), "{log}");
    let word = "is linked with a later daemon of replica 3";
    let text = log.lines().rev().find(|line| line.contains(word));
    let text = text.unwrap_or_else(|| panic!("no reason in {log}")).to_owned();
    // The group goes by the later one, and writes.
    await_writes(writers, 20);
    second.kill().and_then(|()| second.wait()).expect("the end of the copy");
    // The original has less by now, or not: it must not vote before it knows.
    group.start_replica(ID);
    group.await_serving();
    await_writes(writers, 5);
    fs::remove_dir_all(copy).expect("a copy");
    text
}

/// Kills a replica and copies its data directory. Returns the copy, and its last durable slot.
fn copy_of(group: &mut Group, id: u8) -> (PathBuf, u64) {
    let copied = eventually("its durable slot", SOON, || {
        group.status()?.replica(id).durable.ok_or_else(|| "it does not answer".to_string())
    });
    group.kill(id);
    let copy = group.data(id).with_extension("copy");
    replace(&group.data(id), &copy);
    (copy, copied)
}

/// Makes `to` a copy of `from`.
fn replace(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "cannot copy {}", from.display());
}

fn await_writes(writers: &Writers, more: u64) {
    let goal = writers.acknowledged() + more;
    eventually("acknowledged writes", START, || match writers.acknowledged() {
        now if now >= goal => Ok(()),
        now => Err(format!("{now} of {goal}")),
    });
}

/// Returns the text of a replica's event that says what its storage has lost.
fn loss(group: &Group, id: u8) -> Result<String, String> {
    let status = group.status()?;
    let replica = status.replica(id);
    let lost = |event: &&Value| event["event"] == "storage_lost";
    let event = replica.events.iter().rev().find(lost).ok_or("no event yet")?;
    match event["text"].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("{event}")),
    }
}

/// Starts a replica's command on another host, with another data directory.
fn start_elsewhere(group: &Group, host: &Hosts, id: u8, data: &Path) -> Child {
    let mut arguments = group.arguments(id);
    let place = arguments.iter().position(|word| word == "--data-dir").expect("a directory") + 1;
    arguments[place] = data.display().to_string();
    let log = File::create(data.with_extension("log")).expect("a log");
    let mut command = Command::new(crane_linux());
    command.args(arguments).current_dir(&group.program().base).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a second name for the log")).stderr(log);
    host.at(1, || command.spawn().expect("crane-linux"))
}

/// Makes listeners on another host that stand for replicas of this one, once for each host. A
/// socket stays on the host on which it was made; the threads end with this process.
fn relay(group: &Group, host: &Hosts, ids: &[u8]) {
    let (sender, accepted) = mpsc::channel::<(TcpStream, SocketAddr)>();
    for address in ids.iter().map(|id| group.peer_address(*id)) {
        let sender = sender.clone();
        // A former round has made it already.
        let Ok(listener) = host.at(1, || TcpListener::bind(address)) else { continue };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if sender.send((stream, address)).is_err() {
                    return;
                }
            }
        });
    }
    thread::spawn(move || {
        for (there, address) in accepted {
            if let Ok(here) = TcpStream::connect(address) {
                pump(&there, &here);
                pump(&here, &there);
            }
        }
    });
}

/// Copies the bytes of one stream to another until either ends.
fn pump(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) =
        (from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    });
}
