//! The log's demands on the system's files, in few words, so that tests can put a failing disk
//! there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

/// Files that can be written at any place.
pub(crate) trait Disk {
    /// One of them, open.
    type File;

    /// Opens a file, or makes it.
    ///
    /// # Errors
    /// As the system says; so with the others.
    fn open(&mut self, path: &Path) -> io::Result<Self::File>;

    /// Bytes in it, room included.
    ///
    /// # Errors
    /// As the system says.
    fn length(&mut self, file: &Self::File) -> io::Result<u64>;

    /// Writes all of the bytes.
    ///
    /// # Errors
    /// As the system says.
    fn write(&mut self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes room: zeros at the end of the file, that have their place on the disk. Where files
    /// cannot do that, nothing is done.
    ///
    /// # Errors
    /// As the system says.
    fn make_room(&mut self, file: &Self::File, offset: u64, length: u64) -> io::Result<()>;

    /// Cuts the file to its length.
    ///
    /// # Errors
    /// As the system says.
    fn cut(&mut self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Waits until all that was written is on the disk. After an error nobody knows what is.
    ///
    /// # Errors
    /// As the system says.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;

    /// The same for the names in a directory.
    ///
    /// # Errors
    /// As the system says.
    fn sync_names(&mut self, directory: &Path) -> io::Result<()>;
}

/// The host's.
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

/// Reads a file as the disk has it, not as the system remembers it: what a run before this one
/// wrote and did not sync is synced now, and what could not be written is forgotten. (After an
/// fsync that failed, Linux takes the pages for clean and goes on to show them.)
///
/// # Errors
/// As the system says.
pub(crate) fn read_settled(path: &Path) -> io::Result<Vec<u8>> {
    File::options().write(true).open(path)?.sync_all()?;
    let file = File::open(path)?;
    // A hint, which files that live in memory need not take.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    drop(file);
    std::fs::read(path)
}

/// Replaces a file by these bytes, as a whole or not at all; durable afterwards.
///
/// # Errors
/// As the system says.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let file = File::create(&new)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()
}
