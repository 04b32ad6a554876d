//! The ends of processes: none outlives the command that started it, with and without namespaces.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::{Group, kill};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::nobody::command_of_nobody;
use crane_test::e2e::program;
use crane_test::e2e::status::Status;
use crane_test::e2e::wait::{SOON, START, eventually};

#[test]
fn a_server_without_namespaces_runs_on_a_copy_and_ends_with_its_daemon() {
    let machine = Machine::take("copy");
    let folder = machine.folder();
    let program = program::compiled(folder, "mortal", &[]);
    let group = Group::prepare(&machine, program, 1, &[]);
    for how in ["TERM", "KILL"] {
        let mut child = command_of_nobody(&group, 1).spawn().unwrap();
        let replica = eventually("a server on a copy", START, || {
            let status = group.status()?;
            let replica = status.replica(1).clone();
            let serves = replica.server_pid.is_some() && replica.cell == "copy";
            if serves { Ok(replica) } else { Err(format!("{replica:?}")) }
        });
        assert!(replica.last_error.as_str().unwrap_or("").contains("private copy"), "{replica:?}");
        end(&mut child, how);
        await_gone(replica.server_pid.unwrap());
    }
}

#[test]
fn local_replicas_and_their_servers_end_with_the_command() {
    let machine = Machine::take("local-ends");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    let data = machine.folder().join("data");
    for how in ["INT", "TERM", "KILL"] {
        let mut child = Command::new(crane_linux())
            .args(["--local", "3", "--data-dir"])
            .arg(&data)
            .arg("--")
            .args(&program.command)
            .current_dir(&program.base)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let status = eventually("three replicas", START, || {
            let status = local_status(&data)?;
            status.healthy(3)?;
            let all = status.replicas.iter().all(|replica| replica.server_pid.is_some());
            if all { Ok(status) } else { Err(status.brief()) }
        });
        end(&mut child, how);
        for replica in &status.replicas {
            await_gone(replica.daemon_pid.unwrap());
            await_gone(replica.server_pid.unwrap());
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(data.to_str().unwrap()), "{mounts}");
    }
}

fn local_status(data: &Path) -> Result<Status, String> {
    let output = Command::new(crane_linux())
        .args(["status", "--json", "--data-dir"])
        .arg(data)
        .output()
        .map_err(|error| error.to_string())?;
    Status::parse(&String::from_utf8_lossy(&output.stdout))
}

/// Ends a process that this test started.
fn end(child: &mut Child, how: &str) {
    if how == "KILL" {
        kill(child.id()).unwrap();
    } else {
        let number = child.id().to_string();
        assert!(Command::new("kill").args(["-s", how, &number]).status().unwrap().success());
    }
    eventually("the command's end", SOON, || {
        child.try_wait().unwrap().ok_or("the command still runs")
    });
}

/// Waits until a process has ended. It may still be a zombie.
fn await_gone(process: u32) {
    eventually(&format!("the end of process {process}"), SOON, || {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let state = text.rsplit_once(')').map_or("X", |(_, rest)| rest.trim());
        if state.starts_with(['X', 'Z']) { Ok(()) } else { Err(text) }
    });
}
