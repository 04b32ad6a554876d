//! A checkpoint as one file: the length of its index, the index, and the contents of all its files
//! in their order, compressed by zstd.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::assembly::Assembly;
use super::index::{INDEX_BYTES_MAX, Index};
use crate::cell::upper::describe;

/// The level of compression: the fastest one, since images are mostly pages of zeros and text.
pub(crate) const LEVEL: i32 = 1;

/// Writes the archive of a directory to a new file, and returns its bytes.
///
/// # Errors
/// Returns what the system refused. No file is left in that case.
pub(crate) fn pack(directory: &Path, to: &Path) -> Result<u64, String> {
    let packed = write(directory, to);
    if packed.is_err() {
        // A full disk needs the space.
        let _ = fs::remove_file(to);
    }
    packed
}

fn write(directory: &Path, to: &Path) -> Result<u64, String> {
    let failed = |error: io::Error| describe(to, &error);
    let index = Index::of(directory)?;
    let bytes = index.encode()?;
    let file = File::create(to).map_err(failed)?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).map_err(failed)?;
    encoder.write_all(&(bytes.len() as u64).to_le_bytes()).map_err(failed)?;
    encoder.write_all(&bytes).map_err(failed)?;
    for file in index.files() {
        let path = file.entry.place_in(directory);
        let from = File::open(&path).map_err(|error| describe(&path, &error))?;
        let copied = io::copy(&mut from.take(file.bytes), &mut encoder).map_err(failed)?;
        if copied != file.bytes {
            return Err(format!("{} has changed", path.display()));
        }
    }
    let file = encoder.finish().map_err(failed)?;
    file.sync_all().map_err(failed)?;
    file.metadata().map(|about| about.len()).map_err(failed)
}

/// Makes the directory of an archive, in an empty one.
///
/// # Errors
/// Returns what the system refused, or that the file is no archive.
pub(crate) fn unpack(archive: &Path, directory: &Path) -> Result<(), String> {
    let failed = |error: io::Error| describe(archive, &error);
    let mut decoder = File::open(archive).and_then(zstd::Decoder::new).map_err(failed)?;
    let mut length = [0; 8];
    decoder.read_exact(&mut length).map_err(failed)?;
    let length = u64::from_le_bytes(length);
    if length > INDEX_BYTES_MAX {
        return Err(format!("{} is no checkpoint", archive.display()));
    }
    let mut bytes = vec![0; length as usize];
    decoder.read_exact(&mut bytes).map_err(failed)?;
    let index = Index::decode(&bytes)?;
    let lengths: Vec<u64> = index.files().map(|file| file.bytes).collect();
    let mut space = vec![0; index.block_bytes() as usize];
    let mut assembly = Assembly::begin(index, directory)?;
    for mut left in lengths {
        while left > 0 {
            let block = &mut space[..left.min(u64::from(assembly.index().block_bytes())) as usize];
            decoder.read_exact(block).map_err(failed)?;
            assembly.put(block)?;
            left -= block.len() as u64;
        }
    }
    assembly.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::digest::digest_of;

    #[test]
    fn a_directory_comes_out_as_it_went_in_and_damage_is_refused() {
        let place = std::env::temp_dir().join(format!("crane-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        let (from, to, file) = (place.join("from"), place.join("to"), place.join("archive"));
        fs::create_dir_all(from.join("image/deep")).unwrap();
        fs::write(from.join("image/deep/pages"), [7; 100_000]).unwrap();
        fs::write(from.join("image/text"), "text").unwrap();
        let bytes = pack(&from, &file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), bytes);
        assert!(bytes < 10_000, "it is compressed: {bytes}");
        unpack(&file, &to).unwrap();
        assert_eq!(fs::read(to.join("image/deep/pages")).unwrap(), [7; 100_000]);
        assert_eq!(digest_of(&from, &[]), digest_of(&to, &[]));

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
