//! The path of a data directory's control socket.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Returns the control socket's path, with its directory named by a descriptor: a socket's path may
/// have only 107 bytes.
pub(crate) fn control_path(directory: &fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd()))
}
