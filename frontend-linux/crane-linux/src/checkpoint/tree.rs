//! A directory as a list of all that a server can see of what is in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cell::upper::describe;

/// The beginnings of the names of attributes that belong to a file. Others, as the labels of
/// SELinux, are the host's.
const ATTRIBUTES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.capability", b"system.posix_acl"];

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
    let mut walk = Walk { root: directory, entries: Vec::new(), names: HashMap::new() };
    walk.list(directory, except)?;
    Ok(walk.entries)
}

struct Walk<'a> {
    root: &'a Path,
    entries: Vec<TreeEntry>,
    /// The files with several names, by device and inode.
    names: HashMap<(u64, u64), u32>,
}

impl Walk<'_> {
    fn list(&mut self, directory: &Path, except: &[&str]) -> Result<(), String> {
        let failed = |error: io::Error| describe(directory, &error);
        let mut items = fs::read_dir(directory)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(failed)?;
        items.retain(|item| !except.iter().any(|name| item.file_name() == *name));
        items.sort_by_key(fs::DirEntry::file_name);
        for item in items {
            let path = item.path();
            let about = item.metadata().map_err(|error| describe(&path, &error))?;
            self.add(&path, &about).map_err(|error| describe(&path, &error))?;
            if about.is_dir() {
                self.list(&path, &[])?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, about: &Metadata) -> io::Result<()> {
        let below = path.strip_prefix(self.root).expect("it is in the directory");
        let number = self.entries.len() as u32;
        let mut kind = match () {
            () if about.is_dir() => TreeKind::Directory,
            () if about.is_symlink() => {
                TreeKind::Link(fs::read_link(path)?.into_os_string().into_vec())
            }
            () if about.is_file() => TreeKind::File(about.size()),
            () => TreeKind::Special(about.rdev()),
        };
        if about.is_file() && about.nlink() > 1 {
            let first = *self.names.entry((about.dev(), about.ino())).or_insert(number);
            if first != number {
                kind = TreeKind::SameAs(first);
            }
        }
        self.entries.push(TreeEntry {
            path: below.as_os_str().as_bytes().to_vec(),
            mode: about.mode(),
            owner: (about.uid(), about.gid()),
            changed: (about.mtime(), about.mtime_nsec()),
            attributes: attributes(path)?,
            kind,
        });
        Ok(())
    }
}

/// Returns whether an extended attribute with this name belongs to its file.
pub(super) fn is_own_attribute(name: &[u8]) -> bool {
    ATTRIBUTES.iter().any(|start| name.starts_with(start))
}

/// Returns the extended attributes of a file that belong to it, by name.
///
/// # Errors
/// Returns the system's error.
pub(super) fn attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in names_of_attributes(path)?.split(|byte| *byte == 0) {
        if !is_own_attribute(name) {
            continue;
        }
        let mut value = vec![0; rustix::fs::lgetxattr_query(path, name)?];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Returns the names of a file's attributes, each with a zero byte behind it.
fn names_of_attributes(path: &Path) -> io::Result<Vec<u8>> {
    let length = match rustix::fs::llistxattr_query(path) {
        // The file system has none.
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let mut names = vec![0; length];
    let length = if length == 0 { 0 } else { rustix::fs::llistxattr(path, &mut names[..])? };
    names.truncate(length);
    Ok(names)
}
