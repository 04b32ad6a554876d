//! All that is in a directory, as a list in which each directory precedes its contents.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cell::upper::describe;

use super::attributes::attributes;

/// A file, whatever its name: its device and its number.
pub(super) type Inode = (u64, u64);

/// Returns which file it is.
pub(super) fn inode_of(about: &Metadata) -> Inode {
    (about.dev(), about.ino())
}

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

/// Lists a directory and what is in it, by name, but for the paths below it that are left out;
/// nothing if it does not exist. A list that is not `whole` leaves out attributes, targets, and
/// what cannot be read or is gone meanwhile.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn list(
    root: &Path,
    is_left_out: impl Fn(&Path) -> bool,
    whole: bool,
) -> Result<Vec<DirectoryItem>, String> {
    let mut all = Vec::new();
    match read(root, PathBuf::new(), whole) {
        Ok(first) => all.push(first),
        Err(error) if !whole || error.kind() == io::ErrorKind::NotFound => return Ok(all),
        Err(error) => return Err(describe(root, &error)),
    }
    Lister { root, is_left_out, whole }.list(Path::new(""), &mut all)?;
    Ok(all)
}

struct Lister<'a, F> {
    root: &'a Path,
    is_left_out: F,
    whole: bool,
}

impl<F: Fn(&Path) -> bool> Lister<'_, F> {
    /// Adds what is in a directory, each directory before its contents.
    fn list(&self, below: &Path, all: &mut Vec<DirectoryItem>) -> Result<(), String> {
        let directory = self.root.join(below);
        let items = fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let Some(mut items) = self.unless_lenient(&directory, items)? else { return Ok(()) };
        items.sort_by_key(fs::DirEntry::file_name);
        for item in items {
            let path = below.join(item.file_name());
            if (self.is_left_out)(&path) {
                continue;
            }
            let listed = read(self.root, path.clone(), self.whole);
            let listed = self.unless_lenient(&item.path(), listed)?;
            let Some(listed) = listed else { continue };
            let is_directory = listed.about.is_dir();
            all.push(listed);
            if is_directory {
                self.list(&path, all)?;
            }
        }
        Ok(())
    }

    /// Returns what was read, or `None` if it may be left out.
    fn unless_lenient<T>(&self, place: &Path, read: io::Result<T>) -> Result<Option<T>, String> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(_) if !self.whole => Ok(None),
            Err(error) => Err(describe(place, &error)),
        }
    }
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
