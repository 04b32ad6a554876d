//! A directory that is made from an index: of the blocks that are here already, and of those that
//! arrive.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use crate::cell::upper::describe;

use super::attributes::Attire;
use super::index::{BlockDigest, Index, digest_of_block, for_each_block};
use super::tree::{TreeEntry, TreeKind, walk};

/// No block.
const NONE: u32 = u32::MAX;

/// A directory that is being made.
pub struct Assembly {
    index: Index,
    place: PathBuf,
    /// By file: the number of its first block, and its place among the entries.
    files: Vec<(u32, u32)>,
    missing: Missing,
    /// The place among the files of the one that was written to last, and that file.
    open: Option<(usize, File)>,
}

/// The blocks that are missing.
struct Missing {
    /// By digest: the first one.
    first: HashMap<BlockDigest, u32>,
    /// By block: the next one with the same digest.
    next: Vec<u32>,
}

impl Assembly {
    /// Begins to make a directory. Blocks that are in it already stay there.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub fn begin(index: Index, place: &Path) -> Result<Self, String> {
        fs::create_dir_all(place).map_err(|error| describe(place, &error))?;
        let mut missing = Missing { first: HashMap::new(), next: vec![NONE; index.digests.len()] };
        let (mut files, mut first) = (Vec::new(), 0);
        for (at, entry) in index.entries.iter().enumerate() {
            let path = entry.place_in(place);
            let made = match entry.kind {
                TreeKind::Directory => make_directory(&path),
                TreeKind::File(bytes) => {
                    files.push((first, at as u32));
                    missing.look(&index, first, &path, bytes).map(|count| first += count)
                }
                TreeKind::SameAs(_) | TreeKind::Link(_) | TreeKind::Special(_) => Ok(()),
            };
            made.map_err(|error| describe(&path, &error))?;
        }
        Ok(Self { index, place: place.to_path_buf(), files, missing, open: None })
    }

    /// Takes blocks from the files in a directory. What cannot be read there is left out.
    ///
    /// # Errors
    /// Returns what the system refused in the directory that is being made, with its place.
    pub(crate) fn use_directory(&mut self, directory: &Path) -> Result<(), String> {
        let entries = walk(directory, &[]).unwrap_or_default();
        let files = entries.iter().filter(|entry| entry.file_bytes().is_some());
        files.map(|entry| entry.place_in(directory)).try_for_each(|path| self.use_file(&path))
    }

    /// Takes blocks from the files of a server's base: those in `base` that have the paths of files
    /// below `layer`, which the server has changed.
    ///
    /// # Errors
    /// Returns an error as [`Assembly::use_directory`] does.
    pub(crate) fn use_base(&mut self, layer: &str, base: &Path) -> Result<(), String> {
        let lacks = |first: u32, bytes: u64| {
            let count = bytes.div_ceil(self.index.block_bytes.into()) as usize;
            let digests = &self.index.digests[first as usize..][..count];
            digests.iter().any(|digest| self.missing.first.contains_key(digest))
        };
        let lacking = self.index.files().filter(|file| lacks(file.first, file.bytes));
        let below = lacking.filter_map(|file| file.entry.path.strip_prefix(layer.as_bytes()));
        let paths: Vec<PathBuf> = below.map(|path| base.join(OsStr::from_bytes(path))).collect();
        paths.iter().try_for_each(|path| self.use_file(path))
    }

    fn use_file(&mut self, path: &Path) -> Result<(), String> {
        let is_file = fs::symlink_metadata(path).is_ok_and(|about| about.is_file());
        if self.missing.first.is_empty() || !is_file {
            return Ok(());
        }
        let Ok(file) = File::open(path) else { return Ok(()) };
        let mut written = Ok(());
        let _ = for_each_block(file, self.index.block_bytes, |block| {
            written = self.put(block).map(drop);
            written.clone().map_err(io::Error::other)
        });
        written
    }

    /// Returns the numbers of the blocks that are missing, each content once, in their order.
    pub fn missing(&self) -> Vec<u32> {
        let mut missing: Vec<u32> = self.missing.first.values().copied().collect();
        missing.sort_unstable();
        missing
    }

    /// Returns the bytes of a block.
    pub(crate) fn bytes_of(&self, number: u32) -> u64 {
        let (first, at) = self.files[self.file_of(number)];
        let bytes = self.index.entries[at as usize].file_bytes().expect("it is a file");
        let block_bytes = u64::from(self.index.block_bytes);
        (bytes - u64::from(number - first) * block_bytes).min(block_bytes)
    }

    /// Returns the place of a block's file among the files.
    fn file_of(&self, number: u32) -> usize {
        self.files.partition_point(|(first, _)| *first <= number) - 1
    }

    /// Returns the index.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Puts a block in all its places. Returns whether it was missing.
    ///
    /// # Errors
    /// Returns what the system refused, with its place.
    pub fn put(&mut self, block: &[u8]) -> Result<bool, String> {
        let first = self.missing.first.remove(&digest_of_block(block));
        let Some(mut number) = first else { return Ok(false) };
        while number != NONE {
            self.write(number, block)?;
            number = self.missing.next[number as usize];
        }
        Ok(true)
    }

    fn write(&mut self, number: u32, block: &[u8]) -> Result<(), String> {
        let file = self.file_of(number);
        let (first, at) = self.files[file];
        let path = self.index.entries[at as usize].place_in(&self.place);
        let failed = |error: io::Error| describe(&path, &error);
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            self.open = Some((file, options().open(&path).map_err(failed)?));
        }
        let (_, open) = self.open.as_ref().expect("it was opened");
        let offset = u64::from(number - first) * u64::from(self.index.block_bytes);
        open.write_all_at(block, offset).map_err(failed)
    }

    /// Makes the rest, once no block is missing: links, and owners, modes, attributes and times.
    ///
    /// # Errors
    /// Returns that a block is missing, or what the system refused, with its place.
    pub fn finish(self) -> Result<(), String> {
        if !self.missing.first.is_empty() {
            return Err(format!("{} blocks of it are missing", self.missing.first.len()));
        }
        let entries = &self.index.entries;
        let failed =
            |entry: &TreeEntry, error: &io::Error| describe(&entry.place_in(&self.place), error);
        for entry in entries {
            self.make_other(entry).map_err(|error| failed(entry, &error))?;
        }
        // The contents of a directory before it: they change its time.
        for entry in entries.iter().rev() {
            let path = entry.place_in(&self.place);
            let is_done = matches!(entry.kind, TreeKind::SameAs(_));
            let dressed = if is_done { Ok(()) } else { dress(entry, &path) };
            dressed.map_err(|error| failed(entry, &error))?;
        }
        Ok(())
    }

    /// Makes what is neither a directory nor a file.
    fn make_other(&self, entry: &TreeEntry) -> io::Result<()> {
        let path = entry.place_in(&self.place);
        if matches!(entry.kind, TreeKind::Directory | TreeKind::File(_)) {
            return Ok(());
        }
        // An earlier attempt may have made it.
        let _ = fs::remove_file(&path);
        match &entry.kind {
            TreeKind::SameAs(at) => {
                let first = &self.index.entries[*at as usize];
                fs::hard_link(first.place_in(&self.place), &path)
            }
            TreeKind::Link(to) => symlink(OsStr::from_bytes(to), &path),
            TreeKind::Special(device) => {
                let (kind, mode) = (FileType::from_raw_mode(entry.mode), Mode::empty());
                Ok(rustix::fs::mknodat(CWD, &path, kind, mode, *device)?)
            }
            TreeKind::Directory | TreeKind::File(_) => unreachable!("they are there already"),
        }
    }
}

impl Missing {
    /// Makes a file, or opens the one that an earlier attempt has left, and looks which of its
    /// blocks are missing. Returns their number in all.
    fn look(&mut self, index: &Index, first: u32, path: &Path, bytes: u64) -> io::Result<u32> {
        let file = options().create(true).mode(0o600).open(path)?;
        let is_new = file.metadata()?.len() == 0;
        file.set_len(bytes)?;
        let block_bytes = u64::from(index.block_bytes);
        let (count, mut number) = (bytes.div_ceil(block_bytes) as u32, first);
        let mut add = |has: BlockDigest| {
            if index.digests[number as usize] != has {
                self.add(index, number);
            }
            number += 1;
        };
        if is_new {
            // It has zeros.
            let zeros = vec![0; index.block_bytes as usize];
            let whole = digest_of_block(&zeros);
            (0..bytes / block_bytes).for_each(|_| add(whole));
            let rest = bytes % block_bytes;
            if rest > 0 {
                add(digest_of_block(&zeros[..rest as usize]));
            }
        } else {
            for_each_block(file, index.block_bytes, |block| {
                add(digest_of_block(block));
                Ok(())
            })?;
        }
        Ok(count)
    }

    fn add(&mut self, index: &Index, number: u32) {
        match self.first.entry(index.digests[number as usize]) {
            Entry::Vacant(place) => drop(place.insert(number)),
            Entry::Occupied(first) => {
                let first = *first.get() as usize;
                self.next[number as usize] = self.next[first];
                self.next[first] = number;
            }
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) => Ok(()),
        made => made,
    }
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    options
}

fn dress(entry: &TreeEntry, path: &Path) -> io::Result<()> {
    let TreeEntry { owner, mode, changed, ref attributes, .. } = *entry;
    Attire { owner, mode, attributes, accessed: changed, changed }.put_on(path)
}

#[cfg(test)]
mod tests;
