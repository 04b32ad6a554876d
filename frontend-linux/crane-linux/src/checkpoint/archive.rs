//! A checkpoint as one file, for the way to another host: all of its directory in the form of
//! tar(1), compressed by zstd.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

/// The level of compression: the fastest one, since images are mostly pages of zeros and text.
const LEVEL: i32 = 1;
/// Attributes that belong to files, and those that the cell's file system keeps in its layers.
const ATTRIBUTES: [&str; 5] = [
    "--xattrs",
    "--xattrs-include=trusted.*",
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--xattrs-include=system.posix_acl*",
];

/// The size and the digest of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packed {
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// The digest of its bytes.
    pub(crate) digest: [u8; 32],
}

/// Writes the archive of a directory to a new file.
///
/// # Errors
/// Returns what the system or tar(1) refused. No file is left in that case.
pub(crate) fn pack(directory: &Path, to: &Path) -> Result<Packed, String> {
    let packed = write(directory, to);
    if packed.is_err() {
        // A full disk needs the space.
        let _ = fs::remove_file(to);
    }
    packed
}

fn write(directory: &Path, to: &Path) -> Result<Packed, String> {
    let failed = |error: io::Error| format!("{}: {error}", to.display());
    let mut command = Command::new("tar");
    command.arg("-C").arg(directory).args(ATTRIBUTES).args(["--format=posix", "-cf", "-", "."]);
    let mut tar = start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut output = tar.stdout.take().expect("it was piped");
    let compressed = compress(&mut output, to);
    // Without its reader it ends, and is waited for in any case.
    drop(output);
    let ended = end(tar);
    let Counted { file, bytes, digest } = compressed.map_err(failed)?;
    ended?;
    file.sync_all().map_err(failed)?;
    Ok(Packed { bytes, digest: digest.finalize().into() })
}

fn compress(from: &mut impl Read, to: &Path) -> io::Result<Counted> {
    let file = Counted { file: File::create(to)?, bytes: 0, digest: Sha256::new() };
    let mut encoder = zstd::Encoder::new(file, LEVEL)?;
    io::copy(from, &mut encoder)?;
    encoder.finish()
}

/// Returns the size and the digest of a file.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn measure(path: &Path) -> io::Result<Packed> {
    let mut file = File::open(path)?;
    let (mut space, mut bytes, mut digest) = (vec![0; 1 << 16], 0, Sha256::new());
    loop {
        match file.read(&mut space)? {
            0 => return Ok(Packed { bytes, digest: digest.finalize().into() }),
            count => {
                digest.update(&space[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// Makes the directory of an archive, in an empty one.
///
/// # Errors
/// Returns what the system or tar(1) refused, or that the file is no archive.
pub(crate) fn unpack(archive: &Path, directory: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", archive.display());
    fs::create_dir_all(directory).map_err(failed)?;
    let mut decoder = File::open(archive).and_then(zstd::Decoder::new).map_err(failed)?;
    let mut command = Command::new("tar");
    command.arg("-C").arg(directory).args(ATTRIBUTES).args(["-xpf", "-", "--same-owner"]);
    let mut tar = start(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let mut input = tar.stdin.take().expect("it was piped");
    let copied = io::copy(&mut decoder, &mut input);
    drop(input);
    end(tar)?;
    copied.map(drop).map_err(failed)
}

fn start(command: &mut Command) -> Result<Child, String> {
    command.stderr(Stdio::piped()).spawn().map_err(|error| {
        format!("tar cannot be started: {error}; install it to send and to receive checkpoints")
    })
}

fn end(tar: Child) -> Result<(), String> {
    let output = tar.wait_with_output().map_err(|error| format!("tar: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().unwrap_or_default();
    if output.status.success() { Ok(()) } else { Err(format!("tar: {}: {first}", output.status)) }
}

/// A file that counts its bytes and computes their digest.
struct Counted {
    file: File,
    bytes: u64,
    digest: Sha256,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_comes_out_as_it_went_in_and_damage_is_refused() {
        let place = std::env::temp_dir().join(format!("crane-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        let (from, to, file) = (place.join("from"), place.join("to"), place.join("archive"));
        fs::create_dir_all(from.join("image/deep")).unwrap();
        fs::write(from.join("image/deep/pages"), [7; 100_000]).unwrap();
        fs::set_permissions(from.join("image"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("deep/pages", from.join("image/link")).unwrap();
        let packed = pack(&from, &file).unwrap();
        assert_eq!(measure(&file).unwrap(), packed);
        assert!(packed.bytes < 10_000, "it is compressed: {packed:?}");
        unpack(&file, &to).unwrap();
        assert_eq!(fs::read(to.join("image/link")).unwrap(), [7; 100_000]);
        assert_eq!(fs::metadata(to.join("image")).unwrap().mode() & 0o777, 0o750);
        let time = |root: &Path| fs::metadata(root.join("image/deep/pages")).unwrap().mtime_nsec();
        assert_eq!(time(&from), time(&to));

        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(unpack(&file, &place.join("half")).is_err());
        fs::write(&file, "no archive at all").unwrap();
        assert!(unpack(&file, &place.join("none")).is_err());
        assert!(pack(&place.join("not there"), &file).is_err());
        assert!(!file.exists(), "no half archive is left");
        fs::remove_dir_all(&place).unwrap();
    }
}
