//! The index of a checkpoint: all that is in its directory, with the digests of the blocks of its
//! files. Who has the index and the blocks can make the directory.
//!
//! A block is as long as a page of memory, because pages keep their contents and move: an image has
//! those of all of a server's memory one behind the other.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cell::upper::describe;
use crate::checked_file;

use super::attributes::is_own_attribute;
use super::tree::{TreeEntry, TreeKind, walk};

/// The first bytes of an index.
const MAGIC: &[u8; 8] = b"craneidx";
/// The version of its form.
const VERSION: u32 = 1;
/// The bytes of a block, unless there would be too many.
const BLOCK_BYTES_MIN: u32 = 4 << 10;
/// The bytes of the longest block.
pub(crate) const BLOCK_BYTES_MAX: u32 = 128 << 10;
/// The number of blocks beyond which they are longer: 4 GiB of pages, whose digests take 16 MiB.
const BLOCKS_AIM: u64 = 1 << 20;
/// The bytes of the longest index.
pub(crate) const INDEX_BYTES_MAX: u64 = 128 << 20;

/// The digest of a block.
pub(super) type BlockDigest = [u8; 16];

/// An index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Index {
    /// The bytes of a block. The last one of a file may be shorter.
    pub(super) block_bytes: u32,
    /// The things in the directory.
    pub(super) entries: Vec<TreeEntry>,
    /// The digests of the blocks of all files, one file behind the other.
    pub(super) digests: Vec<BlockDigest>,
}

/// A file in an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexedFile<'a> {
    /// Its entry.
    pub(crate) entry: &'a TreeEntry,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// The number of its first block.
    pub(crate) first: u32,
}

impl Index {
    /// Makes the index of a directory.
    ///
    /// # Errors
    /// Returns what the system refused, with its place, or that there is too much in the directory.
    pub fn of(directory: &Path) -> Result<Self, String> {
        let entries = walk(directory, &[])?;
        let block_bytes = block_bytes_for(entries.iter().filter_map(TreeEntry::file_bytes).sum());
        let mut digests = Vec::new();
        for entry in &entries {
            let Some(bytes) = entry.file_bytes() else { continue };
            let path = entry.place_in(directory);
            let mut count = 0;
            let read = File::open(&path).and_then(|file| {
                for_each_block(file, block_bytes, |block| {
                    count += block.len() as u64;
                    digests.push(digest_of_block(block));
                    Ok(())
                })
            });
            read.map_err(|error| describe(&path, &error))?;
            if count != bytes {
                return Err(format!("{} has changed", path.display()));
            }
        }
        Ok(Self { block_bytes, entries, digests })
    }

    /// Returns its bytes.
    ///
    /// # Errors
    /// Returns that they are too many.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let bytes = checked_file::encode(MAGIC, VERSION, self);
        match bytes.len() as u64 {
            0..=INDEX_BYTES_MAX => Ok(bytes),
            length => Err(format!(
                "the list of its files has {} MiB, and more than {} are not sent: it has {} files",
                length >> 20,
                INDEX_BYTES_MAX >> 20,
                self.entries.len()
            )),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// Returns that the bytes are none from which a directory can be made.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let index: Self = checked_file::decode(MAGIC, VERSION, bytes)
            .map_err(|_| "this version cannot read it".to_string())?;
        index.check()?;
        Ok(index)
    }

    /// Checks that everything lies in the directory, each thing in one that comes before it, and
    /// that the files have all their blocks.
    fn check(&self) -> Result<(), String> {
        if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&self.block_bytes)
            || !self.block_bytes.is_power_of_two()
        {
            return Err(format!("it has blocks of {} bytes", self.block_bytes));
        }
        let (mut directories, mut all) = (HashSet::from([Path::new("")]), HashSet::new());
        let mut blocks = 0_u64;
        for entry in &self.entries {
            let path = Path::new(OsStr::from_bytes(&entry.path));
            let fault = |what: &str| Err(format!("{} {what}", path.display()));
            let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)))
                && !entry.path.contains(&0)
                && !entry.path.ends_with(b"/");
            let is_below = path.parent().is_some_and(|parent| directories.contains(parent));
            if !is_plain || !is_below || !all.insert(path) {
                return fault("has no place of its own in the directory");
            }
            let first = |place: u32| self.entries[..all.len() - 1].get(place as usize);
            let fits = match entry.kind {
                TreeKind::Directory => directories.insert(path) && entry.is(libc::S_IFDIR),
                TreeKind::File(_) => entry.is(libc::S_IFREG),
                TreeKind::SameAs(place) => first(place).is_some_and(|it| it.file_bytes().is_some()),
                TreeKind::Link(_) => entry.is(libc::S_IFLNK),
                TreeKind::Special(_) => ![libc::S_IFDIR, libc::S_IFREG, libc::S_IFLNK]
                    .into_iter()
                    .any(|kind| entry.is(kind)),
            };
            if !fits {
                return fault("is of two kinds");
            }
            if !entry.attributes.iter().all(|(name, _)| is_own_attribute(name)) {
                return fault("has a foreign attribute");
            }
            let bytes = entry.file_bytes().unwrap_or(0);
            blocks = blocks.saturating_add(bytes.div_ceil(self.block_bytes.into()));
        }
        match blocks == self.digests.len() as u64 {
            true => Ok(()),
            false => Err("its files have other blocks than it".to_string()),
        }
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> impl Iterator<Item = IndexedFile<'_>> {
        let mut next = 0;
        let with_bytes = self.entries.iter().filter_map(|entry| Some((entry, entry.file_bytes()?)));
        with_bytes.map(move |(entry, bytes)| {
            let first = next;
            next += bytes.div_ceil(self.block_bytes.into()) as u32;
            IndexedFile { entry, bytes, first }
        })
    }

    /// Returns the number of blocks.
    pub(crate) fn blocks(&self) -> u32 {
        self.digests.len() as u32
    }

    /// Returns the bytes of a block, unless it is the last one of a file.
    pub(crate) fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Returns the bytes of all files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.entries.iter().filter_map(TreeEntry::file_bytes).sum()
    }
}

fn block_bytes_for(bytes: u64) -> u32 {
    let mut length = BLOCK_BYTES_MIN;
    while length < BLOCK_BYTES_MAX && bytes.div_ceil(length.into()) > BLOCKS_AIM {
        length *= 2;
    }
    length
}

/// Returns the digest of a block: the first half of its SHA-256. A client of the server may choose
/// contents, so that it must be hard to find two blocks with one digest.
pub(super) fn digest_of_block(block: &[u8]) -> BlockDigest {
    let digest: [u8; 32] = Sha256::digest(block).into();
    *digest.first_chunk().expect("it is longer")
}

/// Calls `visit` with each block of a file.
pub(super) fn for_each_block(
    mut file: impl Read,
    block_bytes: u32,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let room = (block_bytes as usize).max(1 << 17);
    let mut space = Vec::with_capacity(room);
    loop {
        space.clear();
        file.by_ref().take(room as u64).read_to_end(&mut space)?;
        space.chunks(block_bytes as usize).try_for_each(&mut visit)?;
        if space.len() < room {
            return Ok(());
        }
    }
}
