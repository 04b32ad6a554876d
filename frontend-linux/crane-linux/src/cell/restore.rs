//! The restore: the cell's init has CRIU make the server's processes from an image, instead of
//! executing the program.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};

use super::criu_log::first_error;
use super::dump::{CRIU_OPTIONS, IN_MEMORY, LastNumber, NUMBERS_LEFT, open_kept, output_of};
use super::features::Features;
use super::{RUN_IN_CELL, upper};
use crate::checkpoint::store::{Checkpoint, Processes, image_of};

/// The name of CRIU's log.
const LOG: &str = "restore.log";
/// An order to restore a server instead of starting its program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RestoreOrder {
    /// The checkpoint.
    pub(crate) from: Checkpoint,
    /// CRIU's file.
    pub(crate) criu: PathBuf,
}

/// An order whose files are open, because the cell does not see them.
pub(super) struct OpenOrder {
    /// The image's directory, as the host sees it.
    place: PathBuf,
    image: OwnedFd,
    criu: OwnedFd,
    features: Features,
    processes: Processes,
}

impl RestoreOrder {
    /// Opens the files. The mounts of the calling process must be private.
    pub(super) fn open(&self) -> Result<OpenOrder, String> {
        let place = image_of(&self.from.place);
        let image = open_kept(&place, OFlags::DIRECTORY)?;
        let criu = open_kept(&self.criu, OFlags::empty())?;
        let features = Features::try_out(&path_of(&criu));
        let processes = (*self.from.manifest.processes).clone();
        Ok(OpenOrder { place, image, criu, features, processes })
    }
}

/// The directories of a data directory that hold the files of the server: its layers, and its
/// private copy where namespaces are not permitted.
pub(crate) const LAYERS: [&str; 3] = ["upper", "mounts", COPY];
/// The private copy.
pub(super) const COPY: &str = "copy";

/// Checks a checkpoint, and puts its files in the place of the fresh layers of a data directory.
pub(super) fn put_files(checkpoint: &Checkpoint, data: &Path) -> Result<(), String> {
    checkpoint.check()?;
    copy_layers(&checkpoint.place, data)
}

/// Puts copies of the server's files in one directory in the place of those in another, with all
/// that overlayfs keeps in them, by reference where the file system can.
///
/// # Errors
/// Returns what cp(1) says.
pub(crate) fn copy_layers(from: &Path, to: &Path) -> Result<(), String> {
    for name in LAYERS {
        let (from, to) = (from.join(name), to.join(name));
        if from.exists() {
            upper::remove(&to)?;
            let mut command = Command::new("/bin/cp");
            command.args(["-a", "--reflink=auto", "-T"]).arg(from).arg(to);
            output_of(&mut command)?;
        }
    }
    Ok(())
}

/// Exchanges the server's files in one directory with copies of them in another.
///
/// # Errors
/// Returns what the system refused. Some may be exchanged then, which are alike.
pub(crate) fn exchange_layers(one: &Path, other: &Path) -> Result<(), String> {
    for name in LAYERS {
        let (one, other) = (one.join(name), other.join(name));
        if one.exists() {
            rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)
                .map_err(|error| upper::describe(&one, &error.into()))?;
        }
    }
    Ok(())
}

/// Returns a path to a descriptor's file, for this process and the programs that it executes.
fn path_of(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

impl OpenOrder {
    /// Copies the files in memory into a cell's, whose root is not yet turned.
    pub(super) fn put_memory(&self, root: &Path) -> Result<(), String> {
        for name in IN_MEMORY {
            copy_contents(&self.place.join(name), &root.join(name))?;
        }
        Ok(())
    }

    /// Makes the server's processes. Returns the number of the first one.
    pub(super) fn carry_out(self) -> Result<i32, String> {
        let Processes { server, last, pipes, .. } = self.processes;
        let images = path_of(&self.image);
        let numbers = LastNumber::open()?;
        numbers.set(NUMBERS_LEFT)?;
        let mut command = Command::new(path_of(&self.criu));
        command.env_clear();
        // The files that CRIU writes are no part of the checkpoint.
        let work = Path::new(RUN_IN_CELL).join("restore");
        fs::create_dir(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        command.args(["restore", "-D", &images, "-o", LOG, "-d"]).args(CRIU_OPTIONS);
        command.arg("-W").arg(&work);
        for (descriptor, pipe) in [1, 2].into_iter().zip(pipes) {
            command.arg("--inherit-fd").arg(format!("fd[{descriptor}]:pipe:[{pipe}]"));
        }
        let status = self.features.lend(|| command.status());
        let status = status.map_err(|error| format!("criu: {error}"))?;
        if !status.success() {
            let log = fs::read_to_string(work.join(LOG)).unwrap_or_default();
            let first = first_error(&log).unwrap_or_default();
            return Err(format!("criu restore: {status}: {first}"));
        }
        upper::remove(&work)?;
        numbers.set(&last.to_string())?;
        Ok(server)
    }
}

/// Copies what is in a directory, with owners, modes and times.
///
/// # Errors
/// Returns what cp(1) says.
fn copy_contents(from: &Path, to: &Path) -> Result<(), String> {
    let Ok(items) = fs::read_dir(from) else { return Ok(()) };
    let paths: Vec<PathBuf> = items.flatten().map(|item| item.path()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    output_of(Command::new("/bin/cp").args(["-a", "-t"]).arg(to).args(paths)).map(drop)
}
