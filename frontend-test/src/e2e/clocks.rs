//! Clocks that are off: the time that the server reads, beside the median of the hosts' clocks.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::binary::told;
use super::group::Group;
use super::machine::Machine;
use super::program;
use super::programs;
use super::resp::{Connection, Reply};
use super::wait::{ANSWER, START, eventually};

/// How far the server's time may be from the median.
const NEAR: Duration = Duration::from_secs(1);
/// How long a key lives, by its TTL.
const LIFE: Duration = Duration::from_secs(3);

/// By how many milliseconds a clock is ahead, and how many millionths it runs too fast.
#[derive(Clone, Copy, Debug)]
pub struct ClockFault {
    /// Milliseconds.
    pub ahead_ms: i64,
    /// Millionths.
    pub drift: i64,
}

/// The faults of one clock.
pub const FAULTS: [(&str, ClockFault); 3] = [
    ("a day ahead", ClockFault { ahead_ms: 86_400_000, drift: 0 }),
    ("a day behind", ClockFault { ahead_ms: -86_400_000, drift: 0 }),
    ("10 % too fast", ClockFault { ahead_ms: 0, drift: 100_000 }),
];

/// The largest deviations that were seen.
#[derive(Clone, Copy, Default, Debug)]
pub struct Deviation {
    /// Of the server's time from the median.
    pub time: Duration,
    /// Of a key's life from its TTL.
    pub life: Duration,
}

/// Runs a group one of whose hosts has this fault from the start, and moves the role to that host
/// and away from it, looking at the server's time for `period` at each.
///
/// # Panics
///
/// Panics if the host is not named, or a replica does not serve.
pub fn run(fault: ClockFault, period: Duration) -> Deviation {
    let machine = Machine::take("clocks");
    let mut group = Group::prepare(&machine, program::redis(machine.folder()), 3, &[]);
    let library = programs::compiled("preloads", "clock");
    group.set_environment("LD_PRELOAD", library.to_str().expect("text"));
    // The first replica mostly creates the group.
    let off = 1;
    for id in group.ids() {
        let place = group.data(id).with_extension("clock");
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        let ClockFault { ahead_ms, drift } = fault;
        let text = if id == off { format!("{ahead_ms} {drift}") } else { "0 0".into() };
        fs::write(&place, text).expect("an order");
        group.set_environment("CRANE_TEST_CLOCK", place.to_str().expect("text"));
        group.start_replica(id);
    }
    group.await_serving();
    let mut worst = Deviation::default();
    for to in [off, 2] {
        move_role(&group, to);
        let seen = look(&group, period).expect("answers");
        worst.time = worst.time.max(seen.time);
        worst.life = worst.life.max(seen.life);
    }
    eventually("a note that names the host", START, || {
        let status = group.status()?;
        let word = format!("the clock of replica {off} ");
        let named = status.replicas.iter().all(|it| it.notes.iter().any(|it| it.contains(&word)));
        if named { Ok(()) } else { Err(format!("{:?}", status.replica(2).notes)) }
    });
    group.await_settled();
    worst
}

fn move_role(group: &Group, to: u8) {
    if group.primary() == to {
        return;
    }
    let words = ["primary", "move", "--to", &to.to_string()].map(str::to_owned);
    told(&[&words[..], &group.reached()].concat(), &group.program().base).expect("a move");
    eventually("the role", START, || match group.status()?.primary()? {
        primary if primary == to => Ok(()),
        other => Err(format!("replica {other} has it")),
    });
}

/// Looks at the server's time and at the lives of keys.
fn look(group: &Group, period: Duration) -> io::Result<Deviation> {
    let mut connection = Connection::open(group.address(3), ANSWER)?;
    let mut worst = Deviation::default();
    let start = Instant::now();
    while start.elapsed() < period {
        // The hosts that are right have this machine's clock.
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Reply::List(parts) = connection.call(&[b"TIME"])? else { continue };
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let [seconds, micros] = [&parts[0], &parts[1]].map(number);
        let told = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let off = before.saturating_sub(told).max(told.saturating_sub(after));
        worst.time = worst.time.max(off);
        worst.life = worst.life.max(life(&mut connection)?.abs_diff(LIFE));
    }
    Ok(worst)
}

/// Returns how long a key lives.
fn life(connection: &mut Connection) -> io::Result<Duration> {
    let millis = LIFE.as_millis().to_string();
    let start = Instant::now();
    connection.call(&[b"SET", b"short", b"lived", b"PX", millis.as_bytes()])?;
    loop {
        match connection.call(&[b"GET", b"short"])? {
            Reply::Bulk(None) => return Ok(start.elapsed()),
            _ if start.elapsed() > 10 * LIFE => return Ok(start.elapsed()),
            _ => sleep(Duration::from_millis(20)),
        }
    }
}

fn number(item: &Reply) -> u64 {
    let Reply::Bulk(Some(bytes)) = item else { return 0 };
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Runs all faults, and returns the bars that were missed.
pub fn measure(period: Duration) -> Vec<String> {
    let mut missed = Vec::new();
    for (name, fault) in FAULTS {
        let seen = run(fault, period);
        println!(
            "a clock {name}: the server's time is off by {:.0?} at most, a key lives {:.0?} more \
             or less than {LIFE:?}",
            seen.time, seen.life
        );
        missed.extend(bars(name, &seen));
    }
    missed
}

/// Returns the bars that a deviation misses.
pub fn bars(name: &str, seen: &Deviation) -> Vec<String> {
    let mut missed = Vec::new();
    if seen.time > NEAR {
        missed.push(format!("a clock {name}: the server's time is off by {:?}", seen.time));
    }
    // A key expires at a look, and its time may be slewed by one percent.
    if seen.life > NEAR {
        missed.push(format!("a clock {name}: a key lives {:?} more or less", seen.life));
    }
    missed
}
