//! All that is in a directory, as a list in which each directory precedes its contents.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::cell::upper::describe;

use super::super::tree::attributes;

/// A thing in a directory.
pub(super) struct DirectoryItem {
    /// Its path below the directory; empty for the directory itself.
    pub(super) path: PathBuf,
    /// Its kind, owner, mode and times.
    pub(super) about: Metadata,
    /// Its extended attributes, by name.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The target of a symbolic link.
    pub(super) target: Option<PathBuf>,
}

/// Lists what is in a directory, but for a path below it; nothing if it does not exist. A list that
/// is not `whole` leaves out attributes, targets, and what cannot be read or is gone meanwhile.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn list(
    root: &Path,
    except: Option<&Path>,
    whole: bool,
) -> Result<Vec<DirectoryItem>, String> {
    let mut all = Vec::new();
    match read(root, PathBuf::new(), whole) {
        Ok(first) => all.push(first),
        Err(error) if !whole || error.kind() == io::ErrorKind::NotFound => return Ok(all),
        Err(error) => return Err(describe(root, &error)),
    }
    let mut next = 0;
    while let Some(listed) = all.get(next) {
        next += 1;
        if !listed.about.is_dir() {
            continue;
        }
        let below = listed.path.clone();
        let items = match fs::read_dir(root.join(&below)) {
            Ok(items) => items,
            Err(_) if !whole => continue,
            Err(error) => return Err(describe(&root.join(&below), &error)),
        };
        for item in items {
            let path = match item {
                Ok(item) => below.join(item.file_name()),
                Err(_) if !whole => continue,
                Err(error) => return Err(describe(&root.join(&below), &error)),
            };
            if except == Some(&path) {
                continue;
            }
            match read(root, path.clone(), whole) {
                Ok(listed) => all.push(listed),
                Err(_) if !whole => {}
                Err(error) => return Err(describe(&root.join(&path), &error)),
            }
        }
    }
    Ok(all)
}

fn read(root: &Path, path: PathBuf, whole: bool) -> io::Result<DirectoryItem> {
    let place = root.join(&path);
    let about = fs::symlink_metadata(&place)?;
    let (mut found, mut target) = (Vec::new(), None);
    if whole {
        found = attributes(&place)?;
        target = about.is_symlink().then(|| fs::read_link(&place)).transpose()?;
    }
    Ok(DirectoryItem { path, about, attributes: found, target })
}
