//! The preload library in front of real programs, with the daemon's part played by the test.

mod answers;
mod corners;
mod driver;

use crane_core::wire::{Op, Schedule};
use crane_shm::region::script;
use driver::{Driver, Library, probe};
use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

fn run(arguments: &[&str], quantum: u32) -> driver::End {
    let end = Driver::start(arguments, quantum, Schedule::Serial, Library::Product).end();
    assert_eq!(end.code, Some(0), "{}", end.printed);
    end
}

#[test]
fn racing_threads_do_the_same_in_every_run_and_natively_do_not() {
    for quantum in [1, 10, 100] {
        let first = run(&["threads"], quantum);
        for _ in 0..5 {
            assert_eq!(run(&["threads"], quantum), first, "quantum {quantum}");
        }
    }
    let native: HashSet<Vec<u8>> =
        (0..20).map(|_| Command::new(probe()).arg("threads").output().unwrap().stdout).collect();
    assert!(native.len() > 1, "the control: without us, runs differ");
}

#[test]
fn parallel_mode_ends_too() {
    let end = Driver::start(&["threads"], 10, Schedule::Parallel, Library::Product).end();
    assert_eq!(end.code, Some(0), "{}", end.printed);
}

#[test]
fn locks_keep_what_posix_says() {
    assert_eq!(run(&["locks"], 100).printed, "locks ok\n");
}

#[test]
fn pipes_and_their_like_work_between_threads() {
    assert_eq!(run(&["channels"], 100).printed, "channels 200000\n");
}

#[test]
fn time_and_random_bytes_are_agreed() {
    let first = run(&["values"], 100);
    assert!(first.printed.starts_with("1700000000."), "{}", first.printed);
    assert!(first.printed.ends_with(" 100\n"), "{}", first.printed);
    assert_eq!(run(&["values"], 100), first);
}

/// Three clients in a fixed script; where `pauses` says so, the server gets time to run in between.
fn serve(mode: &str, pauses: u32, library: Library) -> (driver::End, Vec<Vec<u8>>) {
    let mut driver = Driver::start(&["server", mode], 100, Schedule::Serial, library);
    assert!(driver.settle());
    assert_eq!(driver.listens, [7777]);
    let conn = Driver::conn;
    let script = [
        Driver::connect(1),
        Op::Send { conn: conn(1), offset: 0, bytes: b"first " },
        Driver::connect(2),
        Op::Send { conn: conn(2), offset: 0, bytes: b"second" },
        Op::Send { conn: conn(1), offset: 6, bytes: b"again" },
        Driver::connect(3),
        Op::Shut { conn: conn(1), total: 11 },
        Op::Reset { conn: conn(2) },
        Op::Send { conn: conn(3), offset: 0, bytes: b"quit" },
    ];
    for (place, op) in script.iter().enumerate() {
        driver.pause = Duration::from_millis(u64::from(pauses >> place & 1) * 3);
        driver.feed(&[*op]);
    }
    driver.pause = Duration::ZERO;
    driver.settle();
    let replies = std::mem::take(&mut driver.replies);
    (driver.end(), replies)
}

#[test]
fn servers_of_every_kind_answer_the_same_whenever_the_script_arrives() {
    for mode in ["e", "E", "p", "s", "t"] {
        let (first, replies) = serve(mode, 0, Library::Product);
        assert_eq!(first.code, Some(0), "{mode}: {}", first.printed);
        let text: Vec<_> = replies.iter().map(|reply| String::from_utf8_lossy(reply)).collect();
        assert_eq!(text, ["FIRST AGAIN", "SECOND", "QUIT"], "{mode}");
        for pauses in [0b1_1111_1111, 0b1_0101_0101, 0b0_0011_0010] {
            let again = serve(mode, pauses, Library::Product);
            assert_eq!(again, (first.clone(), replies.clone()), "{mode} {pauses:b}");
        }
    }
}

#[test]
fn the_control_without_the_script_differs_with_the_timing() {
    let schedules: HashSet<_> = [0, 0b1_1111_1111, 0b1_0101_0101, 0b0_0011_0010]
        .iter()
        .map(|pauses| serve("t", *pauses, Library::OnArrival).0.hashes)
        .collect();
    assert!(schedules.len() > 1, "admission on arrival must depend on arrival");
}

#[test]
fn a_child_may_run_a_program_and_may_not_serve() {
    let end = run(&["exec"], 100);
    assert_eq!(end.printed, "from a child\nchild 0\n");
    let end = run(&["fork"], 100);
    assert_eq!(end.printed, "child 69\n");
    assert!(end.trouble.starts_with("a child process of the server uses"), "{}", end.trouble);
    assert!(end.refused);
}

#[test]
fn the_library_s_own_descriptors_are_closed_to_the_program_and_outlive_it() {
    let end = run(&["hidden"], 100);
    // The program in its place reads the agreed time: it takes part.
    assert!(end.printed.starts_with("1700000000."), "{}", end.printed);
}

#[test]
fn a_program_that_closes_the_library_s_descriptors_past_it_ends_with_a_reason() {
    for (then, start) in [("serve", "the program has closed"), ("exec", "it starts ")] {
        let arguments = ["inline", then];
        let end = Driver::start(&arguments, 100, Schedule::Serial, Library::Product).end();
        assert_ne!(end.code, Some(0), "{then}: {}", end.printed);
        let reason = &end.trouble;
        assert!(reason.starts_with(start), "{then}: {reason}");
        assert!(reason.contains("closed a descriptor of crane's by a call that"), "{reason}");
    }
}

#[test]
fn a_library_that_cannot_go_on_leaves_the_reason_for_the_daemon() {
    let mut driver = Driver::start(&["server", "t"], 100, Schedule::Serial, Library::Product);
    assert!(driver.settle());
    driver.feed_nonsense();
    let end = driver.end();
    assert_eq!(end.code, None, "it is ended by a signal");
    assert!(end.trouble.starts_with("script: a record of kind 99 ("), "{}", end.trouble);

    let entry = (script::ENTRY, Duration::ZERO);
    let end =
        Driver::start_script(entry, probe(), &["values"], 100, Schedule::Serial, Library::Product)
            .end();
    assert_eq!((end.code, end.printed.as_str()), (Some(70), ""));
    let reason = "this server cannot run replicated: the script begins with a record of kind 2";
    assert_eq!(end.trouble, reason);
}

#[test]
fn a_program_that_begins_before_its_script_waits_for_it() {
    let late = (script::GENESIS, Duration::from_millis(300));
    let (program, arguments) = (probe(), ["values"]);
    let end =
        Driver::start_script(late, program, &arguments, 100, Schedule::Serial, Library::Product)
            .end();
    assert_eq!(end, run(&arguments, 100));
}

#[test]
fn a_generation_that_begins_while_the_server_runs_ends_the_one_before() {
    let mut driver = Driver::start(&["server", "t"], 100, Schedule::Serial, Library::Product);
    assert!(driver.settle());
    let send = |offset| Op::Send { conn: Driver::conn(1), offset, bytes: b"abc" };
    driver.feed(&[Driver::connect(1), send(0)]);
    assert!(driver.settle());
    assert_eq!(driver.replies, [b"ABC"]);
    driver.begin_generation(2);
    driver.feed(&[send(3)]);
    assert!(driver.settle());
    assert_eq!(driver.replies, [b"ABC"], "nothing is written for a client of a former generation");
}
