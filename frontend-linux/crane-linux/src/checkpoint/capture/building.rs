//! Directories made from lists and copies.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::cell::upper::describe;

use super::super::attributes::Attire;
use super::super::listing::{DirectoryItem, Inode, inode_of};
use super::pool::Pool;

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
    // The contents of a directory before it.
    for it in listed.iter().rev().filter(|it| it.about.is_dir()) {
        let place = to.join(&it.path);
        dress(it, &place).map_err(|error| describe(&place, &error))?;
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
    if kind.is_dir() { Ok(()) } else { dress(it, place) }
}

fn dress(it: &DirectoryItem, place: &Path) -> io::Result<()> {
    let about = &it.about;
    let attire = Attire {
        owner: (about.uid(), about.gid()),
        mode: about.mode(),
        attributes: &it.attributes,
        accessed: (about.atime(), about.atime_nsec()),
        changed: (about.mtime(), about.mtime_nsec()),
    };
    attire.put_on(place)
}
