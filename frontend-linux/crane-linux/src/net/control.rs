//! Where the control socket of a data directory is.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// The control socket's directory is named by a descriptor: a socket's path may have 107 bytes
/// only.
pub fn control_path(directory: &fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd()))
}
