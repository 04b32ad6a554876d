//! Servers that differ: crane finds them, builds a wrong one again, and halts if none is right.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crane_test::e2e::binary::run_bounded;
use crane_test::e2e::divergence::{self as injected, Setting};
use crane_test::e2e::group::{DIFFERS, Group};
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::status::Status;
use crane_test::e2e::wait::{SOON, START, eventually, within};

use super::wall::ask;

/// The time in which a group whose servers differ must not come back to health by itself.
const STAYS: Duration = Duration::from_secs(3);

fn group(machine: &Machine) -> Group {
    Group::start(machine, program::compiled(machine.folder(), "diverge", &[]), 3, &[])
}

fn divergences(status: &Status, id: u8) -> u64 {
    status.replica(id).counters["divergences"].as_u64().unwrap_or(0)
}

/// Makes the server of one replica differ once, and waits until all agree again.
fn diverge(word: &str, of_primary: bool) {
    let machine = Machine::take("diverge");
    diverge_in(&group(&machine), word, of_primary);
}

/// A connection that stays open, and on which each byte is checked.
struct Kept(TcpStream);

impl Kept {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, SOON).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    /// Sends a line, and reads its echo. Returns an error if the connection ends.
    fn echo(&mut self, line: &str) -> std::io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())?;
        let mut echo = vec![0; line.len() + 1];
        self.0.read_exact(&mut echo)?;
        assert_eq!(echo, format!("{line}\n").as_bytes(), "a wrong byte");
        Ok(())
    }
}

/// Gives all threads of a process a nice value of -5, which new threads and processes inherit.
fn renice(process: u32) {
    for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let thread = thread.unwrap().file_name().into_string().unwrap().parse().unwrap();
        rustix::process::setpriority_process(rustix::process::Pid::from_raw(thread), -5).unwrap();
    }
}

/// Does the same as [`diverge`], in a running group.
fn diverge_in(group: &Group, word: &str, of_primary: bool) {
    let primary = group.primary();
    let wrong = match of_primary {
        true => primary,
        false => group.ids().find(|id| *id != primary).unwrap(),
    };
    let right = group.ids().find(|id| *id != primary && *id != wrong).unwrap();
    let server = group.status().unwrap().replica(wrong).server_pid.expect("a server");
    let [mut through_wrong, mut through_right] =
        [wrong, right].map(|id| Kept::open(group.address(id)));
    through_wrong.echo("hello").unwrap();
    through_right.echo("hello").unwrap();
    if word == "nice" {
        renice(server);
    } else {
        // The file is in the cell of this run, so the next run is right.
        fs::write(format!("/proc/{server}/root/run/crane/wrong"), "").unwrap();
    }
    through_right.echo(word).unwrap();
    eventually("the difference is seen", SOON, || {
        let seen = group.status()?.diverged();
        seen.map(drop).ok_or_else(|| "no difference".to_string())
    });
    eventually("the wrong server is built again", START, || {
        // Servers are compared at slots, which these requests fill.
        for id in group.ids() {
            let _ = ask(group.address(id), "more");
        }
        let status = group.status()?;
        let counts: Vec<u64> = group.ids().map(|id| divergences(&status, id)).collect();
        let expected: Vec<u64> = group.ids().map(|id| u64::from(id == wrong)).collect();
        let faults: Vec<&String> = status.replicas.iter().flat_map(|all| &all.faults).collect();
        match status.diverged() {
            None if counts == expected && faults.is_empty() => Ok(()),
            difference => Err(format!("{difference:?}, {counts:?}, {faults:?}")),
        }
    });
    through_right.echo("still here").unwrap();
    let continued = through_wrong.echo("still here");
    assert!(continued.is_err(), "a connection through the wrong replica was continued");
    drop((through_right, through_wrong));
    let status = group.await_healed();
    let events = &status.replica(wrong).events;
    let told = |event: &serde_json::Value| event.to_string().contains(DIFFERS);
    assert!(events.iter().any(told), "{events:?}");
    if of_primary {
        assert_ne!(
            status.primary().unwrap(),
            wrong,
            "a replica whose server was wrong is still primary"
        );
    }
    assert_eq!(ask(group.address(wrong), "after").unwrap(), "after");
    assert_named(group, wrong, right, word);
}

/// Asserts that the first differing call is named in the wrong replica's events, and by
/// `crane-linux diff` of its data directory and that of `right`.
fn assert_named(group: &Group, wrong: u8, right: u8, word: &str) {
    // If the wrong server skips a lock, it sends while the others lock; else it locks.
    let (event, diff, places) = match word {
        "flip" => ("the first bytes for clients", "first differing bytes", ["serve in diverge"; 2]),
        "skip" => (
            "the first call that differs",
            "first differing call",
            ["serve in diverge", "touch in diverge"],
        ),
        _ => (
            "the first call that differs",
            "first differing call",
            ["touch in diverge", "serve in diverge"],
        ),
    };
    let status = group.status().unwrap();
    let events = &status.replica(wrong).events;
    let named = events.iter().map(ToString::to_string).find(|text| text.contains(event));
    let named = named.unwrap_or_else(|| panic!("{events:?}"));
    assert!(named.contains(places[0]), "{named}");
    let sides = [group.data(wrong), group.data(right)];
    let compared = run_bounded(
        &["diff".into(), sides[0].display().to_string(), sides[1].display().to_string()],
        &group.program().base,
    );
    let text = String::from_utf8_lossy(&compared.stdout);
    assert_eq!(compared.status.code(), Some(1), "{text}");
    assert!(text.contains(diff) && places.iter().all(|place| text.contains(place)), "{text}");
    assert!(text.contains("the calls before it, the same on both:"), "{text}");
}

#[test]
fn each_kind_of_difference_is_mended_on_three_hosts() {
    if !Hosts::are_possible() {
        return;
    }
    for word in ["flip", "skip", "late", "nice"] {
        for of_primary in [false, true] {
            let machine = Machine::take("diverge-hosts");
            let hosts = Arc::new(Hosts::make(3));
            let _hub = hosts.visit_hub();
            let program = program::compiled(machine.folder(), "diverge", &[]);
            let group = Group::start_on(&machine, &hosts, program);
            diverge_in(&group, word, of_primary);
        }
    }
}

/// Runs the short form: `ci/measure divergence` does 100 rounds, and 20 of each third opinion.
#[test]
fn a_server_that_goes_wrong_under_full_load_is_named_and_mended() {
    if !Hosts::are_possible() {
        return;
    }
    for (setting, rounds) in [(Setting::Three, 4), (Setting::Witness, 1), (Setting::OneDead, 1)] {
        let outcomes = injected::run(setting, rounds, |line| println!("{line}"));
        println!("{} (in full: ci/measure divergence)", injected::summary(setting, &outcomes));
        let missed: Vec<&String> = outcomes.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!(missed, Vec::<&String>::new());
    }
}

/// One daemon has a higher priority, so that each of its servers differs at the same place.
#[test]
fn a_replica_on_a_host_that_differs_stops_with_the_reason() {
    let machine = Machine::take("other-host");
    let mut group = group(&machine);
    let primary = group.primary();
    let wrong = group.ids().find(|id| *id != primary).unwrap();
    renice(group.daemon(wrong).expect("a daemon"));
    renice(group.status().unwrap().replica(wrong).server_pid.expect("a server"));
    let mut through_primary = Kept::open(group.address(primary));
    through_primary.echo("nice").unwrap();
    let status = group.await_exit(wrong);
    assert_eq!(status.code(), Some(1));
    let log = group.log(wrong);
    assert!(log.contains("this host is not like the others"), "{log}");
    assert!(log.contains("the first call that differs"), "{log}");
    through_primary.echo("still here").unwrap();
    assert_eq!(ask(group.address(primary), "after").unwrap(), "after");
}

#[test]
fn replicas_that_never_differed_have_nothing_to_compare() {
    let machine = Machine::take("no-diff");
    let group = group(&machine);
    assert_eq!(ask(group.address(1), "more").unwrap(), "more");
    group.await_settled();
    let data = group.data(1).parent().unwrap().display().to_string();
    let compared = run_bounded(&["diff".into(), data], &group.program().base);
    let text = String::from_utf8_lossy(&compared.stderr);
    assert_eq!(compared.status.code(), Some(2), "{text}");
    assert!(text.contains("no slot has frozen calls of two replicas"), "{text}");
}

#[test]
fn a_backup_that_skips_a_lock_is_built_again() {
    diverge("skip", false);
}

#[test]
fn a_primary_that_skips_a_lock_transfers_its_role_and_is_built_again() {
    diverge("skip", true);
}

#[test]
fn a_backup_that_answers_a_wrong_byte_is_built_again() {
    diverge("flip", false);
}

#[test]
fn a_program_whose_calls_differ_in_each_run_halts_the_group_and_again_after_a_restart() {
    let machine = Machine::take("halt");
    let mut group = group(&machine);
    assert_eq!(ask(group.address(1), "inode").unwrap(), "inode");
    let all_halted = |group: &Group| {
        let status = group.status()?;
        let halted = |id: u8| {
            let replica = status.replica(id);
            replica.server_pid.is_none()
                && replica.faults.iter().any(|fault| fault.contains("the group is halted"))
        };
        if group.ids().all(halted) { Ok(()) } else { Err(format!("{status:?}")) }
    };
    eventually("all replicas are halted", START, || {
        let _ = ask(group.address(1), "more");
        all_halted(&group)
    });
    let served = within(STAYS, || ask(group.address(1), "more"));
    assert!(served.is_err(), "a halted group answers: {served:?}");
    for id in group.ids() {
        group.stop_replica(id);
    }
    for id in group.ids() {
        group.start_replica(id);
    }
    eventually("all replicas are halted again", START, || all_halted(&group));
}

#[test]
fn a_program_whose_answers_alone_differ_in_each_run_keeps_serving() {
    let machine = Machine::take("undetermined");
    let group = group(&machine);
    let answer = ask(group.address(1), "show").unwrap();
    assert!(answer.bytes().all(|byte| byte.is_ascii_digit()), "{answer}");
    let told = |status: &Status, id: u8| {
        let faults = &status.replica(id).faults;
        faults.iter().any(|fault| fault.contains("the bytes for its clients"))
    };
    eventually("all replicas report that the output differs", START, || {
        let _ = ask(group.address(1), "more");
        let status = group.status()?;
        if group.ids().all(|id| told(&status, id)) { Ok(()) } else { Err(format!("{status:?}")) }
    });
    for id in group.ids() {
        eventually("each replica serves", START, || match ask(group.address(id), "after") {
            Ok(line) if line == "after" => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    eventually("each replica has a server", START, || {
        let status = group.status()?;
        let halted = format!("{status:?}").contains("the group is halted");
        assert!(!halted, "a difference of output alone has halted the group: {status:?}");
        let runs = |id: u8| status.replica(id).server_pid.is_some();
        if group.ids().all(runs) { Ok(()) } else { Err(format!("{status:?}")) }
    });
    assert!(group.status().unwrap().diverged().is_some(), "the output does not differ");
}
