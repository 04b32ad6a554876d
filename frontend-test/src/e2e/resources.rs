//! The memory and descriptors of processes.

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::http::invalid;

/// The memory that a process has touched and still has, in KiB (proc(5), `VmRSS`).
///
/// # Errors
///
/// If the process is gone.
pub fn resident_kib(process: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| invalid(format!("no VmRSS in {text:?}")))
}

/// Raises this process's limit of descriptors as far as permitted, and returns it.
pub fn allow_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it fails, the limit stays.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
