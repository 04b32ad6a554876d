//! A replica that hangs: SIGSTOP stops its daemon and its server, as on a host that swaps or whose
//! virtual machine is moved.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::group::Group;
use super::wait::{SOON, eventually};

/// The stopped processes of a replica, which continue when this is dropped.
#[must_use]
pub struct Frozen {
    processes: Vec<Pid>,
}

/// Stops a replica, and waits until the kernel says that it is stopped. The daemon stops first, so
/// that it cannot notice that its server hangs.
///
/// # Panics
///
/// Panics if the replica does not run, or does not stop.
pub fn freeze(group: &Group, id: u8) -> Frozen {
    let daemon = group.daemon(id).expect("a running replica");
    let mut frozen = Frozen { processes: Vec::new() };
    for process in family(daemon) {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process number");
        match kill_process(pid, Signal::STOP) {
            Ok(()) => frozen.processes.push(pid),
            // A child of the server may have ended meanwhile.
            Err(error) => assert_ne!(process, daemon, "the daemon: {error}"),
        }
    }
    eventually("a replica that is stopped", SOON, || {
        let running = frozen.processes.iter().find(|process| !is_stopped(**process));
        running.map_or(Ok(()), |process| Err(format!("process {} runs", process.as_raw_nonzero())))
    });
    frozen
}

/// Returns whether a process is stopped by a signal, or has ended.
fn is_stopped(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let state = stat.as_ref().ok().and_then(|stat| stat.rsplit_once(')')?.1.trim().chars().next());
    matches!(state, None | Some('T' | 'Z' | 'X'))
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The server continues first, so that its daemon finds it alive.
        for process in self.processes.drain(..).rev() {
            let _ = kill_process(process, Signal::CONT);
        }
    }
}

/// Returns a process and all its descendants, parents first.
fn family(first: u32) -> Vec<u32> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| text.split_whitespace().map(str::parse).collect::<Vec<_>>())
            .flatten()
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::e2e::wait::{SOON, eventually};

    #[test]
    fn children_of_children_are_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'read x; :'; :"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("two shells", SOON, || match family(shell.id()).len() {
            2 => Ok(()),
            count => Err(count.to_string()),
        });
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
