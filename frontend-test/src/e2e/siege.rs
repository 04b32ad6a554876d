//! The service while strangers attack it: what the attack costs its clients.
//!
//! The attackers get a share of one processor. A process that only uses up the same share, and
//! attacks nobody, is the control: it shows how much of the cost is the machine's.

use std::env::current_exe;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::group::Group;
use super::keys::Keys;
use super::machine::Machine;
use super::probe::Probe;
use super::program;
use super::resources::{ProcessorShare, resident_kib};
use super::strangers::{GROWTH_KIB_MAX, Targets, attack, counted, unmoved};
use super::wait::{START, eventually, within};

/// The share of one processor that the attackers get, in percent.
const SHARE_PERCENT: u32 = 20;
/// The largest 99th percentile of requests under attack, beside that without.
const P99_MAX: f64 = 2.0;
/// The length of each period with and without attackers.
const ROUND: Duration = Duration::from_secs(10);
/// The word by which this program attacks, or only uses up its share.
pub const ATTACK: &str = "attack";

/// The ones beside whom the clients are served.
#[derive(Clone, Copy)]
enum Company {
    Nobody,
    Burner,
    Attackers,
}

/// Attacks for at least `time`, in rounds, and checks the bars. Returns the failures.
///
/// # Panics
///
/// Panics if the group does not start, or hashes differ at the end.
#[must_use]
pub fn measure(time: Duration) -> Vec<String> {
    let machine = Machine::take("siege");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let foreign = Keys::make(machine.folder().join("foreign"), &[group.address(1).ip()]);
    let targets = Targets::of(&group, &foreign);
    let share = match ProcessorShare::new(SHARE_PERCENT) {
        Ok(share) => share,
        Err(why) => return vec![why],
    };
    serve(&group, Duration::from_secs(2));
    let before = group.status().expect("a status");
    let daemons: Vec<u32> = before.replicas.iter().filter_map(|it| it.daemon_pid).collect();
    let memory = || daemons.iter().map(|pid| resident_kib(*pid).unwrap_or(0)).collect::<Vec<_>>();
    let (memory_before, mut memory_most) = (memory(), memory());
    let (mut p99s, mut made) = ([const { Vec::new() }; 3], 0);
    for round in 1..=time.as_secs().div_ceil(ROUND.as_secs()) {
        for company in [Company::Nobody, Company::Burner, Company::Attackers] {
            let child = company.start(&targets, &share);
            p99s[company as usize].push(serve(&group, ROUND));
            made += child.map_or(0, connections);
            for (most, now) in memory_most.iter_mut().zip(memory()) {
                *most = now.max(*most);
            }
        }
        let last = p99s.each_ref().map(|all| all[all.len() - 1]);
        println!("round {round}: p99 alone, beside a burner, under attack: {last:.2?}");
    }
    let [alone, burner, attacked] = p99s.map(median);
    let ratio = attacked.as_secs_f64() / alone.as_secs_f64();
    println!(
        "{made} connections of attackers; p99 alone {alone:.2?}, beside a burner {burner:.2?}, \
         under attack {attacked:.2?}: {ratio:.2} times"
    );
    let mut missed = Vec::new();
    if ratio > P99_MAX {
        missed.push(format!("p99 under attack is {ratio:.2} times that without"));
    }
    for (most, before) in memory_most.iter().zip(&memory_before) {
        println!("memory of a daemon: {before} KiB before, at most {most} KiB");
        if most - before > GROWTH_KIB_MAX {
            missed.push(format!("a daemon grew by {} KiB", most - before));
        }
    }
    let all_counted = within(START, || {
        let status = group.status()?;
        match counted(&status) {
            count if count >= made => Ok(status),
            count => Err(format!("{count} of {made} connections are counted")),
        }
    });
    missed.extend(all_counted.err());
    let after = eventually("a status", START, || group.status());
    for replica in &after.replicas {
        println!("replica {}: {}", replica.id, replica.strangers);
    }
    missed.extend(unmoved(&before, &after).err());
    group.await_settled();
    missed
}

/// Attacks as [`measure`] has ordered by these words, or uses up processor time if there are no
/// targets among them. Returns the number of connections that were made.
///
/// # Panics
///
/// Panics if [`measure`] did not make the words.
#[must_use]
pub fn obey(words: &[String]) -> u64 {
    let time = Duration::from_millis(words[0].parse().expect("a time"));
    let Some(foreign) = words.get(1) else {
        let start = Instant::now();
        while start.elapsed() < time {
            black_box((0..1000u64).sum::<u64>());
        }
        return 0;
    };
    let (peers, control): (Vec<_>, Vec<_>) =
        words[2..].iter().partition(|word| !word.starts_with('/'));
    let targets = Targets {
        peers: peers.iter().map(|peer| peer.parse().expect("an address")).collect(),
        control: control.iter().map(PathBuf::from).collect(),
        foreign: foreign.into(),
    };
    attack(&targets, time, std::process::id().into())
}

impl Company {
    fn start(self, targets: &Targets, share: &ProcessorShare) -> Option<Child> {
        let mut command = Command::new(current_exe().expect("this program"));
        command.args([ATTACK, &ROUND.as_millis().to_string()]).stdout(Stdio::piped());
        match self {
            Self::Nobody => return None,
            Self::Burner => {}
            Self::Attackers => {
                command.arg(&targets.foreign);
                command.args(targets.peers.iter().map(ToString::to_string));
                command.args(&targets.control);
            }
        }
        let child = command.spawn().expect("this program");
        share.take(child.id()).expect("a process that has just begun");
        Some(child)
    }
}

/// Waits for the attackers' end, and returns how many connections they have made.
fn connections(child: Child) -> u64 {
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "the attackers have failed");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Lets a client at each replica write for `time`, and returns the 99th percentile of the times
/// until an answer.
fn serve(group: &Group, time: Duration) -> Duration {
    let stop = AtomicBool::new(false);
    let mut times: Vec<Duration> = scope(|threads| {
        let clients: Vec<_> = group
            .all_addresses()
            .into_iter()
            .map(|address| {
                let stop = &stop;
                let probe = Probe::open(address).expect("an answer");
                threads.spawn(move || probe.write_until(stop).expect("all answers"))
            })
            .collect();
        sleep(time);
        stop.store(true, Ordering::Relaxed);
        let probes = clients.into_iter().map(|client| client.join().expect("no panic"));
        probes.flat_map(|it| it.times().iter().map(|(_, time)| *time).collect::<Vec<_>>()).collect()
    });
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
