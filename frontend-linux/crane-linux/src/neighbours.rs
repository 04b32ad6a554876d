//! The data directories of this host, of which each replica's server must see none.
//!
//! A server that runs as root could read the log of another group, or of another replica. So each
//! replica that runs as root keeps its directory in a list, one file for each, and cells cover
//! those that are listed when they start. An entry goes once its directory is gone.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::base::MARKER;

/// The list.
const LIST: &str = "/var/lib/crane/directories";
/// Directories that are covered, at most.
const LISTED_MAX: usize = 1024;
/// A longer file names no directory (`PATH_MAX` of the kernel).
const PATH_BYTES_MAX: u64 = 4096;

/// Adds a data directory to the list. Says so if that is not possible.
pub(crate) fn add(data: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Err(error) = add_to(Path::new(LIST), data) {
        warn!("{LIST}: {error}: the servers of other groups on this host may read this directory");
    }
}

/// Returns the directories on the list.
pub(crate) fn all() -> Vec<PathBuf> {
    all_of(Path::new(LIST))
}

fn add_to(list: &Path, data: &Path) -> io::Result<()> {
    let name: String = Sha256::digest(data.as_os_str().as_bytes())[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::create_dir_all(list)?;
    // A reader finds the whole path, or none.
    let (new, place) = (list.join(format!("{name}.new")), list.join(name));
    fs::write(&new, data.as_os_str().as_bytes())?;
    fs::rename(new, place)
}

fn all_of(list: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(list).into_iter().flatten().flatten() {
        let is_path = item.metadata().is_ok_and(|about| about.len() <= PATH_BYTES_MAX);
        let Some(path) = is_path.then(|| fs::read(item.path()).ok()).flatten() else { continue };
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        if path.join(MARKER).exists() && found.len() < LISTED_MAX {
            found.push(path);
        } else if !path.exists() {
            let _ = fs::remove_file(item.path());
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_listed_once_until_it_is_gone() {
        let root = std::env::temp_dir().join(format!("crane-listed-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (list, data) = (root.join("list"), root.join("data"));
        assert!(all_of(&list).is_empty());
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join(MARKER), "").unwrap();
        for _ in 0..2 {
            add_to(&list, &data).unwrap();
        }
        assert_eq!(all_of(&list), std::slice::from_ref(&data));
        fs::remove_dir_all(&data).unwrap();
        assert!(all_of(&list).is_empty());
        assert_eq!(fs::read_dir(&list).unwrap().count(), 0);
        fs::remove_dir_all(root).unwrap();
    }
}
