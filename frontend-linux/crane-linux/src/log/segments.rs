//! The files that are being written: one at a time, with room made ahead, and a spare.
//!
//! Room: when the length and the blocks of a file have changed, a sync must write them as well, to
//! the file system's journal, which takes longer than the bytes themselves. Room is therefore made
//! for many records at once; it reads as zeros, at which a reader stops.
//!
//! The spare: a segment gets its first record only when the next file exists, with its header. A
//! log that has lost its last files is thereby recognised; without the spare it would look like a
//! shorter log.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::{Batch, record, segment_path};

/// The size of the steps in which room is made. (Tests need several steps.)
pub(super) const ROOM_BYTES: u64 = if crate::LIMITS_ARE_SMALL { 256 << 10 } else { 4 << 20 };

/// Writes batches into segments.
#[derive(Debug)]
pub(crate) struct Segments<D: Disk> {
    directory: PathBuf,
    disk: D,
    /// Whether room is made.
    makes_room: bool,
    open: Option<Open<D::File>>,
    failed: bool,
}

#[derive(Debug)]
struct Open<F> {
    number: u32,
    file: F,
    /// The offset after the last written byte.
    end: u64,
    /// The file's length, if it is larger than `end`.
    room: u64,
}

impl<D: Disk> Segments<D> {
    /// Creates a writer without open files. `makes_room` says that bytes will be synced.
    pub(crate) fn new(directory: &Path, disk: D, makes_room: bool) -> Self {
        Self { directory: directory.to_path_buf(), disk, makes_room, open: None, failed: false }
    }

    /// Writes a batch. It is not synced, but earlier segments are.
    ///
    /// # Errors
    /// Returns the reason why this replica must stop.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), String> {
        self.attempt("write", |segments| segments.put(batch))
    }

    /// Waits until everything that was written is on the disk.
    ///
    /// # Errors
    /// Returns the reason why this replica must stop.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        self.attempt("fdatasync", Self::sync_open)
    }

    fn attempt(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), String> {
        if self.failed {
            return Err("the log could not be written before; nothing is written after that".into());
        }
        let outcome = act(self);
        self.failed = outcome.is_err();
        outcome.map_err(|error| {
            let place = match &self.open {
                Some(open) => segment_path(&self.directory, open.number),
                None => self.directory.clone(),
            };
            let remedy = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "; make room, and start it again: nothing that it acknowledged is lost"
                }
                _ => "",
            };
            format!(
                "{what} of {} failed: {error}; this replica stops, because it does not know what \
                 its disk holds{remedy}",
                place.display()
            )
        })
    }

    fn put(&mut self, batch: &Batch) -> io::Result<()> {
        for chunk in &batch.chunks {
            if self.open.as_ref().is_none_or(|open| open.number != chunk.segment) {
                self.turn_to(chunk.segment)?;
            }
            let open = self.open.as_mut().expect("just opened");
            let end = chunk.offset + chunk.bytes.len() as u64;
            if self.makes_room && end > open.room {
                let room = end.next_multiple_of(ROOM_BYTES);
                self.disk.make_room(&open.file, open.room, room - open.room)?;
                open.room = room;
            }
            self.disk.write(&open.file, &chunk.bytes, chunk.offset)?;
            open.end = open.end.max(end);
        }
        Ok(())
    }

    /// Changes to another segment: the segment before it is on the disk as a whole, and this one
    /// and its spare exist.
    fn turn_to(&mut self, number: u32) -> io::Result<()> {
        self.sync_open()?;
        if let Some(before) = self.open.take() {
            self.disk.cut(&before.file, before.end)?;
        }
        let file = self.begin(number)?;
        self.begin(number + 1)?;
        let room = self.disk.length(&file)?;
        self.open = Some(Open { number, file, end: 0, room });
        Ok(())
    }

    fn begin(&mut self, number: u32) -> io::Result<D::File> {
        let file = self.disk.open(&segment_path(&self.directory, number))?;
        if self.disk.length(&file)? < record::SEGMENT_HEADER_BYTES as u64 {
            self.disk.write(&file, &record::segment_header(number), 0)?;
            self.disk.sync(&file)?;
            // Names are synced one at a time, so that none is on the disk before the name of the
            // segment before it.
            self.disk.sync_names(&self.directory)?;
        }
        Ok(file)
    }

    fn sync_open(&mut self) -> io::Result<()> {
        match &self.open {
            Some(open) => self.disk.sync(&open.file),
            None => Ok(()),
        }
    }
}
