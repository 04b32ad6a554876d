//! Starts of a group on a busy machine: whatever overtakes whatever, all replicas begin alike.

use std::any::Any;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, scope};
use std::time::{Duration, Instant};

use super::group::Group;
use super::http;
use super::machine::Machine;
use super::program::{self, Program};
use super::resp;
use super::wait::{ANSWER, START, eventually};

/// The outcome of all starts.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The starts that went wrong, with the reasons.
    pub failures: Vec<String>,
    /// The longest time from the command to an answer at every replica.
    pub longest: Duration,
    /// The times of all starts together.
    pub total: Duration,
}

/// Starts groups of three replicas `times` times, of one program after the other, while other
/// threads keep all processors busy. Each replica must answer, all hashes must be equal, and each
/// must end with status 0.
#[must_use]
pub fn run(times: usize) -> Outcome {
    let machine = Machine::take("starts");
    let (mut outcome, stop) = (Outcome::default(), AtomicBool::new(false));
    let programs: [(Program, Ask); 3] = [
        (program::redis(machine.folder()), ask_redis),
        (program::civetweb(machine.folder(), 8), ask_civetweb),
        (program::compiled(machine.folder(), "mortal", &[]), ask_mortal),
    ];
    scope(|threads| {
        for _ in 0..available_parallelism().map_or(2, usize::from) {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for number in 1..=times {
            match catch_unwind(AssertUnwindSafe(|| {
                start(&machine, &programs[number % programs.len()])
            })) {
                Ok(took) => {
                    outcome.longest = outcome.longest.max(took);
                    outcome.total += took;
                }
                Err(panic) => outcome.failures.push(format!("start {number}: {}", text(&*panic))),
            }
            if number % 100 == 0 {
                println!("{number} starts, {} failed", outcome.failures.len());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    outcome
}

/// Asks a server, and checks its answer.
type Ask = fn(SocketAddr) -> io::Result<()>;

/// Starts and ends one group, and returns the time to an answer at every replica.
fn start(machine: &Machine, (program, ask): &(Program, Ask)) -> Duration {
    let mut group = Group::prepare(machine, program.clone(), 3, &[]);
    for id in group.ids() {
        let _ = fs::remove_dir_all(group.data(id));
    }
    let before = Instant::now();
    group.start_all();
    for address in group.all_addresses() {
        eventually("an answer", START, || ask(address));
    }
    let took = before.elapsed();
    let status = group.await_settled();
    for replica in &status.replicas {
        assert!(replica.faults.is_empty(), "replica {}: {:?}", replica.id, replica.faults);
    }
    for id in group.ids() {
        let status = group.stop_replica(id);
        assert!(status.success(), "replica {id} ends with {status}");
    }
    took
}

fn ask_redis(address: SocketAddr) -> io::Result<()> {
    let reply = resp::Connection::open(address, ANSWER)?.call(&[b"PING"])?;
    assert_eq!(reply, resp::Reply::Simple("PONG".into()));
    Ok(())
}

fn ask_civetweb(address: SocketAddr) -> io::Result<()> {
    let reply = http::fetch(address, program::PAGE, ANSWER)?;
    assert_eq!(reply.status, 200);
    Ok(())
}

fn ask_mortal(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"hello\n")?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello\n");
    Ok(())
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
