//! The limits that a server sees: fixed, and so equal on all hosts of a group.
//!
//! A program sizes its tables by them, and behaves by them when they are reached. So they come
//! neither from the caller nor from the host: a host that cannot give them is refused by name.

use std::io;
use std::os::fd::RawFd;

use libc::__rlimit_resource_t as Resource;

use crate::options::OPEN_FILES;

/// The library's descriptors: the two that it has, and those by which it takes others in their
/// place while the program has as many open as it may.
const OUR_FILES: u64 = 5;

/// One limit: soft, and hard without the library's own need.
#[derive(Clone, Copy)]
struct Limit {
    resource: Resource,
    value: u64,
    /// The library's own need beside it.
    ours: u64,
    name: &'static str,
    /// The letter of `ulimit`; empty where shells have none.
    letter: &'static str,
    /// The name in systemd's units.
    unit: &'static str,
}

const fn limit(
    resource: Resource,
    value: u64,
    name: &'static str,
    letter: &'static str,
    unit: &'static str,
) -> Limit {
    Limit { resource, value, ours: 0, name, letter, unit }
}

const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// All limits of getrlimit(2); the first is an option of the group. Other values are what Linux
/// gives by default on every machine, or no more than a small machine has where the default follows
/// its memory.
const LIMITS: [Limit; 16] = [
    limit(libc::RLIMIT_NOFILE, OPEN_FILES as u64, "open files", "-n", "NOFILE"),
    limit(libc::RLIMIT_STACK, 8 << 20, "bytes of stack", "-s", "STACK"),
    limit(libc::RLIMIT_CORE, 0, "bytes of a core file", "-c", "CORE"),
    limit(libc::RLIMIT_NPROC, 32 * 1024, "processes of a user", "-u", "NPROC"),
    limit(libc::RLIMIT_AS, UNLIMITED, "bytes of address space", "-v", "AS"),
    limit(libc::RLIMIT_DATA, UNLIMITED, "bytes of data", "-d", "DATA"),
    limit(libc::RLIMIT_FSIZE, UNLIMITED, "bytes of a file", "-f", "FSIZE"),
    limit(libc::RLIMIT_RSS, UNLIMITED, "bytes of resident memory", "-m", "RSS"),
    limit(libc::RLIMIT_CPU, UNLIMITED, "seconds of processor time", "-t", "CPU"),
    limit(libc::RLIMIT_LOCKS, UNLIMITED, "file locks", "-x", "LOCKS"),
    limit(libc::RLIMIT_MEMLOCK, 64 << 10, "bytes of locked memory", "-l", "MEMLOCK"),
    limit(libc::RLIMIT_SIGPENDING, 1024, "pending signals", "-i", "SIGPENDING"),
    limit(libc::RLIMIT_MSGQUEUE, 819_200, "bytes of message queues", "-q", "MSGQUEUE"),
    limit(libc::RLIMIT_NICE, 0, "nice priority", "-e", "NICE"),
    limit(libc::RLIMIT_RTPRIO, 0, "real-time priority", "-r", "RTPRIO"),
    limit(libc::RLIMIT_RTTIME, UNLIMITED, "microseconds of real-time work", "", "RTTIME"),
];

/// Gives the calling process the limits of the group. The descriptors are copied to the numbers
/// from its limit of open files on: the kernel gives a program only lower ones. Returns the copies.
///
/// # Errors
/// The limits that this host's own do not allow, with the remedy.
pub(super) fn set(open_files: u32, descriptors: [RawFd; 2]) -> Result<[RawFd; 2], String> {
    let mut limits = LIMITS;
    (limits[0].value, limits[0].ours) = (u64::from(open_files), OUR_FILES);
    let raised = limits[0].value + OUR_FILES;
    let mut low = Vec::from_iter(set_one(&limits[0], raised)?);
    let mut copies = descriptors;
    if low.is_empty() {
        for (descriptor, number) in copies.iter_mut().zip(open_files as RawFd..) {
            // SAFETY: dup2 touches no memory; nothing of this process has a number as high.
            *descriptor = unsafe { libc::dup2(*descriptor, number) };
            if *descriptor < 0 {
                return Err(format!("descriptor {number}: {}", io::Error::last_os_error()));
            }
        }
    }
    for limit in &limits[low.len()..] {
        low.extend(set_one(limit, limit.value)?);
    }
    if low.is_empty() { Ok(copies) } else { Err(low.join("; ")) }
}

/// Sets a limit to this soft value. Returns what to say if the host's own limit is lower.
fn set_one(limit: &Limit, soft: u64) -> Result<Option<String>, String> {
    let value = limit.value + limit.ours;
    let wanted = libc::rlimit { rlim_cur: soft, rlim_max: value };
    // SAFETY: the kernel reads from a live structure.
    if unsafe { libc::setrlimit(limit.resource, &raw const wanted) } == 0 {
        return Ok(None);
    }
    let error = io::Error::last_os_error();
    let mut here = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to a live structure.
    let known = unsafe { libc::getrlimit(limit.resource, &raw mut here) } == 0;
    if !known || here.rlim_max >= value {
        return Err(format!("the limit of {} cannot be set: {error}", limit.name));
    }
    Ok(Some(refusal(limit, here.rlim_max)))
}

fn refusal(limit: &Limit, here: u64) -> String {
    let Limit { value, ours, name, letter, unit, .. } = limit;
    let (shown, word) = match (*value, *ours) {
        (UNLIMITED, _) => ("no limit".to_string(), "infinity".to_string()),
        (value, 0) => (value.to_string(), value.to_string()),
        (value, ours) => (format!("{value} and {ours} more for crane"), (value + ours).to_string()),
    };
    let mut remedies = Vec::new();
    if !letter.is_empty() {
        remedies.push(format!("`ulimit -H{} …` as root", letter.trim_start_matches('-')));
    }
    remedies.push(format!("Limit{unit}={word} in a systemd unit"));
    let container = unit.to_lowercase();
    remedies.push(format!("`--ulimit {container}=…` for a container"));
    format!(
        "this host's hard limit of {name} is {here}, and every replica of a group runs its server \
         with {shown}: raise it with {}",
        remedies.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_the_kernel_is_fixed_once() {
        let mut known: Vec<_> = LIMITS.iter().map(|limit| limit.resource).collect();
        known.sort_unstable();
        // RLIM_NLIMITS of the kernel's resource.h.
        assert_eq!(known, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn a_refusal_names_limit_and_remedy() {
        let text = refusal(&Limit { ours: OUR_FILES, ..LIMITS[0] }, 1024);
        let expected = "this host's hard limit of open files is 1024, and every replica of a group \
                        runs its server with 16384 and 5 more for crane: raise it with \
                        `ulimit -Hn …` as root, LimitNOFILE=16389 in a systemd unit, \
                        `--ulimit nofile=…` for a container";
        assert_eq!(text, expected);
        let text = refusal(LIMITS.last().unwrap(), 7);
        assert!(text.contains("with no limit: raise it with LimitRTTIME=infinity"), "{text}");
    }
}
