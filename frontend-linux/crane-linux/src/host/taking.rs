//! The checkpoint of the running server that is being taken, on other threads.

use std::path::{Path, PathBuf};

use tokio::task::{spawn_blocking, spawn_local};

use crate::checkpoint::criu::Criu;
use crate::driver::DriverInput;

use super::checkpoint::{PreparedFiles, prepare, take};
use super::server::ServerProcess;
use super::{HostOutcome, Outcomes};

/// The place of the present checkpoint between its two steps.
pub(super) struct TakingRoom {
    /// The copies for a checkpoint that waits for the permission to hold the server.
    prepared: Option<Box<PreparedFiles>>,
    data: PathBuf,
    outcomes: Outcomes,
}

impl TakingRoom {
    /// Creates the room of a data directory.
    pub(super) fn new(data: &Path, outcomes: Outcomes) -> Self {
        Self { prepared: None, data: data.to_path_buf(), outcomes }
    }

    /// Copies the files of a server. The nonce is one that no other checkpoint has.
    pub(super) fn prepare(
        &self,
        server: Option<&ServerProcess>,
        criu: &Result<Criu, String>,
        nonce: u64,
    ) {
        let number = server.map_or(0, |server| server.number);
        let launcher = match (criu, server) {
            // Copies alone serve nothing.
            (Err(why), _) => Err(why.clone()),
            (Ok(_), None) => Err("the server has ended".to_string()),
            (Ok(_), Some(server)) => {
                server.launcher().ok_or_else(|| "the server has ended".to_string())
            }
        };
        let (data, outcomes) = (self.data.clone(), self.outcomes.clone());
        spawn_local(async move {
            let preparing = spawn_blocking(move || prepare(&data, launcher?, nonce).map(Box::new));
            let prepared = preparing.await.unwrap_or_else(|error| Err(error.to_string()));
            let _ = outcomes.send(HostOutcome::Prepared(number, prepared));
        });
    }

    /// Keeps copies until they are needed.
    pub(super) fn keep(&mut self, prepared: Box<PreparedFiles>) {
        self.prepared = Some(prepared);
    }

    /// Removes them.
    pub(super) fn drop_prepared(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            // Many files may be removed.
            spawn_blocking(move || drop(prepared));
        }
    }

    /// Takes the checkpoint of a server for this group.
    pub(super) fn take(
        &mut self,
        server: Option<&ServerProcess>,
        criu: &Result<Criu, String>,
        group: &str,
    ) {
        let number = server.map_or(0, |server| server.number);
        let prepared = self.prepared.take();
        let order = match (criu, server) {
            (Err(why), _) => Err(why.clone()),
            // The run that the driver has seen has ended.
            (Ok(_), None) => Err("the server has ended".to_string()),
            (Ok(criu), Some(server)) => server.take_order(criu.path(), group),
        };
        let outcomes = self.outcomes.clone();
        let phases = self.outcomes.clone();
        let enter = move |phase| {
            let input = DriverInput::CheckpointPhase(number, phase);
            let _ = phases.send(HostOutcome::Input(input));
        };
        spawn_local(async move {
            let taking = spawn_blocking(move || {
                let prepared = prepared.ok_or("no files were copied for it")?;
                take(&order?, *prepared, enter)
            });
            let taken = taking.await.unwrap_or_else(|error| Err(error.to_string()));
            let input = DriverInput::CheckpointTaken(number, taken);
            let _ = outcomes.send(HostOutcome::Input(input));
        });
    }
}
