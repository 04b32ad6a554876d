//! The memory of a second server: how much it may have, and how much it has.
//!
//! The daemon measures it, many times a second, and ends a server that has too much. The tree of
//! control groups is the host's service manager's, and a resource limit would be the server's own:
//! it would see it, and CRIU sets those of the image.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{StatVfs, statvfs};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cell::dump::IN_MEMORY;

/// The time between two measurements. A server fills some 10 MiB of fresh memory in it.
const EVERY: Duration = Duration::from_millis(10);
/// The memory of the programs that make a server from an image, in bytes.
const MAKERS: u64 = 32 << 20;
/// The part of a file system that is the last of its room.
const LAST_ROOM: u64 = 64;

/// Returns the memory that a second server may have, in bytes, beside the one with this process: as
/// much, and room for work.
pub(super) fn bound_beside(server: u32) -> u64 {
    with_reserve(memory_of(server) + files_in_memory(server)) + MAKERS
}

/// Returns more than these bytes: room for work beside them.
pub(super) fn with_reserve(bytes: u64) -> u64 {
    bytes / 10 * 13
}

/// Measures the memory of a cell until it ends, and calls `exceeded` with it once it is above the
/// bound. It blocks.
pub(super) fn watch(launcher: u32, bound: u64, exceeded: impl FnOnce(u64)) {
    let process = Pid::from_raw(launcher.cast_signed());
    let Some(Ok(process)) = process.map(|process| pidfd_open(process, PidfdFlags::empty())) else {
        return;
    };
    let every = Timespec { tv_sec: 0, tv_nsec: EVERY.subsec_nanos().into() };
    // A process that has ended can be read.
    while let Ok(0) = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&every)) {
        let Some(init) = children_of(launcher).next() else { continue };
        let memory = memory_of(init) + files_in_memory(init);
        if memory > bound {
            return exceeded(memory);
        }
    }
}

/// Returns the memory that a process has in use with its threads and its children, in bytes.
fn memory_of(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own = kilobytes(&text, "VmRSS:") << 10;
    own + children_of(process).map(memory_of).sum::<u64>()
}

fn children_of(process: u32) -> impl Iterator<Item = u32> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children: Vec<u32> = text
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect();
    children.into_iter()
}

/// Returns the bytes of the files in memory that only the cell of a process sees. Those that are
/// mapped count twice, which is on the safe side.
fn files_in_memory(process: u32) -> u64 {
    let root = Path::new("/proc").join(process.to_string()).join("root");
    let root_of = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    // The init of a cell begins with the host's root.
    if root_of(&root) == root_of(Path::new("/")) {
        return 0;
    }
    let used = |name: &str| {
        let about = in_memory(process, name)?;
        Some((about.f_blocks - about.f_bfree) * about.f_frsize)
    };
    IN_MEMORY.into_iter().filter_map(used).sum()
}

/// Returns the directories of the cell of a process in which the files are in memory, and that have
/// almost no room.
pub(super) fn full_in_memory(process: u32) -> Vec<&'static str> {
    let is_full = |about: StatVfs| {
        about.f_bfree < about.f_blocks / LAST_ROOM || about.f_ffree < about.f_files / LAST_ROOM
    };
    let full = IN_MEMORY.into_iter().filter(|name| in_memory(process, name).is_some_and(is_full));
    full.collect()
}

fn in_memory(process: u32, name: &str) -> Option<StatVfs> {
    statvfs(format!("/proc/{process}/root/{name}")).ok()
}

/// Returns the memory that this host can give, in bytes.
pub(super) fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&text, "MemAvailable:") << 10
}

/// Returns the number behind a name in a text as the kernel writes it.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_kernels_numbers_are_read() {
        assert_eq!(kilobytes("MemFree: 7 kB\nMemAvailable:   1234 kB\n", "MemAvailable:"), 1234);
        assert_eq!(kilobytes("", "MemAvailable:"), 0);
        assert!(available() > 0);
        assert!(memory_of(std::process::id()) > 0);
        assert!(bound_beside(std::process::id()) > MAKERS);
    }

    /// A shell with a child, as a launcher with its init.
    #[test]
    fn a_cell_is_watched_until_it_exceeds_its_bound_or_ends() {
        let start = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "sleep 0.2; sleep 0.2; sleep 0.2"]).stdin(Stdio::null());
            shell.spawn().unwrap()
        };
        let (mut one, mut other) = (start(), start());
        let mut seen = None;
        watch(one.id(), 1000, |memory| seen = Some(memory));
        assert!(seen.is_some_and(|memory| memory > 1000), "{seen:?}");
        assert!(one.try_wait().unwrap().is_none(), "it was not awaited");
        // The host's own files in memory do not count.
        let all = memory_of(std::process::id()) + (64 << 20);
        watch(other.id(), all, |memory| panic!("{memory}"));
        for shell in [&mut one, &mut other] {
            assert!(shell.wait().unwrap().success());
        }
    }
}
