//! The path of a data directory's control socket.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Returns the control socket's path.
pub(crate) fn control_path(directory: &fs::File) -> PathBuf {
    path_in(directory, "control.sock")
}

/// Returns the path of a socket, with its directory named by a descriptor: a socket's path may have
/// only 107 bytes.
pub(crate) fn path_in(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
