//! The digest of a directory.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cell::upper::describe;

/// Returns a digest of all names, kinds, owners, modes, links and contents in a directory, without
/// some of its own files.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn digest_of(place: &Path, except: &[&str]) -> Result<[u8; 32], String> {
    let mut digest = Sha256::new();
    let except: Vec<PathBuf> = except.iter().map(|name| place.join(name)).collect();
    add(place, place, &except, &mut digest)?;
    Ok(digest.finalize().into())
}

fn add(root: &Path, path: &Path, except: &[PathBuf], digest: &mut Sha256) -> Result<(), String> {
    let failed = |error: io::Error| describe(path, &error);
    let about = fs::symlink_metadata(path).map_err(failed)?;
    let name = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
    let numbers = [name.len() as u64, about.mode().into(), about.uid().into(), about.gid().into()];
    for number in
        numbers.into_iter().chain([about.rdev(), about.size() * u64::from(about.is_file())])
    {
        digest.update(number.to_le_bytes());
    }
    digest.update(name);
    if about.is_dir() {
        let items = fs::read_dir(path).map_err(failed)?;
        let mut paths: Vec<PathBuf> = items
            .map(|item| item.map(|item| item.path()))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        paths.retain(|inner| !except.contains(inner));
        paths.sort();
        paths.iter().try_for_each(|inner| add(root, inner, except, digest))
    } else if about.is_symlink() {
        digest.update(fs::read_link(path).map_err(failed)?.as_os_str().as_bytes());
        Ok(())
    } else if about.is_file() {
        let mut file = fs::File::open(path).map_err(failed)?;
        let mut space = vec![0; 1 << 16];
        loop {
            match file.read(&mut space).map_err(failed)? {
                0 => return Ok(()),
                count => digest.update(&space[..count]),
            }
        }
    } else {
        Ok(())
    }
}
