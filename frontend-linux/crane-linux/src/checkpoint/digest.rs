//! The digest of a directory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::cell::upper::describe;

use super::tree::walk;

/// Returns a digest of all names, kinds, owners, modes, times of change, extended attributes, links
/// and contents in a directory, without some of its own files.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn digest_of(place: &Path, except: &[&str]) -> Result<[u8; 32], String> {
    let mut digest = Sha256::new();
    for entry in walk(place, except)? {
        let about = postcard::to_allocvec(&entry).expect("plain data");
        digest.update((about.len() as u64).to_le_bytes());
        digest.update(&about);
        if entry.file_bytes().is_some() {
            let path = entry.place_in(place);
            add_contents(&path, &mut digest).map_err(|error| describe(&path, &error))?;
        }
    }
    Ok(digest.finalize().into())
}

fn add_contents(path: &Path, digest: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut space = vec![0; 1 << 16];
    loop {
        match file.read(&mut space)? {
            0 => return Ok(()),
            count => digest.update(&space[..count]),
        }
    }
}
