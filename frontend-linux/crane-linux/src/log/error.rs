//! Errors of reading the log.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::record;

/// The kind of an error, with the place where it was found.
#[derive(Debug)]
pub enum LogError {
    /// The system returned an error.
    Io(PathBuf, io::Error),
    /// Bytes differ from those that were written.
    Damaged(PathBuf, usize),
    /// A newer (or much older) program wrote the log.
    Version(PathBuf, u32),
    /// A file of the log is missing.
    Missing(PathBuf),
}

impl LogError {
    /// Returns whether records are lost that this replica may have promised.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::Missing(_))
    }

    /// Returns the fault without the remedy.
    pub fn what(&self) -> String {
        match self {
            Self::Io(path, error) => format!("{}: {error}", path.display()),
            Self::Damaged(path, offset) => {
                format!("the log is damaged: {} at offset {offset}", path.display())
            }
            Self::Version(path, version) => format!(
                "{} is of log version {version}, and this program reads version {}",
                path.display(),
                record::LOG_VERSION
            ),
            Self::Missing(path) => {
                format!("the log is damaged: {} is missing", path.display())
            }
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match self {
            Self::Io(_, error) if error.raw_os_error() == Some(libc::EIO) => f.write_str(
                "; if the disk has lost it for good, move the log directory away, and start the \
                 replica again: it takes the log from the others",
            ),
            Self::Io(..) => Ok(()),
            Self::Version(..) => f.write_str("; use the program that wrote it"),
            Self::Damaged(..) | Self::Missing(_) => f.write_str(
                "; start the replica again: it sets a damaged log aside, and takes it from the \
                 others",
            ),
        }
    }
}

impl std::error::Error for LogError {}
