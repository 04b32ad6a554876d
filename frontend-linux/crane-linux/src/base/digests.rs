//! Digests of files, remembered between starts: a file that has not changed is not read again.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::describe;

/// Bytes of a file that are read for its digest; the rest counts by its length.
const FILE_BYTES_READ_MAX: u64 = 256 << 20;
/// The file's name in the data directory.
const NAME: &str = "digests";
/// The first bytes of the file. They change with the format, and with what a digest covers.
const VERSION: u32 = 1;
/// A file that changed less than this before it was read may change again without a trace in its
/// times, whose steps are coarse; it is read again at the next start.
const SETTLED_NS: i128 = 1_000_000_000;

/// Distinguishes the states of a file without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// The kernel sets it at each change of content, mode or time, and no program can choose it.
    changed: (i64, i64),
}

impl FileState {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    fn is_settled(&self, now_ns: i128) -> bool {
        let (seconds, nanoseconds) = self.changed;
        i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds) + SETTLED_NS <= now_ns
    }
}

type KnownDigests = HashMap<FileState, [u8; 32]>;

/// The digests of a start: those of the start before, and those that are used now.
#[derive(Debug, Default)]
pub(super) struct Digests {
    file: Option<PathBuf>,
    before: KnownDigests,
    now: KnownDigests,
    /// Files that were read, because no digest of their state was known.
    pub(super) read: usize,
}

impl Digests {
    /// Loads what the last start left in the data directory. A missing or damaged file only makes
    /// this start read every file.
    pub(super) fn load(data: &Path) -> Self {
        let file = data.join(NAME);
        let before = fs::read(&file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { file: Some(file), before, ..Self::default() }
    }

    /// Returns the digest of content, length, and whether the file can be executed.
    ///
    /// # Errors
    /// Names what could not be read.
    pub(super) fn of(&mut self, path: &Path, about: &Metadata) -> Result<[u8; 32], String> {
        let state = FileState::of(about);
        if about.is_file()
            && let Some(digest) = self.before.get(&state)
        {
            self.now.insert(state, *digest);
            return Ok(*digest);
        }
        let now_ns = unix_nanoseconds();
        let digest = digest_of(path, about).map_err(|error| describe(path, &error))?;
        if about.is_file() {
            self.read += 1;
            if state.is_settled(now_ns) {
                self.now.insert(state, digest);
            }
        }
        Ok(digest)
    }

    /// Leaves the digests for the next start. A data directory that cannot be written to costs the
    /// next start its time, and nothing else.
    pub(super) fn store(&self) {
        let Some(file) = self.file.as_ref().filter(|_| self.now != self.before) else { return };
        let new = file.with_extension("new");
        if fs::write(&new, encode(&self.now)).is_ok() {
            let _ = fs::rename(&new, file);
        }
    }
}

fn encode(known: &KnownDigests) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    let known: Vec<_> = known.iter().collect();
    let mut bytes = postcard::to_extend(&known, bytes).expect("a vector takes all");
    let sum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<KnownDigests> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, body) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || u32::from_le_bytes(*sum) != crc32fast::hash(body)
    {
        return None;
    }
    let known: Vec<(FileState, [u8; 32])> = postcard::from_bytes(body).ok()?;
    Some(known.into_iter().collect())
}

fn unix_nanoseconds() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).expect("a clock within 10^21 years")
}

fn digest_of(path: &Path, about: &Metadata) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    if about.file_type().is_symlink() {
        hash.update(fs::read_link(path)?.as_os_str().as_encoded_bytes());
    } else if about.is_file() {
        hash.update(about.len().to_le_bytes());
        hash.update((about.mode() & 0o111).to_le_bytes());
        let mut reader = fs::File::open(path)?.take(FILE_BYTES_READ_MAX);
        let mut space = vec![0; about.len().clamp(1, 256 * 1024) as usize];
        loop {
            let length = reader.read(&mut space)?;
            if length == 0 {
                break;
            }
            hash.update(&space[..length]);
        }
    } else {
        hash.update((about.mode() & libc::S_IFMT).to_le_bytes());
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn digest(digests: &mut Digests, path: &Path) -> [u8; 32] {
        digests.of(path, &fs::symlink_metadata(path).unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let data = std::env::temp_dir().join(format!("crane-digests-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).unwrap();
        let path = data.join("file");
        fs::write(&path, "one").unwrap();

        // Too young to be remembered: its next change might leave the same times.
        let mut young = Digests::load(&data);
        let first = digest(&mut young, &path);
        young.store();
        assert_eq!((young.read, young.now.len()), (1, 0));

        std::thread::sleep(Duration::from_millis(1100));
        for reads in [1, 0] {
            let mut digests = Digests::load(&data);
            assert_eq!(digest(&mut digests, &path), first);
            assert_eq!(digests.read, reads);
            digests.store();
        }

        // Same length, and the old time put back, as `rsync -t` and `touch -r` do.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let mut digests = Digests::load(&data);
        assert_ne!(digest(&mut digests, &path), first);
        assert_eq!(digests.read, 1);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let state = FileState { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };
        let known: KnownDigests = [(state, [9; 32])].into();
        let bytes = encode(&known);
        assert_eq!(decode(&bytes), Some(known));
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0x40;
            assert_eq!(decode(&bytes), None, "byte {place}");
            assert_eq!(decode(&bytes[..place]), None);
        }
    }
}
