//! A file made equal to another, block by block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;

/// The bytes that are compared at a time: both blocks fit into a processor's cache.
const BLOCK: usize = 1 << 17;

/// An error in one of the two files.
pub(super) enum WritingError {
    /// The file that is read.
    From(io::Error),
    /// The file that is written.
    To(io::Error),
    /// The time is over.
    Late,
}

/// Makes one file equal to another by a reference to its blocks. Returns whether the file system
/// can do so.
pub(super) fn clone(from: &File, to: &File) -> io::Result<bool> {
    // The clone of a shorter file would leave the end.
    to.set_len(0)?;
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes a file equal to the first `size` bytes of another: only blocks that differ are written,
/// and holes remain holes. If the other one becomes shorter meanwhile, so does this one. Returns
/// the number of bytes that were written.
pub(super) fn write_changes(
    from: &File,
    to: &File,
    size: u64,
    limit: Option<Instant>,
) -> Result<u64, WritingError> {
    let had = to.metadata().map_err(WritingError::To)?.len();
    let mut spaces = [vec![0; BLOCK], vec![0; BLOCK]];
    let (mut at, mut written) = (0, 0);
    while at < size {
        let data = find(from, SeekFrom::Data(at), size)?;
        make_hole(to, at, data.min(had)).map_err(WritingError::To)?;
        let end = find(from, SeekFrom::Hole(data), size)?;
        at = data;
        while at < end {
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                return Err(WritingError::Late);
            }
            let [block, before] = &mut spaces;
            let length = BLOCK.min((end - at) as usize);
            let count = fill(from, &mut block[..length], at).map_err(WritingError::From)?;
            if count == 0 {
                return to.set_len(at).map(|()| written).map_err(WritingError::To);
            }
            let is_known = at + count as u64 <= had && {
                let known = fill(to, &mut before[..count], at).map_err(WritingError::To)?;
                known == count && before[..count] == block[..count]
            };
            if !is_known {
                to.write_all_at(&block[..count], at).map_err(WritingError::To)?;
                written += count as u64;
            }
            at += count as u64;
        }
    }
    to.set_len(size).map(|()| written).map_err(WritingError::To)
}

/// Returns the next place with data, or without, at most `size`.
fn find(file: &File, what: SeekFrom, size: u64) -> Result<u64, WritingError> {
    match seek(file, what) {
        Ok(place) => Ok(place.min(size)),
        Err(Errno::NXIO) => Ok(size),
        // Without an answer, everything is data.
        Err(Errno::INVAL) => match what {
            SeekFrom::Data(at) => Ok(at.min(size)),
            _ => Ok(size),
        },
        Err(error) => Err(WritingError::From(error.into())),
    }
}

fn make_hole(file: &File, from: u64, to: u64) -> io::Result<()> {
    if from >= to {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, from, to - from) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            let zeros = [0; 4096];
            let mut at = from;
            while at < to {
                let length = zeros.len().min((to - at) as usize);
                file.write_all_at(&zeros[..length], at)?;
                at += length as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads until the space is full or the file ends.
fn fill(file: &File, space: &mut [u8], at: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < space.len() {
        match file.read_at(&mut space[count..], at + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
