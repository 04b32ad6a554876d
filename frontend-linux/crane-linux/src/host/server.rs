//! The server's process: its cell, the memory that it shares with the daemon, and the lines that it
//! prints.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crane_core::execution::Mark;
use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_shm::history::{BLOCK_CALLS, BLOCKS, CALLS, MARKS};
use crane_shm::{DaemonSide, HashMark, RingReader, RingWriter};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use crate::cell::{self, Report, ServerDescriptors, Spec};
use crate::checkpoint::left_files::FilesOrder;
use crate::driver::{DriverInput, RunNumber, ServerChange, ServerView};
use crate::frozen::{FrozenBlock, FrozenCall, ServerHistory};
use crate::library;
use crate::options::{ReplicaArgs, ServerFsync};
use crate::symbols::Maps;
use crate::terminal::pass_lines;

use super::attach::attach;
use super::caught::CaughtNames;
use super::checkpoint::{TakeOrder, await_echo};
use super::upgrade::keep_files;
use super::{HostOutcome, Outcomes};

/// The time in which a server that was made from its image must ask for its region.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The time in which a cell must end whose processes were killed.
const END_WITHIN: Duration = Duration::from_secs(10);

/// One run of the server's program. Dropping it ends its cell.
pub(super) struct ServerProcess {
    /// The run's number.
    pub(super) number: u64,
    /// The incarnation that it is a run of.
    pub(super) incarnation: Incarnation,
    /// The region that the process shares with the daemon.
    pub(super) region: DaemonSide,
    /// The daemon's end of the script.
    pub(super) script: RingWriter,
    /// The daemon's end of the output; taken out while it is read.
    pub(super) output: Option<RingReader>,
    /// Kinds of calls that bypass the hooks and have been named.
    pub(super) bypasses_named: usize,
    /// The names of the calls that the net catches often.
    pub(super) caught: CaughtNames,
    wake: pipe::Receiver,
    /// The server's descriptors. While the pipe's writing end is open here, the pipe has no end.
    descriptors: ServerDescriptors,
    /// The pipes behind its standard output and error output.
    pipes: [u64; 2],
    /// The entries that it had consumed when it was dumped, with ops and without.
    consumed: [u64; 2],
    /// The nonce that it must answer, if it is made from a checkpoint and has no region yet.
    restored: Option<u64>,
    cell: Child,
}

/// The parts from which a run of the server's program starts.
pub(super) struct StartOrder {
    /// The run.
    pub(super) run: RunNumber,
    /// This replica.
    pub(super) me: NodeId,
    /// The first generation of its clients' connections.
    pub(super) generation: Generation,
    /// How to start the program.
    pub(super) spec: Spec,
    /// The cell of the run before, if this one begins on its files.
    pub(super) before: Option<Child>,
    /// The order to keep those files.
    pub(super) keep: Option<FilesOrder>,
    /// The command line.
    pub(super) args: ReplicaArgs,
    /// The number by which the server of a checkpoint proves that it uses the region.
    pub(super) nonce: u64,
}

impl ServerProcess {
    /// Starts the server's program in a fresh cell. The launcher's reports go to `outcomes`.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) async fn start(order: StartOrder, outcomes: &Outcomes) -> Result<Self, String> {
        let StartOrder { run, me, generation, spec, before, keep, args, nonce } = order;
        let RunNumber { number, incarnation } = run;
        if let Some(before) = before {
            await_end(before).await?;
        }
        if let Some(keep) = keep {
            keep_files(spec.data.clone(), number, keep, outcomes).await;
        }
        let node = u32::from(me.number());
        let (region, memory) = DaemonSide::create(node, generation.0).map_err(|error| {
            let (error, size) = (io::Error::from_raw_os_error(error), DaemonSide::BYTES >> 20);
            format!(
                "this host has no {size} MiB of memory for daemon and server to share ({error}): \
                 give the replica more memory, or swap"
            )
        })?;
        region.set_keep_fsync(args.server_fsync == ServerFsync::Keep);
        region.set_strict(args.strict);
        region.set_floor(args.floor.is_on());
        let (wake, writing) = wake_pipe().map_err(|error| format!("no pipe: {error}"))?;
        let descriptors = ServerDescriptors { region: memory, wake: writing };
        region.set_nonce(nonce);
        // SAFETY: the memory was just made, and this run is the daemon's only owner of its ends.
        let (script, output) = unsafe { region.ends() };
        let cell = cell::start(&spec, &descriptors).await.map_err(|error| error.to_string())?;
        let pipes = [inode_of(&cell.stdout)?, inode_of(&cell.stderr)?];
        spawn_local(pass_reports(number, cell.reports, outcomes.clone()));
        spawn_local(pass_lines(cell.stdout, "", false));
        spawn_local(pass_lines(cell.stderr, "", true));
        let output = Some(output);
        let from = spec.restore.as_ref().map(|order| &order.from.manifest.processes);
        let consumed = from.map_or([0; 2], |processes| processes.consumed);
        let restored = spec.restore.is_some().then_some(nonce);
        Ok(Self {
            number,
            incarnation,
            region,
            script,
            output,
            bypasses_named: 0,
            caught: CaughtNames::new(),
            wake,
            descriptors,
            pipes,
            consumed,
            restored,
            cell: cell.child,
        })
    }

    /// Gives a server that was made from a checkpoint the region, and waits in the background until
    /// it uses it. If it does not, `outcomes` gets an input.
    pub(super) fn welcome(&mut self, outcomes: &Outcomes) {
        let Some(nonce) = self.restored.take() else { return };
        let (number, region, outcomes) = (self.number, self.region, outcomes.clone());
        let launcher = self.cell.id().unwrap_or(0);
        let copies = self.copy_descriptors();
        spawn_local(async move {
            let waiting = spawn_blocking(move || {
                attach(launcher, copies?, ANSWER_WITHIN)?;
                await_echo(region, nonce)
            });
            if let Ok(Err(why)) = waiting.await {
                let change = ServerChange::Failed(why);
                let _ = outcomes.send(HostOutcome::Input(DriverInput::Server(number, change)));
            }
        });
    }

    fn copy_descriptors(&self) -> Result<[OwnedFd; 2], String> {
        let ServerDescriptors { region, wake } = &self.descriptors;
        let copied = region.try_clone().and_then(|region| Ok([region, wake.try_clone()?]));
        copied.map_err(|error| format!("no descriptors for the server: {error}"))
    }

    /// Returns an order for a checkpoint of this run.
    ///
    /// # Errors
    /// Returns why the server cannot be held.
    pub(super) fn take_order(&self, criu: &Path, group: &str) -> Result<TakeOrder, String> {
        Ok(TakeOrder {
            region: self.region,
            descriptors: self.copy_descriptors()?,
            server: self.pid().ok_or("the server has no process yet")?,
            launcher: self.launcher().ok_or("the server has ended")?,
            pipes: self.pipes,
            consumed: self.consumed,
            criu: criu.to_path_buf(),
            group: group.to_string(),
            incarnation: self.incarnation,
            library: library::digest(),
        })
    }

    /// Returns the pid of the launcher of its cell.
    pub(super) fn launcher(&self) -> Option<u32> {
        self.cell.id()
    }

    /// Returns the pid of the program.
    pub(super) fn pid(&self) -> Option<u32> {
        cell::server_process(self.cell.id()?)
    }

    /// Names the calls that the net has caught often and are new.
    pub(super) fn name_caught(&mut self) {
        let Self { caught, region, cell, .. } = self;
        caught.name_new(*region, || cell::server_process(cell.id()?));
    }

    /// Returns the driver's view of the program.
    pub(super) fn view(&self) -> ServerView {
        let region = self.region;
        ServerView {
            state: region.state(),
            admitted: region.admitted(),
            clock: region.clock(),
            connections: region.connections(),
            deadline: region.deadline(),
            entries: region.entries() + self.consumed[0],
            bubbles: region.bubbles() + self.consumed[1],
            uncovered_calls: region.uncovered_calls(),
            caught_calls: region.caught_calls(),
            refused_connections: region.refused_connections(),
        }
    }

    /// Returns the hashes of the program at the admission of a slot, if they are kept.
    pub(super) fn mark(&self, slot: Slot) -> Option<Mark> {
        mark_of(self.region, slot)
    }

    /// Returns the latest history of the program. The program continues meanwhile, so the first
    /// records may be lost.
    pub(super) fn history(&self) -> ServerHistory {
        let region = self.region;
        let last = region.clock();
        let (mut calls, mut first_call) = (Vec::new(), 0);
        for clock in last.saturating_sub(CALLS as u64 - 1).max(1)..=last {
            match region.call(clock) {
                Some(call) if calls.is_empty() => {
                    first_call = clock;
                    calls.push(FrozenCall::from(call));
                }
                Some(call) => calls.push(call.into()),
                // Another call already has the place of this one, so the calls before it are lost
                // as well.
                None => calls.clear(),
            }
        }
        let end = last / BLOCK_CALLS;
        let (mut blocks, mut first_block) = (Vec::new(), 0);
        for block in end.saturating_sub(BLOCKS as u64)..end {
            match region.block(block) {
                Some(hash) if blocks.is_empty() => {
                    first_block = block;
                    blocks.push(FrozenBlock::from(hash));
                }
                Some(hash) => blocks.push(hash.into()),
                None => blocks.clear(),
            }
        }
        let admitted = region.admitted();
        let slots = admitted.saturating_sub(MARKS as u64 - 1)..=admitted;
        let marks = slots.filter_map(|slot| self.mark(Slot(slot))).collect();
        let maps = self.pid().and_then(|process| Maps::read(process).ok()).unwrap_or_default();
        ServerHistory { first_block, blocks, first_call, calls, marks, maps }
    }

    /// Ends the cell, and returns its launcher, whose end is that of all processes in the cell.
    pub(super) fn into_cell(mut self) -> Child {
        self.stop();
        self.cell
    }

    /// Ends the process with its cell. The launcher reports this end like any other.
    pub(super) fn stop(&mut self) {
        // The process may have ended already.
        let _ = self.cell.start_kill();
    }

    /// Waits until the process has something for the daemon.
    pub(super) async fn woken(&self) -> io::Result<()> {
        self.wake.readable().await
    }

    /// Clears the wake before the daemon looks for output, so that any later output wakes it again.
    pub(super) fn listen_to_wakes(&mut self) {
        // One read suffices: the pipe never holds more than a byte or two, because the server sends
        // a wake only after the daemon has heard the one before. `poll_read` marks an emptied pipe
        // as not readable; `try_read` does not.
        let mut space = [0; 64];
        let mut context = Context::from_waker(Waker::noop());
        let mut buffer = ReadBuf::new(&mut space);
        let _ = Pin::new(&mut self.wake).poll_read(&mut context, &mut buffer);
        self.region.hear_wake();
    }
}

/// Returns the hashes that a region keeps of a slot.
pub(super) fn mark_of(region: DaemonSide, slot: Slot) -> Option<Mark> {
    let HashMark { clock, schedule, output, .. } = region.mark(slot.0)?;
    Some(Mark { slot, clock, schedule, output })
}

/// Waits until a cell has ended, which writes to the files that the next one begins on.
pub(super) async fn await_end(mut cell: Child) -> Result<(), String> {
    match timeout(END_WITHIN, cell.wait()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the cell of the run before: {error}")),
        Err(_) => Err(format!("the cell of the run before has not ended within {END_WITHIN:?}")),
    }
}

fn inode_of(pipe: &impl AsFd) -> Result<u64, String> {
    rustix::fs::fstat(pipe).map(|stat| stat.st_ino).map_err(|error| format!("a pipe: {error}"))
}

/// Makes the pipe by which the server's process wakes the daemon. Neither waits at it.
fn wake_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((pipe::Receiver::from_owned_fd(reading)?, writing))
}

async fn pass_reports(number: u64, reports: pipe::Receiver, to: Outcomes) {
    let mut lines = BufReader::new(reports).lines();
    let mut ended = false;
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(report) = Report::parse(&line) {
            ended |= matches!(report, Report::Exited(_) | Report::Killed(_) | Report::Failed(_));
            let _ = to.send(HostOutcome::Cell(number, report));
        }
    }
    if !ended {
        // The whole cell was killed.
        let _ = to.send(HostOutcome::Cell(number, Report::Killed(libc::SIGKILL)));
    }
}
