//! The arrival of a checkpoint from another replica: its index, then the blocks of its files that
//! are nowhere on this host.
//!
//! Blocks are taken from this replica's own checkpoints, from the server's files and their base,
//! and from what an earlier attempt has received. The others arrive in pieces. Each frame has a
//! checksum, the index and each block have digests, and so has the checkpoint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crane_core::id::Slot;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cell::restore::LAYERS;
use crate::cell::upper::{self, describe};
use crate::checkpoint::arrived;
use crate::checkpoint::assembly::Assembly;
use crate::checkpoint::index::{INDEX_BYTES_MAX, Index};
use crate::checkpoint::store::{self, Unfinished};
use crate::net::frame::FrameKind;
use crate::net::link::Link;
use crate::report::{PIECE_BYTES, TransferMessage};

/// The number of pieces that are asked for before one has arrived.
const PIECES_ASKED: usize = 8;
/// The bytes per second beyond which no piece is asked for, so that agreement has the link.
const RATE: u64 = 100 << 20;
/// The time limit for an offer to be made.
const OFFERED_WITHIN: Duration = Duration::from_secs(300);
/// The time after which pieces that have not arrived are asked for again, and the number of times.
const ARRIVES_WITHIN: Duration = Duration::from_secs(3);
const ASKED_MAX: u32 = 5;
/// The number of pieces after which the driver hears of the progress.
const PIECES_SHOWN: u32 = 64;
/// The beginning of the names of directories that are being made.
const ARRIVING: &str = "arriving";

/// A checkpoint that has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Arrived {
    /// Its slot.
    pub(super) slot: Slot,
    /// The bytes that were sent for it.
    pub(super) sent: u64,
    /// The bytes of its files; 0 if they were not wanted.
    pub(super) bytes: u64,
}

/// The places on this host that an arrival uses.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The data directory.
    pub(super) data: PathBuf,
    /// The directory for checkpoints that are arriving.
    pub(super) arriving: PathBuf,
    /// The directory in which the server starts, if this replica has one.
    pub(super) server: Option<PathBuf>,
}

/// Receives a checkpoint.
///
/// # Errors
/// Returns why it has not arrived.
// specs: C1, C6
pub(super) async fn receive(
    link: &Link,
    answers: UnboundedReceiver<TransferMessage>,
    places: &Places,
    with_files: bool,
    show: impl Fn(u64, u64),
) -> Result<Arrived, String> {
    let mut receiver = Receiver { link, answers, begun: Instant::now(), sent: 0 };
    put(link, &TransferMessage::Wanted);
    let offered = timeout(OFFERED_WITHIN, receiver.answers.recv()).await;
    let (slot, bytes, digest, prefix) = match offered.ok().flatten() {
        Some(TransferMessage::Offered { slot, bytes, digest, prefix }) => {
            (slot, bytes, digest, prefix)
        }
        Some(TransferMessage::Refused { why }) => return Err(why),
        _ => return Err("it does not answer".to_string()),
    };
    let mut arrived = Arrived { slot, ..Arrived::default() };
    if with_files {
        let index = receiver.receive_index(slot, bytes, digest).await?;
        arrived.bytes = index.file_bytes();
        let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let place = places.arriving.join(format!("{ARRIVING}-{name}"));
        let (used, at) = (places.clone(), place.clone());
        let assembly = off_thread(move || begin(index, &at, &used)).await?;
        let assembly = receiver.receive_blocks(slot, assembly, show).await?;
        let data = places.data.clone();
        off_thread(move || finish(assembly, &place, &data, slot)).await?;
    }
    arrived.sent = receiver.sent;
    let data = &places.data;
    arrived::record(data, &prefix).map_err(|error| describe(data, &error))?;
    Ok(arrived)
}

/// Begins to make the directory of a checkpoint, with all blocks that this host has.
fn begin(index: Index, place: &Path, places: &Places) -> Result<Assembly, String> {
    let others: Vec<PathBuf> =
        store::places(&places.arriving).into_iter().filter(|other| other != place).collect();
    let begun = Assembly::begin(index, place).and_then(|mut assembly| {
        let Places { data, server, .. } = places;
        let checkpoints = store::places(&store::directory(data));
        let layers = LAYERS.map(|name| data.join(name));
        let all = others.iter().chain(&checkpoints).chain(&layers);
        all.into_iter().try_for_each(|directory| assembly.use_directory(directory))?;
        assembly.use_base("upper/", Path::new("/"))?;
        if let Some(server) = server {
            assembly.use_base("copy/", server)?;
        }
        Ok(assembly)
    });
    if begun.is_err() {
        // The next attempt begins anew.
        upper::remove(place)?;
    }
    // Everything in them that is of use is here.
    others.iter().try_for_each(|other| upper::remove(other))?;
    begun
}

fn finish(assembly: Assembly, place: &Path, data: &Path, slot: Slot) -> Result<(), String> {
    let finished = assembly
        .finish()
        .and_then(|()| Unfinished::take(data, slot.0, place))
        .and_then(|unfinished| unfinished.adopt(Some(slot)).map(drop));
    if finished.is_err() {
        // As above.
        upper::remove(place)?;
    }
    finished
}

/// Sends a message of a transfer.
pub(super) fn put(link: &Link, message: &TransferMessage) {
    let body = postcard::to_allocvec(message).expect("plain data");
    link.put(FrameKind::Transfer, &[&body]);
    link.flush();
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

struct Receiver<'a> {
    link: &'a Link,
    answers: UnboundedReceiver<TransferMessage>,
    begun: Instant,
    /// The bytes of the pieces until now.
    sent: u64,
}

impl Receiver<'_> {
    async fn receive_index(
        &mut self,
        slot: Slot,
        bytes: u64,
        digest: [u8; 32],
    ) -> Result<Index, String> {
        if bytes > INDEX_BYTES_MAX {
            return Err(format!("its index has {bytes} bytes, and may have {INDEX_BYTES_MAX}"));
        }
        let mut index = vec![0; bytes as usize];
        let find = |answer: &TransferMessage| match answer {
            TransferMessage::Piece { slot: of, offset, .. } if *of == slot => {
                offset.is_multiple_of(PIECE_BYTES).then_some((offset / PIECE_BYTES) as usize)
            }
            _ => None,
        };
        self.receive_pieces(
            bytes.div_ceil(PIECE_BYTES) as usize,
            |number| TransferMessage::Get { slot, offset: number as u64 * PIECE_BYTES },
            find,
            async |number, answer| {
                let TransferMessage::Piece { bytes, .. } = answer else { return Ok(0) };
                let place = index.chunks_mut(PIECE_BYTES as usize).nth(number);
                let place = place.filter(|place| place.len() == bytes.len());
                place.ok_or("a piece has another length")?.copy_from_slice(&bytes);
                Ok(bytes.len())
            },
        )
        .await?;
        let found: [u8; 32] = Sha256::digest(&index).into();
        if found != digest {
            return Err("the index that has arrived does not match its digest".to_string());
        }
        Index::decode(&index).map_err(|why| format!("its index cannot be used: {why}"))
    }

    /// Receives the blocks that a directory lacks.
    async fn receive_blocks(
        &mut self,
        slot: Slot,
        assembly: Assembly,
        show: impl Fn(u64, u64),
    ) -> Result<Assembly, String> {
        let missing = assembly.missing();
        let per_piece = PIECE_BYTES as usize / assembly.index().block_bytes() as usize;
        let pieces: Vec<&[u32]> = missing.chunks(per_piece).collect();
        let bytes_of = |piece: &&[u32]| piece.iter().map(|it| assembly.bytes_of(*it)).sum::<u64>();
        let lengths: Vec<u64> = pieces.iter().map(bytes_of).collect();
        let of = lengths.iter().sum();
        let (mut got, mut count, mut assembly) = (0, 0, Some(assembly));
        show(got, of);
        let find = |answer: &TransferMessage| match answer {
            TransferMessage::Blocks { slot: of, first, .. } if *of == slot => {
                pieces.binary_search_by_key(first, |piece| piece[0]).ok()
            }
            _ => None,
        };
        self.receive_pieces(
            pieces.len(),
            |number| TransferMessage::GetBlocks { slot, blocks: ranges(pieces[number]) },
            find,
            async |number, answer| {
                let TransferMessage::Blocks { bytes, .. } = answer else { return Ok(0) };
                let (piece, length, sent) = (pieces[number].to_vec(), lengths[number], bytes.len());
                let present = assembly.take().expect("the piece before is in it");
                let put = move || put_blocks(present, &piece, length as usize, &bytes);
                assembly = Some(off_thread(put).await?);
                (got, count) = (got + length, count + 1);
                if count % PIECES_SHOWN == 0 {
                    show(got, of);
                }
                Ok(sent)
            },
        )
        .await?;
        show(got, of);
        Ok(assembly.expect("as above"))
    }

    /// Asks for pieces by their numbers, several at a time. `find` returns the number of the piece
    /// in an answer, and `take` takes it and returns its bytes.
    async fn receive_pieces(
        &mut self,
        count: usize,
        ask: impl Fn(usize) -> TransferMessage,
        find: impl Fn(&TransferMessage) -> Option<usize>,
        mut take: impl AsyncFnMut(usize, TransferMessage) -> Result<usize, String>,
    ) -> Result<(), String> {
        let (mut asked, mut next, mut silent) = (BTreeSet::new(), 0, 0);
        loop {
            while next < count && asked.len() < PIECES_ASKED {
                put(self.link, &ask(next));
                asked.insert(next);
                next += 1;
            }
            if asked.is_empty() {
                return Ok(());
            }
            let Ok(answer) = timeout(ARRIVES_WITHIN, self.answers.recv()).await else {
                silent += 1;
                if silent == ASKED_MAX {
                    return Err(format!(
                        "no piece has arrived in {:?}",
                        ARRIVES_WITHIN * ASKED_MAX
                    ));
                }
                asked.iter().for_each(|number| put(self.link, &ask(*number)));
                continue;
            };
            let answer = answer.ok_or("another transfer has begun")?;
            if let TransferMessage::Refused { why } = answer {
                return Err(why);
            }
            // One that was asked for twice may come twice.
            let Some(number) = find(&answer).filter(|number| asked.remove(number)) else {
                continue;
            };
            silent = 0;
            self.sent += take(number, answer).await? as u64;
            sleep_until(self.begun + Duration::from_micros(self.sent * 1_000_000 / RATE)).await;
        }
    }
}

/// Returns successive numbers as ranges, each by its first one and their number.
fn ranges(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == *number => *count += 1,
            _ => ranges.push((*number, 1)),
        }
    }
    ranges
}

/// Puts the blocks of a piece in their places.
fn put_blocks(
    mut assembly: Assembly,
    piece: &[u32],
    length: usize,
    bytes: &[u8],
) -> Result<Assembly, String> {
    let bytes =
        zstd::bulk::decompress(bytes, length).map_err(|error| format!("a piece: {error}"))?;
    let mut left = &bytes[..];
    for number in piece {
        let block = left.split_off(..assembly.bytes_of(*number) as usize);
        if !assembly.put(block.ok_or("a piece is too short")?)? {
            return Err(format!("block {number} does not match its digest"));
        }
    }
    Ok(assembly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_all_numbers_and_no_other() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 1), (9, 2)]);
        assert_eq!(ranges(&[]), []);
    }
}
