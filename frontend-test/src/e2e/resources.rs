//! The memory, descriptors and processor time of processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread::sleep;
use std::time::Duration;

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

/// A control group (cgroups(7)) whose processes together get a share of one processor. Its
/// processes must have ended when it is dropped.
pub struct ProcessorShare {
    folder: PathBuf,
}

impl ProcessorShare {
    /// Makes a control group with this share of one processor, in percent of each 100 ms.
    ///
    /// # Errors
    ///
    /// If the system makes none, without root or in a container.
    pub fn new(percent: u32) -> Result<Self, String> {
        let root = Path::new("/sys/fs/cgroup");
        let (quota, period) = (percent * 1000, 100_000);
        let (parent, file, limit) = match root.join("cgroup.controllers").exists() {
            true => (root.to_path_buf(), "cpu.max", format!("{quota} {period}")),
            false => (root.join("cpu"), "cpu.cfs_quota_us", quota.to_string()),
        };
        let folder = parent.join(format!("crane-e2e-{}", process::id()));
        let describe = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir(&folder).map_err(describe)?;
        let share = Self { folder: folder.clone() };
        fs::write(share.folder.join(file), limit).map_err(describe)?;
        Ok(share)
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    ///
    /// If the process is gone.
    pub fn take(&self, process: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for ProcessorShare {
    fn drop(&mut self) {
        // Processes that have ended leave it a little later.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
