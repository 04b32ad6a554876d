//! Errors of reading the log.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::record;

/// The same, with the place.
#[derive(Debug)]
pub enum LogError {
    /// The system refused.
    Io(PathBuf, io::Error),
    /// Bytes that were written are not what they were.
    Damaged(PathBuf, usize),
    /// A newer (or much older) program wrote it.
    Version(PathBuf, u32),
    /// A file is missing that was there.
    Missing(PathBuf),
}

impl LogError {
    /// Whether something is lost that this replica may have promised.
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
