//! The files to which this command itself writes: its events, redirected by the caller.
//!
//! `crane-linux … > log` in the server's directory makes a file among those that all replicas must
//! have alike, and writes other lines to it on each host. So it is no part of the base, and the
//! server does not see it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Returns the regular files behind the standard output and the standard error output of this
/// process. A file that has been removed, or moved since, has no name here.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [1, 2].into_iter().filter_map(file_behind).collect();
    found.dedup();
    found
}

fn file_behind(descriptor: i32) -> Option<PathBuf> {
    let link = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
    let path = fs::read_link(&link).ok()?;
    let (open, named) = (fs::metadata(&link).ok()?, fs::metadata(&path).ok()?);
    let is_same = (open.dev(), open.ino()) == (named.dev(), named.ino());
    (open.is_file() && is_same).then_some(path)
}
