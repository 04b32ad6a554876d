//! Owners, modes, extended attributes and times of files.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

/// The beginnings of the names of attributes that belong to a file. Others, as the labels of
/// SELinux, are the host's.
const ATTRIBUTES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.capability", b"system.posix_acl"];

/// A time of a file, in seconds and nanoseconds.
pub(super) type FileTime = (i64, i64);

/// How a file that has just been made is to look.
pub(super) struct Attire<'a> {
    /// Its owner's user and group.
    pub(super) owner: (u32, u32),
    /// Its kind and its permissions, as stat(2) has them.
    pub(super) mode: u32,
    /// Its extended attributes, by name.
    pub(super) attributes: &'a [(Vec<u8>, Vec<u8>)],
    /// The time of its last access.
    pub(super) accessed: FileTime,
    /// The time of its last change.
    pub(super) changed: FileTime,
}

impl Attire<'_> {
    /// Gives a file this owner, mode, attributes and times. A directory must have its contents:
    /// they change its times.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn put_on(&self, path: &Path) -> io::Result<()> {
        let (user, group) = self.owner;
        lchown(path, Some(user), Some(group))?;
        if self.mode & libc::S_IFMT != libc::S_IFLNK {
            fs::set_permissions(path, Permissions::from_mode(self.mode & 0o7777))?;
        }
        // A change of the owner takes capabilities away, and one of the mode changes an access
        // list.
        for (name, value) in self.attributes {
            lsetxattr(path, &name[..], value, XattrFlags::empty())?;
        }
        let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        let times =
            Timestamps { last_access: time(self.accessed), last_modification: time(self.changed) };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
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
