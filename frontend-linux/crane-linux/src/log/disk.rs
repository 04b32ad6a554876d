//! The log's interface to the system's files, kept small so that tests can put a failing disk in
//! their place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

/// Files that can be written at any offset.
pub(crate) trait Disk {
    /// An open file.
    type File;

    /// Opens a file, or creates it.
    ///
    /// # Errors
    /// Returns the system's error, as the other functions do.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;

    /// Returns the length of the file, room included.
    ///
    /// # Errors
    /// Returns the system's error.
    fn length(&mut self, file: &Self::File) -> io::Result<u64>;

    /// Writes all of the bytes.
    ///
    /// # Errors
    /// Returns the system's error.
    fn write(&mut self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes room: appends zeros that have their place on the disk. Does nothing where files do not
    /// support that.
    ///
    /// # Errors
    /// Returns the system's error.
    fn make_room(&mut self, file: &Self::File, offset: u64, length: u64) -> io::Result<()>;

    /// Cuts the file to this length.
    ///
    /// # Errors
    /// Returns the system's error.
    fn cut(&mut self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Waits until everything that was written is on the disk. After an error the content of the
    /// disk is unknown.
    ///
    /// # Errors
    /// Returns the system's error.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;

    /// Waits until the names in a directory are on the disk.
    ///
    /// # Errors
    /// Returns the system's error.
    fn sync_names(&mut self, directory: &Path) -> io::Result<()>;
}

/// The host's disk.
#[derive(Debug, Default)]
pub(crate) struct HostDisk;

impl Disk for HostDisk {
    type File = File;

    fn open(&mut self, path: &Path) -> io::Result<File> {
        File::options().write(true).create(true).truncate(false).open(path)
    }

    fn length(&mut self, file: &File) -> io::Result<u64> {
        file.metadata().map(|metadata| metadata.len())
    }

    fn write(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn make_room(&mut self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            outcome => outcome.map_err(io::Error::from),
        }
    }

    fn cut(&mut self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_names(&mut self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// Reads a file as it is on the disk, not in the system's memory: bytes that an earlier run wrote
/// without a sync are synced now, and bytes that could not be written are forgotten. (After an
/// fsync that failed, Linux takes the pages for clean and continues to show them.)
///
/// # Errors
/// Returns the system's error.
pub(crate) fn read_settled(path: &Path) -> io::Result<Vec<u8>> {
    File::options().write(true).open(path)?.sync_all()?;
    let file = File::open(path)?;
    // This is a hint, which files in memory need not support.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    drop(file);
    std::fs::read(path)
}

/// Replaces a file by these bytes, as a whole or not at all. The bytes are durable afterwards.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let written = File::create(&new).and_then(|file| {
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    });
    if let Err(error) = written {
        // A full disk needs the space.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}
