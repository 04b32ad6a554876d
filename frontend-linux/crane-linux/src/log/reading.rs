//! Which files form a log, and where it ends: what a crash may have left, and what is damage.
//!
//! A log is a sequence of segments without a gap. All segments but the last two say at their end
//! that the next one continues ([`StoredRecord::Closed`]); the last but one is being written; the
//! last is a spare without records. Before the first record is written, and after a segment was
//! closed, the segment that is being written may be the last. A crash leaves at most a torn end in
//! the segment that is being written, and a torn header where no record follows it. Everything else
//! is damage.

use std::io;
use std::path::{Path, PathBuf};

use super::front::Front;
use super::record::{self, Bad, Found, SEGMENT_HEADER_BYTES, StoredRecord};
use super::{LogError, segment_path};

/// The place where a log continues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// The segment that is being written.
    pub segment: u32,
    /// The offset in the segment.
    pub offset: usize,
    /// The number of bytes after that offset which a crash has left torn.
    pub torn_bytes: usize,
    /// The files in which not even the header was written.
    pub headless: Vec<PathBuf>,
}

/// Calls `each` for every record of the log in a directory, in order; `front` is where the log
/// starts. `each` returns an error if a record cannot follow the ones before it.
///
/// # Errors
/// Returns [`LogError`].
pub(crate) fn read_log(
    directory: &Path,
    front: Option<&Front>,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    each: impl FnMut(u32, &Found<'_>) -> Result<(), Bad>,
) -> Result<End, LogError> {
    read_segments(directory, segment_numbers(directory)?, front, read, each)
}

/// Reads a log as [`read_log`] does, of the segments with these numbers, which rise. No file is
/// touched but by `read`.
///
/// # Errors
/// Returns [`LogError`].
pub(crate) fn read_segments(
    directory: &Path,
    mut numbers: Vec<u32>,
    front: Option<&Front>,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    mut each: impl FnMut(u32, &Found<'_>) -> Result<(), Bad>,
) -> Result<End, LogError> {
    let (first, start) =
        front.map_or((1, SEGMENT_HEADER_BYTES), |front| (front.segment, front.offset as usize));
    // The deletion of the segments before the front was interrupted.
    numbers.retain(|number| *number >= first);
    let end = |segment, offset| End { segment, offset, torn_bytes: 0, headless: Vec::new() };
    let begun = front.is_some_and(|front| front.entry_kept);
    let Some(last) = numbers.len().checked_sub(1) else {
        let missing = || LogError::Missing(segment_path(directory, first));
        return if begun { Err(missing()) } else { Ok(end(first, start)) };
    };
    if let Some((_, expected)) = numbers.iter().zip(first..).find(|(number, at)| *number != at) {
        return Err(LogError::Missing(segment_path(directory, expected)));
    }
    for (place, number) in numbers.iter().copied().enumerate() {
        let path = segment_path(directory, number);
        let bytes = read(&path).map_err(|error| LogError::Io(path.clone(), error))?;
        let start = if place == 0 { start } else { SEGMENT_HEADER_BYTES };
        let damaged = |offset| LogError::Damaged(path.clone(), offset);
        let segment = read_segment(&bytes, number, start, |found| each(number, found));
        let segment = segment.map_err(|bad| match bad {
            Bad::Version { version } => LogError::Version(path.clone(), version),
            Bad::Torn { offset } | Bad::Damaged { offset } => damaged(offset),
        })?;
        if begun && segment.records == 0 && place == 0 {
            return Err(damaged(start));
        }
        if segment.closed {
            if place == last {
                return Err(LogError::Missing(segment_path(directory, number + 1)));
            }
            continue;
        }
        let mut end = end(number, segment.end);
        end.torn_bytes = if segment.torn { bytes.len() - segment.end } else { 0 };
        if segment.headless {
            // The header of every segment after the first was written before the previous segment
            // was closed.
            if begun || place > 0 {
                return Err(damaged(0));
            }
            (end.offset, end.headless) = (SEGMENT_HEADER_BYTES, vec![path.clone()]);
        }
        let written = segment.records > 0 || segment.torn && !segment.headless;
        if last > place + 1 {
            return Err(damaged(segment.end));
        }
        check_spare(directory, number, written, last > place, &mut end, &read)?;
        return Ok(end);
    }
    unreachable!("the last segment is not closed")
}

/// Checks the file after the one that is being written.
fn check_spare(
    directory: &Path,
    number: u32,
    written: bool,
    there: bool,
    end: &mut End,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<(), LogError> {
    let path = segment_path(directory, number + 1);
    if !there {
        return if written { Err(LogError::Missing(path)) } else { Ok(()) };
    }
    let bytes = read(&path).map_err(|error| LogError::Io(path.clone(), error))?;
    match read_segment(&bytes, number + 1, SEGMENT_HEADER_BYTES, |_| Ok(())) {
        // The spare has records, so the segment before it was closed, and has lost its end.
        Ok(spare) if spare.records > 0 => {
            Err(LogError::Damaged(segment_path(directory, number), end.offset))
        }
        Ok(spare) if spare.headless && !written => {
            end.headless.push(path);
            Ok(())
        }
        Ok(spare) if spare.headless || spare.torn => Err(LogError::Damaged(path, spare.end)),
        Ok(_) => Ok(()),
        Err(Bad::Version { version }) => Err(LogError::Version(path, version)),
        Err(Bad::Torn { offset } | Bad::Damaged { offset }) => Err(LogError::Damaged(path, offset)),
    }
}

/// The contents of one file.
struct Segment {
    records: usize,
    closed: bool,
    /// The offset after the last whole record.
    end: usize,
    /// Whether bytes follow that were not written as a whole.
    torn: bool,
    /// Whether these bytes are the header.
    headless: bool,
}

fn read_segment(
    bytes: &[u8],
    number: u32,
    start: usize,
    mut each: impl FnMut(&Found<'_>) -> Result<(), Bad>,
) -> Result<Segment, Bad> {
    let mut segment =
        Segment { records: 0, closed: false, end: start, torn: false, headless: false };
    match record::check_segment(bytes, number) {
        Ok(()) => {}
        // Records are written only when the header is on the disk.
        Err(Bad::Torn { .. }) if bytes.iter().all(|byte| *byte == 0) => {
            (segment.torn, segment.headless, segment.end) = (!bytes.is_empty(), true, 0);
            return Ok(segment);
        }
        Err(Bad::Torn { offset }) if bytes.len() < SEGMENT_HEADER_BYTES => {
            (segment.torn, segment.headless, segment.end) = (true, true, offset);
            return Ok(segment);
        }
        Err(Bad::Torn { offset }) => return Err(Bad::Damaged { offset }),
        Err(bad) => return Err(bad),
    }
    loop {
        match record::decode(bytes, segment.end) {
            Ok(None) => return Ok(segment),
            Ok(Some(found)) if segment.closed => return Err(Bad::Damaged { offset: found.offset }),
            Ok(Some(found)) => {
                segment.closed = found.stored == StoredRecord::Closed;
                each(&found)?;
                segment.records += 1;
                segment.end = found.end;
            }
            Err(Bad::Torn { offset })
                if !segment.closed && !record::is_known_synced(bytes, offset) =>
            {
                segment.torn = true;
                return Ok(segment);
            }
            Err(Bad::Torn { offset }) => return Err(Bad::Damaged { offset }),
            Err(bad) => return Err(bad),
        }
    }
}

/// Returns the numbers of the segments in a directory, in order.
pub(super) fn segment_numbers(directory: &Path) -> Result<Vec<u32>, LogError> {
    let failed = |error| LogError::Io(directory.to_path_buf(), error);
    let mut numbers = Vec::new();
    for item in std::fs::read_dir(directory).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes the segments below `first`, the oldest first.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn delete_before(directory: &Path, first: u32) -> Result<usize, LogError> {
    let mut deleted = 0;
    for number in segment_numbers(directory)?.into_iter().filter(|number| *number < first) {
        let path = segment_path(directory, number);
        std::fs::remove_file(&path).map_err(|error| LogError::Io(path.clone(), error))?;
        deleted += 1;
    }
    Ok(deleted)
}
