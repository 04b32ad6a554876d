//! A checkpoint of the running server: a copy of its files, as far as that can be made while it
//! runs; hold, dump, copy of what has changed, release.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crane_core::execution::Mark;
use crane_core::id::{Incarnation, Slot};
use crane_shm::{DaemonSide, HashMark};
use tracing::debug;

use crate::cell;
use crate::cell::dump::{self, DumpOrder, Dumped, IN_MEMORY};
use crate::cell::restore::LAYERS;
use crate::checkpoint::capture::{Capture, Lists, Source};
use crate::checkpoint::origin::Origin;
use crate::checkpoint::store::{
    CheckpointKind, Manifest, Processes, Unfinished, image_of, size_of,
};
use crate::driver::{Taken, TakingPhase};
use crate::urgent::Urgent;

use super::attach::attach;
use super::left::await_left;

/// The time in which the server must reach the hold point.
const HOLD_WITHIN: Duration = Duration::from_secs(2);
/// The time in which a held server must ask for its region, and answer it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The time in which its image and the rest of its files must be written, as long as a dump may
/// take.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
/// The time for which that may take all processors of a host that has two.
const URGENT_FOR: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_micros(100);

/// All that is needed to take a checkpoint, apart from the loop that runs the server.
pub(super) struct TakeOrder {
    pub(super) region: DaemonSide,
    /// The server's descriptors.
    pub(super) descriptors: [OwnedFd; 2],
    /// The server's process, and its launcher.
    pub(super) server: u32,
    pub(super) launcher: u32,
    /// The pipes behind the server's standard output and error output.
    pub(super) pipes: [u64; 2],
    /// The entries that it had consumed before it was made from a checkpoint.
    pub(super) consumed: [u64; 2],
    pub(super) criu: PathBuf,
    pub(super) group: String,
    pub(super) incarnation: Incarnation,
    pub(super) library: [u8; 16],
}

/// A checkpoint whose files are copied as far as a running server permits. What was copied is
/// removed when this is dropped.
pub(super) struct PreparedFiles {
    unfinished: Unfinished,
    capture: Capture,
    /// A number that no other checkpoint has.
    nonce: u64,
}

/// Copies the files of a server that runs in the cell of a launcher, from a data directory and from
/// the cell's memory.
///
/// # Errors
/// Returns the reason why there can be no checkpoint.
pub(super) fn prepare(data: &Path, launcher: u32, nonce: u64) -> Result<PreparedFiles, String> {
    refuse_orphans(launcher)?;
    let unfinished = Unfinished::make(data, nonce)?;
    let mut capture = Capture::begin(unfinished.place(), sources(data, launcher)?)?;
    capture.copy_running()?;
    Ok(PreparedFiles { unfinished, capture, nonce })
}

fn refuse_orphans(launcher: u32) -> Result<(), String> {
    let Some(orphan) = cell::orphans(launcher).first().copied() else { return Ok(()) };
    let name = fs::read_to_string(format!("/proc/{orphan}/comm")).unwrap_or_default();
    Err(format!(
        "the server has left a process behind, {} (pid {orphan}), which is in no image of it; give \
         it an option to stay in the foreground, or end that process",
        name.trim()
    ))
}

/// Takes a checkpoint. It blocks while the server is held. The server continues afterwards whatever
/// the outcome is.
///
/// # Errors
/// Returns the reason why there is no checkpoint.
pub(super) fn take(
    order: &TakeOrder,
    prepared: PreparedFiles,
    enter: impl Fn(TakingPhase),
) -> Result<Taken, String> {
    let TakeOrder { region, .. } = *order;
    let PreparedFiles { unfinished, mut capture, nonce } = prepared;
    // Everything that can be done before the server is held, because clients wait behind it.
    refuse_orphans(order.launcher)?;
    let image = image_of(unfinished.place());
    let dump = DumpOrder { server: order.server, image, criu: order.criu.clone() };
    let dump = Dump::prepare(&dump)?;
    region.set_nonce(nonce);
    region.hold_behind(region.admitted().max(1));
    let Some(slot) = await_held(region) else {
        region.hold_behind(0);
        // It may have stopped in this moment.
        sleep(5 * PAUSE);
        if region.held().is_some() {
            release(order, nonce)?;
        }
        return Err(format!(
            "the server did not reach a point at which it can be held within {HOLD_WITHIN:?}"
        ));
    };
    let since = Instant::now();
    let clock = region.clock();
    let mark = region.mark(slot);
    let left = await_left(order.server, &order.descriptors, HOLD_WITHIN);
    debug!("held behind slot {slot}: the server has left after {:?}", since.elapsed());
    let written = left.and_then(|()| write(order, dump, &mut capture));
    debug!("written after {:?}", since.elapsed());
    let urgent = Urgent::begin();
    let released = release(order, nonce);
    let held = since.elapsed();
    drop(urgent);
    debug!("released after {held:?}");
    let held_bytes = size_of(&image_of(unfinished.place())) + capture.held_bytes();
    let (processes, lists) = written.and_then(|written| released.map(|()| written))?;
    enter(TakingPhase::Written);
    capture.build(&lists, unfinished.place())?;
    let HashMark { clock: admitted_at, schedule, output, .. } =
        mark.ok_or("the server does not keep its hashes at the slot")?;
    let mark = Mark { slot: Slot(slot), clock: admitted_at, schedule, output };
    let manifest = Manifest {
        library: order.library,
        origin: Box::new(Origin::here()),
        group: order.group.clone(),
        kind: CheckpointKind::Image,
        slot: Slot(slot),
        incarnation: order.incarnation,
        clock,
        mark,
        proof: None,
        processes: Box::new(processes),
        digest: [0; 32],
    };
    let checkpoint = unfinished.finish(manifest)?;
    Ok(Taken { checkpoint, held_ms: held.as_millis() as u64, held_bytes })
}

fn await_held(region: DaemonSide) -> Option<u64> {
    let since = Instant::now();
    while since.elapsed() < HOLD_WITHIN {
        if let Some(slot) = region.held() {
            return Some(slot);
        }
        sleep(PAUSE);
    }
    region.held()
}

/// Returns the directories of the server's files: its layers, and what its cell has in memory.
fn sources(data: &Path, launcher: u32) -> Result<Vec<Source>, String> {
    let root = cell::root_of(launcher).ok_or("the server has ended")?;
    let layers = LAYERS.map(|name| Source { from: data.join(name), to: name.into(), except: None });
    let in_memory = IN_MEMORY.map(|name| {
        let except = Path::new(cell::RUN_IN_CELL).strip_prefix(Path::new("/").join(name));
        Source {
            from: root.join(name),
            to: image_of(Path::new("")).join(name),
            except: except.ok().map(Path::to_path_buf),
        }
    });
    Ok(layers.into_iter().chain(in_memory).collect())
}

/// Writes the image of the held server, brings the copies of its files up to date meanwhile, and
/// lists them once CRIU has removed those that it makes itself.
fn write(
    order: &TakeOrder,
    dump: Dump,
    capture: &mut Capture,
) -> Result<(Processes, Lists), String> {
    let since = Instant::now();
    let limit = since + WRITE_WITHIN;
    let (dumped, copied) = std::thread::scope(|threads| {
        let copying = threads.spawn(|| {
            // Beside CRIU.
            let _urgent = Urgent::begin_beside(URGENT_FOR);
            let copied = capture.copy_held(limit);
            debug!("changed files were copied in {:?}", since.elapsed());
            copied
        });
        let dumped = dump.finish();
        debug!("CRIU has ended after {:?}", since.elapsed());
        (dumped, copying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let Dumped { server, last } = dumped?;
    copied?;
    let _urgent = Urgent::begin();
    let lists = capture.list(limit)?;
    let [with_ops, without] = order.consumed;
    let region = order.region;
    let consumed = [with_ops + region.entries(), without + region.bubbles()];
    Ok((Processes { server, last, pipes: order.pipes, consumed }, lists))
}

/// The process that dumps the server, and waits until that is held.
struct Dump {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Dump {
    /// Starts the process, and waits until it needs only the server.
    fn prepare(order: &DumpOrder) -> Result<Self, String> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(dump::SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut dump = Self { child, output };
        let mut text = serde_json::to_vec(order).expect("plain data");
        text.push(b'\n');
        let stdin = dump.child.stdin.as_mut().expect("it was piped");
        stdin.write_all(&text).map_err(|error| failed(&error))?;
        let mut line = String::new();
        dump.output.read_line(&mut line).map_err(|error| failed(&error))?;
        match line.trim_end() {
            dump::READY => Ok(dump),
            _ => Err(dump.outcome(&line).err().unwrap_or_else(|| "it dumps too early".to_string())),
        }
    }

    /// Dumps the server.
    fn finish(mut self) -> Result<Dumped, String> {
        // The end of its input is the sign to begin.
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).map_err(|error| failed(&error))?;
        self.outcome(&text)
    }

    fn outcome(&mut self, text: &str) -> Result<Dumped, String> {
        let outcome: Result<Result<Dumped, String>, _> = serde_json::from_str(text);
        outcome.unwrap_or_else(|_| {
            drop(self.child.stdin.take());
            let status = self.child.wait().map_err(|error| failed(&error))?;
            Err(format!("the dump ended with {status}"))
        })
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        // It has ended, unless the server could not be held.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(error: &std::io::Error) -> String {
    format!("the dump cannot be started: {error}")
}

/// Gives the held server its region again.
fn release(order: &TakeOrder, nonce: u64) -> Result<(), String> {
    let copies = order.descriptors.each_ref().map(OwnedFd::try_clone);
    let [Ok(memory), Ok(wake)] = copies else { return Err("too many open files".into()) };
    attach(order.launcher, [memory, wake], ANSWER_WITHIN)?;
    await_echo(order.region, nonce)
}

/// Waits until the server uses this region.
///
/// # Errors
/// Returns that it does not.
pub(super) fn await_echo(region: DaemonSide, nonce: u64) -> Result<(), String> {
    let since = Instant::now();
    while region.echo() != nonce {
        if since.elapsed() > ANSWER_WITHIN {
            return Err("the server does not use the memory that it was given".into());
        }
        sleep(PAUSE);
    }
    Ok(())
}
