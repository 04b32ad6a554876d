//! The server that proves a checkpoint: a second one on this host, with files of its own, whose
//! output nobody takes.

use std::fs;
use std::path::{Path, PathBuf};

use crane_core::id::Slot;
use crane_shm::RingError;
use crane_shm::region::script;
use tokio::task::{spawn_blocking, spawn_local};

use crate::cell::{Report, upper};
use crate::checkpoint::store::{Checkpoint, size_of};
use crate::driver::{DriverInput, ProofChange};
use crate::report::Ending;

use super::bound;
use super::disk::measure;
use super::remains::free;
use super::server::{ServerProcess, StartOrder, await_end};
use super::{HostOutcome, Outcomes};

/// The numbers of runs that prove checkpoints are those with this bit.
pub(super) const PROOF_RUN: u64 = 1 << 63;
/// The directory in the data directory for the files of such a run.
const DIRECTORY: &str = "proof";

/// The server that proves a checkpoint, if there is one.
pub(super) struct ProofRoom {
    /// The server.
    pub(super) server: Option<Box<ServerProcess>>,
    /// The number of the present run, unless it has been given up.
    present: Option<u64>,
    data: PathBuf,
    outcomes: Outcomes,
}

impl ProofRoom {
    /// Creates the room of a data directory.
    pub(super) fn new(data: &Path, outcomes: Outcomes) -> Self {
        // A replica that was killed leaves the files of its last such run.
        let _ = upper::remove(&data.join(DIRECTORY));
        Self { server: None, present: None, data: data.to_path_buf(), outcomes }
    }

    /// Starts a run beside the server with this process.
    pub(super) fn start(&mut self, mut order: StartOrder, from: Checkpoint, server: Option<u32>) {
        let (data, outcomes, number) = (self.data.clone(), self.outcomes.clone(), order.run.number);
        self.present = Some(number);
        spawn_local(async move {
            let preparing = spawn_blocking(move || prepare(&data, number, &from, server));
            let prepared = preparing.await.unwrap_or_else(|error| Err(error.to_string()));
            let outcome = match prepared {
                Err(why) => HostOutcome::Input(input_of(number, ProofChange::NoRoom(why))),
                Ok((place, memory)) => {
                    order.spec.data = place;
                    match ServerProcess::start(order, &outcomes).await {
                        Ok(process) => {
                            if let Some(launcher) = process.launcher() {
                                keep_bound(number, launcher, memory, outcomes.clone());
                            }
                            HostOutcome::Started(number, Box::new(process))
                        }
                        Err(why) => HostOutcome::Input(input_of(number, ProofChange::Ended(why))),
                    }
                }
            };
            let _ = outcomes.send(outcome);
        });
    }

    /// Takes a server that was started, unless it has been given up.
    pub(super) fn take(&mut self, process: Box<ServerProcess>) -> Option<DriverInput> {
        let number = process.number;
        if self.present != Some(number) {
            self.end(*process);
            return None;
        }
        self.server = Some(process);
        Some(input_of(number, ProofChange::Ready))
    }

    /// Turns a report of the launcher of a run into an input.
    pub(super) fn report(&mut self, number: u64, report: Report) -> Option<DriverInput> {
        if self.present != Some(number) {
            return None;
        }
        let why = match report {
            Report::Overlay | Report::Copy(_) => return None,
            Report::Started => {
                if let Some(server) = &mut self.server {
                    server.welcome(&self.outcomes);
                }
                return None;
            }
            Report::Failed(why) => why,
            Report::Exited(status) => format!("it {}", Ending::Exited(status)),
            Report::Killed(signal) => format!("it {}", Ending::Killed(signal)),
        };
        Some(input_of(number, ProofChange::Ended(why)))
    }

    /// Appends an entry to the server's script, and wakes it.
    ///
    /// # Errors
    /// Returns the ring's error.
    pub(super) fn feed(&mut self, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let server = self.server.as_mut().expect("only a running server is fed");
        server.script.push(script::ENTRY, [slot.0, 0, 0], &[payload])?;
        server.region.ring_script();
        Ok(())
    }

    /// Drops the server's output: it has no clients.
    pub(super) fn drop_output(&mut self) {
        let Some(server) = &mut self.server else { return };
        server.listen_to_wakes();
        let Some(output) = &mut server.output else { return };
        let mut any = false;
        while let Ok(Some(_)) = output.peek() {
            output.pop();
            any = true;
        }
        if any {
            server.region.ring_output();
        }
    }

    /// Ends the server. One that is still being started is not taken.
    pub(super) fn stop(&mut self) {
        self.present = None;
        if let Some(server) = self.server.take() {
            self.end(*server);
        }
    }

    /// Ends a server, and removes its memory and its files, to which it writes until then.
    fn end(&self, server: ServerProcess) {
        let (region, place) = (server.region, place_of(&self.data, server.number));
        let cell = server.into_cell();
        spawn_local(async move {
            if await_end(cell).await.is_ok() {
                free(Some(region));
                // The next start of the replica removes the rest.
                let _ = spawn_blocking(move || upper::remove(&place)).await;
            }
        });
    }
}

/// Reports that there is no room for a run once its cell has more memory than it may have.
fn keep_bound(number: u64, launcher: u32, bound: u64, outcomes: Outcomes) {
    spawn_blocking(move || {
        bound::watch(launcher, bound, |memory| {
            let why = format!(
                "a second server has {} MiB of memory, and may have {}: more than this replica's \
                 has now, and room for work",
                memory >> 20,
                bound >> 20
            );
            let _ = outcomes.send(HostOutcome::Input(input_of(number, ProofChange::NoRoom(why))));
        });
    });
}

/// Returns the input that says how a run has changed.
fn input_of(number: u64, change: ProofChange) -> DriverInput {
    DriverInput::Proof(number & !PROOF_RUN, change)
}

/// Returns the data directory of a run, which no other one shares: the run before may be ending.
fn place_of(data: &Path, number: u64) -> PathBuf {
    data.join(DIRECTORY).join((number & !PROOF_RUN).to_string())
}

/// Prepares the files of a second server beside the one with this process, and returns the data
/// directory for it, and the memory that it may have.
///
/// # Errors
/// Returns that this host has no room for it, or what the system refused.
fn prepare(
    data: &Path,
    number: u64,
    from: &Checkpoint,
    server: Option<u32>,
) -> Result<(PathBuf, u64), String> {
    let server = server.ok_or("this replica's server has no process")?;
    let (memory, free) = (bound::bound_beside(server), bound::available());
    if free < memory {
        return Err(format!(
            "a second server needs {} MiB of memory, and {} MiB are available",
            memory >> 20,
            free >> 20
        ));
    }
    let (needed, free) = (bound::with_reserve(size_of(&from.place)), measure(data).free);
    if free < needed {
        return Err(format!(
            "the files of a second server need {} MiB, and {} MiB of the disk are free",
            needed >> 20,
            free >> 20
        ));
    }
    let place = place_of(data, number);
    let run = place.join("run");
    fs::create_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
    let (library, copy) = (data.join("run/preload.so"), run.join("preload.so"));
    fs::copy(library, &copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    Ok((place, memory))
}
