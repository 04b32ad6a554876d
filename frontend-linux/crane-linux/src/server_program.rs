//! The commands of the server, and the upgrades from one to the next.

use crane_core::id::{Incarnation, Slot};
use serde::{Deserialize, Serialize};

/// A command of the server, and the base that it has on all replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerProgram {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The digest of its base.
    pub base: [u8; 32],
}

impl ServerProgram {
    /// Returns the words as the log has them.
    pub(crate) fn joined(words: &[String]) -> String {
        words.join("\0")
    }

    /// Creates the program of a command as the log has it.
    pub(crate) fn of(command: &str, base: [u8; 32]) -> Self {
        Self { words: command.split('\0').map(str::to_string).collect(), base }
    }
}

/// A program of the server that took the place of another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Upgrade {
    /// The slot of the restart behind which it runs.
    pub slot: Slot,
    /// The first incarnation that runs it.
    pub incarnation: Incarnation,
    /// The program.
    pub program: ServerProgram,
}
