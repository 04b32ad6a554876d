//! Checkpoints on their way between hosts: the newest proved one of a replica, piece by piece, as
//! the receiver asks for them.
//!
//! The receiver keeps what has arrived, and a later attempt continues behind it. Each frame has a
//! checksum, the archive has a digest, and so has the checkpoint in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crane_core::id::{NodeId, Slot};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use crate::cell::upper::describe;
use crate::checkpoint::archive::{self, Packed};
use crate::checkpoint::arrived;
use crate::checkpoint::store::{self, Checkpoint, Prefix, Unfinished};
use crate::driver::{Arriving, DriverInput};
use crate::net::frame::FrameKind;
use crate::net::link::Link;
use crate::report::TransferMessage;

use super::{HostOutcome, Outcomes};

/// The bytes of a piece.
const PIECE_BYTES: u64 = 128 << 10;
/// The number of pieces that are asked for before one has arrived.
const PIECES_ASKED: u64 = 8;
/// The bytes per second beyond which no piece is asked for, so that agreement has the link.
const RATE: u64 = 100 << 20;
/// The time limit for an archive to be made.
const OFFERED_WITHIN: Duration = Duration::from_secs(300);
/// The time after which pieces that have not arrived are asked for again, and the number of times.
const ARRIVES_WITHIN: Duration = Duration::from_secs(3);
const ASKED_MAX: u32 = 5;
/// The number of pieces after which the driver hears of the progress.
const PIECES_SHOWN: u64 = 64;
/// The directory of archives in a data directory.
const DIRECTORY: &str = "transfer";
const ARCHIVE: &str = "sent";
const ARRIVING: &str = "arriving";

/// The checkpoints that this host sends and receives.
pub(super) struct TransferRoom {
    data: PathBuf,
    library: [u8; 16],
    outcomes: Outcomes,
    /// The archive that is sent. Only one is made at a time.
    sent: Rc<tokio::sync::Mutex<Option<Offered>>>,
    /// The queue of the checkpoint that is being received, and its sender.
    receiving: RefCell<Option<(NodeId, UnboundedSender<TransferMessage>)>>,
}

/// An archive that can be sent.
#[derive(Clone)]
struct Offered {
    slot: Slot,
    packed: Packed,
    prefix: Prefix,
}

impl TransferRoom {
    /// Creates the room of a data directory.
    pub(super) fn new(data: &Path, library: [u8; 16], outcomes: Outcomes) -> Self {
        let (sent, receiving) = (Rc::default(), RefCell::default());
        // It is made again when a replica wants it; until then the disk has the room.
        let _ = fs::remove_file(data.join(DIRECTORY).join(ARCHIVE));
        Self { data: data.to_path_buf(), library, outcomes, sent, receiving }
    }

    /// Handles a message of another replica. `group` is the group's name.
    pub(super) fn on_message(&self, link: &Rc<Link>, group: &str, message: TransferMessage) {
        let link = link.clone();
        match message {
            TransferMessage::Wanted => {
                let (data, library) = (self.data.clone(), self.library);
                let (group, sent) = (group.to_string(), self.sent.clone());
                spawn_local(async move {
                    let mut sent = sent.lock().await;
                    let known = sent.clone();
                    let making = spawn_blocking(move || offer(&data, &group, library, known));
                    let made = making.await.unwrap_or_else(|error| Err(error.to_string()));
                    let message = match made {
                        Ok(offered) => {
                            let Offered { slot, packed, prefix } = offered.clone();
                            *sent = Some(offered);
                            let Packed { bytes, digest } = packed;
                            let prefix = Box::new(prefix);
                            TransferMessage::Offered { slot, bytes, digest, prefix }
                        }
                        Err(why) => TransferMessage::Refused { why },
                    };
                    put(&link, &message);
                });
            }
            TransferMessage::Get { slot, offset } => {
                let path = self.data.join(DIRECTORY).join(ARCHIVE);
                let sent = self.sent.clone();
                spawn_local(async move {
                    if sent.lock().await.as_ref().is_none_or(|offered| offered.slot != slot) {
                        let why = "the checkpoint is not offered any more".to_string();
                        return put(&link, &TransferMessage::Refused { why });
                    }
                    let reading = spawn_blocking(move || read_piece(&path, offset));
                    // A piece that does not arrive is asked for again.
                    if let Ok(Ok(bytes)) = reading.await {
                        put(&link, &TransferMessage::Piece { slot, offset, bytes });
                    }
                });
            }
            answer => {
                if let Some((_, queue)) =
                    self.receiving.borrow().as_ref().filter(|(from, _)| *from == link.node)
                {
                    let _ = queue.send(answer);
                }
            }
        }
    }

    /// Receives the newest proved checkpoint of the replica behind a link, or only the state of
    /// its log if `with_files` is false. [`DriverInput::Arriving`] follows.
    pub(super) fn receive(&self, link: Rc<Link>, with_files: bool) {
        let (queue, answers) = unbounded_channel();
        *self.receiving.borrow_mut() = Some((link.node, queue));
        let (data, outcomes) = (self.data.clone(), self.outcomes.clone());
        spawn_local(async move {
            let shown = outcomes.clone();
            let show = move |got, of| {
                let input = DriverInput::Arriving(Arriving::Piece { got, of });
                let _ = shown.send(HostOutcome::Input(input));
            };
            let outcome = match receive(&link, answers, &data, with_files, show).await {
                Ok(slot) => Arriving::Here(slot),
                Err(why) => Arriving::Failed(why),
            };
            let _ = outcomes.send(HostOutcome::Input(DriverInput::Arriving(outcome)));
        });
    }
}

fn put(link: &Link, message: &TransferMessage) {
    let body = postcard::to_allocvec(message).expect("plain data");
    link.put(FrameKind::Transfer, &[&body]);
    link.flush();
}

/// Makes the archive of the newest proved checkpoint, unless it is the one that is known.
fn offer(
    data: &Path,
    group: &str,
    library: [u8; 16],
    known: Option<Offered>,
) -> Result<Offered, String> {
    let all = store::usable(data, group, Some(library));
    let newest = all.into_iter().find(Checkpoint::is_proved);
    let Checkpoint { place, manifest } =
        newest.ok_or("it has no proved checkpoint that this version can send")?;
    let slot = manifest.slot;
    if let Some(known) = known.filter(|known| known.slot == slot) {
        return Ok(known);
    }
    let directory = data.join(DIRECTORY);
    fs::create_dir_all(&directory).map_err(|error| describe(&directory, &error))?;
    let packed = archive::pack(&place, &directory.join(ARCHIVE))?;
    let prefix = manifest.proof.expect("it is proved").prefix;
    Ok(Offered { slot, packed, prefix })
}

fn read_piece(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset).min(PIECE_BYTES);
    let mut bytes = vec![0; left as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Receives a checkpoint, and returns its slot.
async fn receive(
    link: &Link,
    mut answers: UnboundedReceiver<TransferMessage>,
    data: &Path,
    with_files: bool,
    show: impl Fn(u64, u64),
) -> Result<Slot, String> {
    put(link, &TransferMessage::Wanted);
    let offered = timeout(OFFERED_WITHIN, answers.recv()).await;
    let (slot, packed, prefix) = match offered.ok().flatten() {
        Some(TransferMessage::Offered { slot, bytes, digest, prefix }) => {
            (slot, Packed { bytes, digest }, prefix)
        }
        Some(TransferMessage::Refused { why }) => return Err(why),
        _ => return Err("it does not answer".to_string()),
    };
    if with_files {
        let directory = data.join(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|error| describe(&directory, &error))?;
        let name: String = packed.digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(format!("{ARRIVING}-{name}"));
        receive_archive(link, &mut answers, slot, packed, &path, show).await?;
        let place = data.to_path_buf();
        let unpacking = spawn_blocking(move || unpack(&place, &path, slot, packed));
        unpacking.await.unwrap_or_else(|error| Err(error.to_string()))?;
    }
    arrived::record(data, &prefix).map_err(|error| describe(data, &error))?;
    Ok(slot)
}

/// Receives an archive into a file, which may have a piece of it already.
async fn receive_archive(
    link: &Link,
    answers: &mut UnboundedReceiver<TransferMessage>,
    slot: Slot,
    packed: Packed,
    path: &Path,
    show: impl Fn(u64, u64),
) -> Result<(), String> {
    let failed = |error: io::Error| describe(path, &error);
    forget_others(path);
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len().min(packed.bytes);
    let mut written = length / PIECE_BYTES * PIECE_BYTES;
    file.set_len(written).map_err(failed)?;
    let mut early: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let (begun, before) = (Instant::now(), written);
    let (mut asked, mut silent) = (written, 0);
    while written < packed.bytes {
        while asked < packed.bytes && asked < written + PIECES_ASKED * PIECE_BYTES {
            put(link, &TransferMessage::Get { slot, offset: asked });
            asked += PIECE_BYTES;
        }
        let Ok(answer) = timeout(ARRIVES_WITHIN, answers.recv()).await else {
            silent += 1;
            if silent == ASKED_MAX {
                return Err(format!("no piece has arrived in {:?}", ARRIVES_WITHIN * ASKED_MAX));
            }
            asked = written;
            continue;
        };
        match answer.ok_or("another transfer has begun")? {
            TransferMessage::Piece { slot: of, offset, bytes } if of == slot => {
                let end = packed.bytes.min(written + PIECES_ASKED * PIECE_BYTES);
                let is_asked = (written..end).contains(&offset);
                if is_asked && bytes.len() as u64 == PIECE_BYTES.min(packed.bytes - offset) {
                    early.insert(offset, bytes);
                }
            }
            TransferMessage::Refused { why } => return Err(why),
            _ => continue,
        }
        while let Some(bytes) = early.remove(&written) {
            silent = 0;
            io::Write::write_all(&mut &file, &bytes).map_err(failed)?;
            written += bytes.len() as u64;
            if (written / PIECE_BYTES).is_multiple_of(PIECES_SHOWN) {
                show(written, packed.bytes);
            }
        }
        let due = Duration::from_micros((written - before) * 1_000_000 / RATE);
        sleep_until(begun + due).await;
    }
    show(written, packed.bytes);
    Ok(())
}

/// Removes pieces of other archives.
fn forget_others(path: &Path) {
    let items = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    for item in items.into_iter().flatten().flatten() {
        let is_piece = item.file_name().to_string_lossy().starts_with(ARRIVING);
        if is_piece && item.path() != path {
            // The disk has less room, and nothing else is wrong.
            let _ = fs::remove_file(item.path());
        }
    }
}

/// Makes a checkpoint of an archive that has arrived.
fn unpack(data: &Path, path: &Path, slot: Slot, packed: Packed) -> Result<(), String> {
    let found = archive::measure(path).map_err(|error| describe(path, &error))?;
    if found != packed {
        // The next attempt begins anew.
        let _ = fs::remove_file(path);
        return Err("the archive that has arrived does not match its digest".to_string());
    }
    let unfinished = Unfinished::make(data, slot.0)?;
    archive::unpack(path, unfinished.place())?;
    unfinished.adopt(Some(slot))?;
    fs::remove_file(path).map_err(|error| describe(path, &error))
}
