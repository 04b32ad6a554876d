//! The files below the working directory, as parts of the base.
//!
//! Each file is two parts: its content, and its time of change. Where that makes too many for a
//! handshake, directories become one part each, the deepest first, so that a difference is named as
//! closely as the space permits. Every file counts, however many they are.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::digests::Digests;
use super::{BasePart, describe, is_ours, part};

/// Parts that the files make, at most.
pub(super) const FILE_PARTS_MAX: usize = 600;

/// Bytes of a path that a part's name repeats, at most.
const NAME_BYTES_MAX: usize = 200;

/// One directory's own files and directories.
#[derive(Default)]
struct Directory {
    files: BTreeMap<PathBuf, FileDigest>,
    directories: Vec<PathBuf>,
}

/// The two parts of a file.
struct FileDigest {
    content: [u8; 32],
    /// Servers tell it to their clients (`Last-Modified`, `ETag`), so it is a part of the base:
    /// copies are made with `cp -p` or `rsync -a`. Whole seconds, which every way of copying keeps.
    time_of_change: [u8; 8],
}

type Tree = BTreeMap<PathBuf, Directory>;

/// Returns the parts that the files below `directory` make, but for those that are `ours`; none
/// for the root.
///
/// # Errors
/// Names what could not be read.
pub(super) fn parts(
    directory: &Path,
    ours: &[PathBuf],
    digests: &mut Digests,
) -> Result<Vec<BasePart>, String> {
    if directory == Path::new("/") {
        return Ok(Vec::new());
    }
    Ok(parts_of(&read(directory, ours, digests)?))
}

fn read(root: &Path, ours: &[PathBuf], digests: &mut Digests) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let here = root.join(&below);
        let failed = |error: io::Error| describe(&here, &error);
        let mut directory = Directory::default();
        for item in fs::read_dir(&here).map_err(failed)? {
            let item = item.map_err(failed)?;
            let (path, relative) = (item.path(), below.join(item.file_name()));
            let about = item.metadata().map_err(|error| describe(&path, &error))?;
            if ours.contains(&path) {
                continue;
            }
            if !about.is_dir() {
                let content = digests.of(&path, &about)?;
                let file = FileDigest { content, time_of_change: time_of_change(&about) };
                directory.files.insert(relative, file);
            } else if !is_ours(&path) {
                directory.directories.push(relative);
            }
        }
        directory.directories.sort();
        waiting.extend_from_slice(&directory.directories);
        tree.insert(below, directory);
    }
    Ok(tree)
}

fn time_of_change(about: &Metadata) -> [u8; 8] {
    if about.is_file() { about.mtime().to_le_bytes() } else { [0; 8] }
}

fn parts_of(tree: &Tree) -> Vec<BasePart> {
    let mut parts = Vec::new();
    // Directories of which each holds the place of one part at least, the outer ones first.
    let mut waiting = VecDeque::from([PathBuf::new()]);
    while let Some(path) = waiting.pop_front() {
        let Directory { files, directories } = &tree[&path];
        let space = FILE_PARTS_MAX - parts.len() - waiting.len();
        if directories.len() + 2 * files.len() <= space {
            for (name, file) in files {
                let name = name_of(name);
                parts.push(part(&format!("file {name}"), &file.content));
                parts.push(part(&format!("time of change of {name}"), &file.time_of_change));
            }
        } else if directories.len() < space {
            let name = format!("files directly in {}", name_of(&path));
            parts.push(part(&name, &digest_of([&tree[&path]])));
        } else {
            let inside = tree.iter().filter(|(place, _)| place.starts_with(&path));
            let name = format!("files in {}", name_of(&path));
            parts.push(part(&name, &digest_of(inside.map(|(_, directory)| directory))));
            continue;
        }
        waiting.extend(directories.iter().cloned());
    }
    parts
}

/// Returns a name that no other path has. All parts of a base fit into one frame of a handshake, so
/// a long path is shortened at its front.
fn name_of(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return ".".to_string();
    }
    match path.to_str() {
        Some(text) if text.len() <= NAME_BYTES_MAX => text.to_string(),
        _ => {
            let text = path.to_string_lossy();
            let end: Vec<char> = text.chars().rev().take(NAME_BYTES_MAX / 8).collect();
            let end: String = end.into_iter().rev().collect();
            let whole = Sha256::digest(path.as_os_str().as_encoded_bytes());
            let whole = u64::from_le_bytes(*whole.first_chunk().expect("32 bytes"));
            format!("…{end} (path {whole:016x})")
        }
    }
}

fn digest_of<'a>(directories: impl IntoIterator<Item = &'a Directory>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, file) in directories.into_iter().flat_map(|directory| &directory.files) {
        hash.update((name.as_os_str().len() as u64).to_le_bytes());
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(file.content);
        hash.update(file.time_of_change);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: impl IntoIterator<Item = (String, u8)>) -> Tree {
        let mut tree = Tree::from([(PathBuf::new(), Directory::default())]);
        for (path, content) in files {
            let path = PathBuf::from(path);
            let around: Vec<&Path> = path.ancestors().skip(1).collect();
            for pair in around.windows(2) {
                let outer = tree.entry(pair[1].into()).or_default();
                if !outer.directories.iter().any(|known| known == pair[0]) {
                    outer.directories.push(pair[0].into());
                    outer.directories.sort();
                }
            }
            let file = FileDigest { content: [content; 32], time_of_change: [0; 8] };
            tree.entry(around[0].into()).or_default().files.insert(path, file);
        }
        tree
    }

    /// Returns the names of the parts that differ when each one file does.
    fn named(files: &[String], changed: &str) -> Vec<String> {
        let parts = |other: u8| {
            let content = |path: &String| if path == changed { other } else { 1 };
            parts_of(&tree(files.iter().map(|path| (path.clone(), content(path)))))
        };
        let (one, other) = (parts(1), parts(2));
        assert!(one.len() <= FILE_PARTS_MAX, "{}", one.len());
        assert_eq!(one.len(), other.len());
        let differing = one.iter().zip(&other).filter(|(one, other)| one != other);
        differing.map(|(part, _)| part.name.clone()).collect()
    }

    #[test]
    fn every_file_counts_however_many_they_are() {
        let flat: Vec<String> = (0..5000).map(|number| format!("{number}")).collect();
        for changed in ["0", "4999"] {
            assert_eq!(named(&flat, changed), ["files directly in ."]);
        }
        // More directories than parts.
        let wide: Vec<String> = (0..5000).map(|number| format!("{number}/x")).collect();
        assert_eq!(named(&wide, "4321/x"), ["files in ."]);
        let deep: Vec<String> = (0..5000).map(|n| format!("www/{}/{n}", n % 20)).collect();
        assert_eq!(named(&deep, "www/7/4987"), ["files directly in www/7"]);
        let few: Vec<String> = (0..300).map(|number| format!("www/{number}")).collect();
        assert_eq!(named(&few, "www/299"), ["file www/299"]);
    }

    #[test]
    fn a_small_file_beside_a_large_directory_is_named() {
        let mut files: Vec<String> = (0..5000).map(|number| format!("data/{number}")).collect();
        files.push("server.conf".into());
        assert_eq!(named(&files, "server.conf"), ["file server.conf"]);
        assert_eq!(named(&files, "data/17"), ["files directly in data"]);
    }

    #[test]
    fn names_of_long_and_odd_paths_are_short_and_differ() {
        use std::os::unix::ffi::OsStrExt;
        let long = |first: char| PathBuf::from(format!("{first}{}", "/directory".repeat(300)));
        let odd = |byte: u8| PathBuf::from(std::ffi::OsStr::from_bytes(&[b'a', byte]));
        for (one, other) in [(long('a'), long('b')), (odd(0xff), odd(0xfe))] {
            assert_ne!(name_of(&one), name_of(&other));
            assert!(name_of(&one).len() <= NAME_BYTES_MAX);
        }
    }
}
