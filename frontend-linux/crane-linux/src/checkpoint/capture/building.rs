//! Directories made from lists and copies.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat,
};

use crate::cell::upper::describe;

use super::listing::DirectoryItem;
use super::pool::{Inode, Pool, inode_of};

/// Makes the directory `to` by a list. Its files are moved out of the pool; `names` are those that
/// were.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn build(
    listed: &[DirectoryItem],
    pool: &Pool,
    to: &Path,
    names: &mut HashMap<Inode, PathBuf>,
) -> Result<(), String> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| describe(parent, &error))?;
    }
    for it in listed {
        let place =
            if it.path.as_os_str().is_empty() { to.to_path_buf() } else { to.join(&it.path) };
        let made = make(it, &place, pool, names);
        made.map_err(|error| describe(&place, &error))?;
    }
    // Everything that is made in a directory changes its times.
    for it in listed.iter().rev().filter(|it| it.about.is_dir()) {
        let place = to.join(&it.path);
        set_times(it, &place).map_err(|error| describe(&place, &error))?;
    }
    Ok(())
}

fn make(
    it: &DirectoryItem,
    place: &Path,
    pool: &Pool,
    names: &mut HashMap<Inode, PathBuf>,
) -> io::Result<()> {
    let kind = it.about.file_type();
    if kind.is_dir() {
        fs::create_dir(place)?;
    } else if kind.is_file() {
        let inode = inode_of(&it.about);
        if let Some(first) = names.get(&inode) {
            return fs::hard_link(first, place);
        }
        fs::rename(pool.place_of(inode), place)?;
        names.insert(inode, place.to_path_buf());
    } else if let Some(target) = &it.target {
        symlink(target, place)?;
    } else {
        let kind = match () {
            () if kind.is_fifo() => FileType::Fifo,
            () if kind.is_socket() => FileType::Socket,
            () if kind.is_block_device() => FileType::BlockDevice,
            () => FileType::CharacterDevice,
        };
        mknodat(CWD, place, kind, Mode::empty(), it.about.rdev())?;
    }
    lchown(place, Some(it.about.uid()), Some(it.about.gid()))?;
    if !it.about.is_symlink() {
        fs::set_permissions(place, fs::Permissions::from_mode(it.about.mode() & 0o7777))?;
    }
    // A change of the owner takes capabilities away, and one of the mode changes an access list.
    for (name, value) in &it.attributes {
        lsetxattr(place, OsStr::from_bytes(name), value, XattrFlags::empty())?;
    }
    if kind.is_dir() { Ok(()) } else { set_times(it, place) }
}

fn set_times(it: &DirectoryItem, place: &Path) -> io::Result<()> {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let about = &it.about;
    let times = Timestamps {
        last_access: time(about.atime(), about.atime_nsec()),
        last_modification: time(about.mtime(), about.mtime_nsec()),
    };
    Ok(utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
