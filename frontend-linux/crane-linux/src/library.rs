//! The preload library, which is built together with this program and is a part of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

static PRELOAD: &[u8] = include_bytes!(env!("CRANE_PRELOAD"));

/// Returns the digest of the library that servers run. An image has the library in it.
pub(crate) fn digest() -> [u8; 16] {
    let digest = Sha256::digest(PRELOAD);
    digest[..16].try_into().expect("a digest is longer")
}

/// Writes the library to a new file of the directory that the server's cell can see, because a
/// server that is still ending has the old one mapped. It may be executed, to start a program that
/// is linked statically.
///
/// # Errors
/// Returns the system's error, with the file.
pub(crate) fn put(run: &Path) -> Result<(), String> {
    let (path, new) = (run.join("preload.so"), run.join("preload.so.new"));
    let put = fs::write(&new, PRELOAD)
        .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&new, &path));
    put.map_err(|error| format!("{}: {error}", path.display()))
}
