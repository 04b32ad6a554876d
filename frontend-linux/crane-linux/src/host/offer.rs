//! A checkpoint that other replicas can receive: its index in a file, and its own files under names
//! of this offer, so that they can be read until the end even if newer checkpoints replace it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crane_core::id::Slot;
use sha2::{Digest, Sha256};

use crate::cell::upper::{self, describe};
use crate::checkpoint::archive::LEVEL;
use crate::checkpoint::index::{BLOCK_BYTES_MAX, Index};
use crate::checkpoint::store::{self, Checkpoint, Prefix};
use crate::report::{PIECE_BYTES, TransferMessage};

const _: () = assert!(BLOCK_BYTES_MAX as u64 <= PIECE_BYTES);

/// The name of the index in the directory of an offer.
const INDEX: &str = "index";

/// An offer. Its directory is removed when this is dropped.
pub(super) struct Offer {
    /// The slot of the checkpoint.
    pub(super) slot: Slot,
    directory: PathBuf,
    /// The length of the index, and its digest.
    bytes: u64,
    digest: [u8; 32],
    prefix: Prefix,
    block_bytes: u64,
    blocks: u32,
    /// The files that have blocks.
    files: Vec<OfferedFile>,
}

struct OfferedFile {
    /// The number of its first block.
    first: u32,
    bytes: u64,
    path: PathBuf,
}

impl Offer {
    /// Offers the newest proved checkpoint in a data directory, in a new directory of the one for
    /// offers, unless it is the one that is known: then it returns `None`.
    ///
    /// # Errors
    /// Returns that there is none, or what the system refused.
    // specs: C6
    pub(super) fn make(
        data: &Path,
        offers: &Path,
        group: &str,
        library: [u8; 16],
        known: Option<Slot>,
    ) -> Result<Option<Self>, String> {
        let all = store::usable(data, group, Some(library));
        let newest = all.into_iter().find(Checkpoint::is_proved);
        let Checkpoint { place, manifest } =
            newest.ok_or("it has no proved checkpoint that this version can send")?;
        let slot = manifest.slot;
        if known == Some(slot) {
            return Ok(None);
        }
        let directory = offers.join(slot.to_string());
        let failed = |error: io::Error| describe(&directory, &error);
        upper::remove(&directory)?;
        fs::create_dir_all(&directory).map_err(failed)?;
        let prefix = manifest.proof.expect("it is proved").prefix;
        let mut offer = Self {
            slot,
            directory,
            bytes: 0,
            digest: [0; 32],
            prefix,
            block_bytes: 0,
            blocks: 0,
            files: Vec::new(),
        };
        let index = Index::of(&place)?;
        let bytes = index.encode()?;
        let path = offer.directory.join(INDEX);
        fs::write(&path, &bytes).map_err(|error| describe(&path, &error))?;
        (offer.bytes, offer.digest) = (bytes.len() as u64, Sha256::digest(&bytes).into());
        (offer.block_bytes, offer.blocks) = (index.block_bytes().into(), index.blocks());
        for file in index.files().filter(|file| file.bytes > 0) {
            let (from, kept) =
                (file.entry.place_in(&place), offer.directory.join(file.first.to_string()));
            // A file system may have no second names. The offer then ends with the checkpoint.
            let path = if fs::hard_link(&from, &kept).is_ok() { kept } else { from };
            offer.files.push(OfferedFile { first: file.first, bytes: file.bytes, path });
        }
        Ok(Some(offer))
    }

    /// Returns the message that offers it.
    pub(super) fn message(&self) -> TransferMessage {
        let Self { slot, bytes, digest, .. } = *self;
        TransferMessage::Offered { slot, bytes, digest, prefix: Box::new(self.prefix.clone()) }
    }

    /// Returns the message with a piece of the index.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn piece(&self, offset: u64) -> io::Result<TransferMessage> {
        let length = self.bytes.saturating_sub(offset).min(PIECE_BYTES);
        let mut bytes = vec![0; length as usize];
        File::open(self.directory.join(INDEX))?.read_exact_at(&mut bytes, offset)?;
        Ok(TransferMessage::Piece { slot: self.slot, offset, bytes })
    }

    /// Returns the message with blocks: ranges of them, each as its first one and their number, or
    /// `None` if they are too many or there are none of these.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn blocks(&self, ranges: &[(u32, u32)]) -> io::Result<Option<TransferMessage>> {
        let count: u64 = ranges.iter().map(|(_, count)| u64::from(*count)).sum();
        let are_there = ranges
            .iter()
            .all(|(first, count)| first.checked_add(*count).is_some_and(|end| end <= self.blocks));
        let Some(&(first, _)) = ranges.first() else { return Ok(None) };
        if !are_there || count * self.block_bytes > PIECE_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(PIECE_BYTES as usize);
        let mut open = None;
        for number in ranges.iter().flat_map(|(first, count)| *first..first + count) {
            self.read_block(number, &mut open, &mut bytes)?;
        }
        let bytes = zstd::bulk::compress(&bytes, LEVEL)?;
        Ok(Some(TransferMessage::Blocks { slot: self.slot, first, bytes }))
    }

    /// Reads a block. The file `open` is used again if the block is in it.
    fn read_block(
        &self,
        number: u32,
        open: &mut Option<(usize, File)>,
        space: &mut Vec<u8>,
    ) -> io::Result<()> {
        let at = self.files.partition_point(|file| file.first <= number) - 1;
        let OfferedFile { first, bytes, path } = &self.files[at];
        let file = match open.take() {
            Some((same, file)) if same == at => file,
            _ => File::open(path)?,
        };
        let offset = u64::from(number - first) * self.block_bytes;
        let (start, length) = (space.len(), (bytes - offset).min(self.block_bytes));
        space.resize(start + length as usize, 0);
        file.read_exact_at(&mut space[start..], offset)?;
        *open = Some((at, file));
        Ok(())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // The next start of the replica removes the rest.
        let _ = upper::remove(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use crane_core::execution::Mark;
    use crane_core::id::{Generation, Incarnation};
    use crane_core::limits::NODES_MAX;
    use crane_core::paxos::{Members, SnapshotMeta};

    use super::*;
    use crate::checkpoint::store::{CheckpointKind, Manifest, Proof, Unfinished};

    /// Makes a proved checkpoint with a file of this many bytes.
    fn make(data: &Path, slot: Slot, bytes: usize) -> Checkpoint {
        let mark = Mark { slot, clock: 4, schedule: 2, output: 3 };
        let unfinished = Unfinished::make(data, slot.0).unwrap();
        let contents: Vec<u8> = (0..bytes).map(|at| (at / 4096) as u8 + 1).collect();
        fs::write(unfinished.place().join("image/pages"), contents).unwrap();
        fs::write(unfinished.place().join("image/empty"), "").unwrap();
        let manifest = Manifest {
            library: [7; 16],
            origin: Box::default(),
            group: "ab".to_string(),
            kind: CheckpointKind::Image,
            slot,
            incarnation: Incarnation(1),
            clock: 4,
            mark,
            proof: None,
            processes: Box::default(),
            digest: [0; 32],
        };
        let prefix = Prefix {
            snapshot: SnapshotMeta { slot, ..SnapshotMeta::genesis(Members::first(3)) },
            connected: [None; NODES_MAX],
            retired: [Generation(0); NODES_MAX],
            incarnation: Incarnation(1),
            upgrades: Vec::new(),
            timestamp: 5,
            genesis: (Slot(1), vec![1]),
        };
        unfinished.finish(manifest).unwrap().prove(Proof { mark, prefix }).unwrap()
    }

    #[test]
    fn an_offer_has_its_blocks_until_it_ends_and_no_others() {
        let data = std::env::temp_dir().join(format!("crane-offer-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let offers = data.join("transfer/sent");
        let offer = |known| Offer::make(&data, &offers, "ab", [7; 16], known);
        assert!(offer(None).is_err());
        let checkpoint = make(&data, Slot(3), 40 * 4096 + 100);
        assert!(offer(Some(Slot(3))).unwrap().is_none(), "it is known");
        let offered = offer(None).unwrap().expect("a new one");
        // A newer checkpoint takes its place, and an order removes it.
        fs::remove_dir_all(&checkpoint.place).unwrap();

        let TransferMessage::Piece { bytes, offset: 0, .. } = offered.piece(0).unwrap() else {
            panic!("no piece")
        };
        let index = Index::decode(&bytes).unwrap();
        for offset in [offered.bytes, u64::MAX] {
            let TransferMessage::Piece { bytes, .. } = offered.piece(offset).unwrap() else {
                panic!("no piece")
            };
            assert_eq!(bytes, b"");
        }
        let first = index.files().find(|file| file.bytes > 4096).expect("the pages").first;
        let blocks = |ranges: &[(u32, u32)]| match offered.blocks(ranges).unwrap() {
            Some(TransferMessage::Blocks { first, bytes, .. }) => {
                let bytes = zstd::bulk::decompress(&bytes, PIECE_BYTES as usize).unwrap();
                Some((first, bytes))
            }
            None => None,
            other => panic!("{other:?}"),
        };
        let (of, bytes) = blocks(&[(first + 3, 2), (first + 40, 1)]).expect("three blocks");
        assert_eq!(of, first + 3);
        assert_eq!(bytes, [vec![4; 4096], vec![5; 4096], vec![41; 100]].concat());
        assert_eq!(blocks(&[(first, 32)]).map(|(_, bytes)| bytes.len()), Some(32 * 4096));
        let none = [
            vec![],
            vec![(first, 33)],
            vec![(first, 20), (first, 13)],
            vec![(index.blocks(), 1)],
            vec![(index.blocks() - 1, 2)],
            vec![(u32::MAX, u32::MAX), (u32::MAX, u32::MAX)],
        ];
        for ranges in none {
            assert_eq!(blocks(&ranges), None, "{ranges:?}");
        }
        drop(offered);
        assert_eq!(fs::read_dir(&offers).unwrap().count(), 0);
        fs::remove_dir_all(&data).unwrap();
    }
}
