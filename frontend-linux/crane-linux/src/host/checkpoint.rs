//! A checkpoint of the running server: hold, dump, copy of the files, release.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crane_core::execution::Mark;
use crane_core::id::{Incarnation, Slot};
use crane_shm::{DaemonSide, HashMark};

use crate::cell;
use crate::cell::dump::{self, DumpOrder, Dumped};
use crate::cell::restore::copy_layers;
use crate::checkpoint::origin::Origin;
use crate::checkpoint::store::{CheckpointKind, Manifest, Processes, Unfinished, image_of};
use crate::driver::Taken;

use super::attach::attach;
use super::left::await_left;

/// The time in which the server must reach the hold point.
const HOLD_WITHIN: Duration = Duration::from_secs(2);
/// The time in which a held server must ask for its region, and answer it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_micros(500);

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
    pub(super) data: PathBuf,
    pub(super) criu: PathBuf,
    pub(super) group: String,
    pub(super) incarnation: Incarnation,
    pub(super) library: [u8; 16],
}

/// Takes a checkpoint. It blocks while the server is held. The server continues afterwards whatever
/// the outcome is.
///
/// # Errors
/// Returns the reason why there is no checkpoint.
pub(super) fn take(order: &TakeOrder, nonce: u64) -> Result<Taken, String> {
    let TakeOrder { region, .. } = *order;
    // Everything that can be done before the server is held, because clients wait behind it.
    if let Some(orphan) = cell::orphans(order.launcher).first() {
        let name = fs::read_to_string(format!("/proc/{orphan}/comm")).unwrap_or_default();
        return Err(format!(
            "the server has left a process behind, {} (pid {orphan}), which is in no image of it; \
             give it an option to stay in the foreground, or end that process",
            name.trim()
        ));
    }
    let unfinished = Unfinished::make(&order.data, nonce)?;
    let image = image_of(unfinished.place());
    let dump = DumpOrder { server: order.server, image, criu: order.criu.clone() };
    let dump = Dump::prepare(&dump)?;
    region.set_nonce(nonce);
    region.hold_behind(region.admitted().max(1));
    let Some(slot) = await_held(region) else {
        region.hold_behind(0);
        // It may have stopped in this moment.
        sleep(PAUSE);
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
    let written = left.and_then(|()| write(order, &unfinished, dump));
    let released = release(order, nonce);
    let held = since.elapsed();
    let processes = written?;
    released?;
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
    Ok(Taken { checkpoint, held_ms: held.as_millis() as u64 })
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

/// Writes the image and the files of the held server. CRIU makes files of its own meanwhile, which
/// are gone before the files are copied.
fn write(order: &TakeOrder, unfinished: &Unfinished, dump: Dump) -> Result<Processes, String> {
    let Dumped { server, last } = dump.finish()?;
    copy_layers(&order.data, unfinished.place())?;
    let [with_ops, without] = order.consumed;
    let region = order.region;
    let consumed = [with_ops + region.entries(), without + region.bubbles()];
    Ok(Processes { server, last, pipes: order.pipes, consumed })
}

/// The process that dumps the server, and waits until that is held.
struct Dump(Child);

impl Dump {
    fn prepare(order: &DumpOrder) -> Result<Self, String> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(dump::SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| failed(&error))?;
        let mut text = serde_json::to_vec(order).expect("plain data");
        text.push(b'\n');
        let mut dump = Self(child);
        let stdin = dump.0.stdin.as_mut().expect("it was piped");
        stdin.write_all(&text).map_err(|error| failed(&error))?;
        Ok(dump)
    }

    /// Dumps the server.
    fn finish(mut self) -> Result<Dumped, String> {
        // The end of its input is the sign to begin.
        drop(self.0.stdin.take());
        let mut text = Vec::new();
        let output = self.0.stdout.as_mut().expect("it was piped");
        output.read_to_end(&mut text).map_err(|error| failed(&error))?;
        let status = self.0.wait().map_err(|error| failed(&error))?;
        let outcome: Result<Result<Dumped, String>, _> = serde_json::from_slice(&text);
        outcome.unwrap_or_else(|_| Err(format!("the dump ended with {status}")))
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        // It has ended, unless the server could not be held.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
