//! The command's output goes into a pipe that is closed before the end, as `| head -1` does.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crane_core::paxos::DurableState;
use crane_linux::decoders::Log;

/// Runs the command with a standard output that nobody reads.
fn run_unread(arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_crane-linux"))
        .args(arguments)
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("the command runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_log_is_shown_to_nobody_without_a_panic() {
    let data = std::env::temp_dir().join(format!("crane-closed-{}", std::process::id()));
    let log = data.join("log");
    fs::create_dir_all(&log).expect("a directory");
    Log::begin(&log, &DurableState::BLANK, None).expect("a log");
    let data_name = data.to_str().expect("a plain path");
    for what in ["show", "verify"] {
        let ended = run_unread(&["log", what, data_name]);
        assert_eq!(ended, (Some(0), String::new()), "log {what}");
    }
    fs::remove_dir_all(&data).expect("the directory goes");
}
