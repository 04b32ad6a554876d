//! A directory as a list of all that a server can see of what is in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cell::upper::describe;

use super::listing::{self, DirectoryItem, Inode, inode_of};

/// A thing in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TreeEntry {
    /// Its path below the directory.
    pub(crate) path: Vec<u8>,
    /// Its kind and its permissions, as stat(2) has them.
    pub(crate) mode: u32,
    /// Its owner's user and group.
    pub(crate) owner: (u32, u32),
    /// The time of its last change, in seconds and nanoseconds.
    pub(crate) changed: (i64, i64),
    /// Its extended attributes, by name.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The rest, by its kind.
    pub(crate) kind: TreeKind,
}

/// A kind of thing in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum TreeKind {
    /// A directory. Its contents follow.
    Directory,
    /// A regular file with this number of bytes.
    File(u64),
    /// Another name of the regular file in this place of the list.
    SameAs(u32),
    /// A symbolic link to this path.
    Link(Vec<u8>),
    /// A socket, a pipe, or a device with this number.
    Special(u64),
}

impl TreeEntry {
    /// Returns its path in a directory.
    pub(crate) fn place_in(&self, directory: &Path) -> PathBuf {
        directory.join(OsStr::from_bytes(&self.path))
    }

    /// Returns whether its mode says that it is of this kind.
    pub(crate) fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    /// Returns the number of its bytes, if it is a regular file.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        match self.kind {
            TreeKind::File(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Lists what is in a directory, without some of its own files: each directory before its
/// contents, and these by name.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn walk(directory: &Path, except: &[&str]) -> Result<Vec<TreeEntry>, String> {
    let is_left_out = |path: &Path| except.iter().any(|name| path == Path::new(name));
    let listed = listing::list(directory, is_left_out, true)?;
    let mut below = listed.into_iter();
    below.next().ok_or_else(|| describe(directory, &io::ErrorKind::NotFound.into()))?;
    // The files with several names.
    let mut names = HashMap::new();
    Ok(below.enumerate().map(|(at, it)| entry(it, at as u32, &mut names)).collect())
}

fn entry(it: DirectoryItem, at: u32, names: &mut HashMap<Inode, u32>) -> TreeEntry {
    let DirectoryItem { path, about, attributes, target } = it;
    let kind = match target {
        Some(target) => TreeKind::Link(target.into_os_string().into_vec()),
        None if about.is_dir() => TreeKind::Directory,
        None if about.is_file() => match *names.entry(inode_of(&about)).or_insert(at) {
            first if first == at => TreeKind::File(about.size()),
            first => TreeKind::SameAs(first),
        },
        None => TreeKind::Special(about.rdev()),
    };
    TreeEntry {
        path: path.into_os_string().into_vec(),
        mode: about.mode(),
        owner: (about.uid(), about.gid()),
        changed: (about.mtime(), about.mtime_nsec()),
        attributes,
        kind,
    }
}
