//! Output of the command: which events, and results and errors beside them.

use std::io::Write;

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// `--log-level`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// Errors that stop the replica.
    Error,
    /// Errors, and conditions that need attention.
    Warn,
    /// Warnings, and changes of role, members, links and the server.
    Info,
    /// All of these, and details that help to find faults, with the diagnostics of the core.
    Debug,
}

impl LogLevel {
    /// Returns the tracing library's name for this level.
    pub(crate) fn level(self) -> tracing::Level {
        match self {
            Self::Error => tracing::Level::ERROR,
            Self::Warn => tracing::Level::WARN,
            Self::Info => tracing::Level::INFO,
            Self::Debug => tracing::Level::DEBUG,
        }
    }
}

/// Prints an error to the standard error output, in one line.
pub(crate) fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "crane-linux: error: {}", why.replace('\n', " "));
}

/// Prints lines that an operator may copy to the standard error output.
pub(crate) fn advise(lines: &str) {
    let _ = writeln!(std::io::stderr(), "{lines}");
}

/// Prints a line to the standard output. Returns `false` if the output is closed, as a pipe into
/// `head` may be before the end; that is no error (`println!` would panic).
pub(crate) fn print_line(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// Copies the output of another process to our own, line by line, with a prefix to each line. A
/// command whose own output is closed continues.
pub(crate) async fn pass_lines(
    stream: impl AsyncRead + Unpin,
    prefix: impl std::fmt::Display,
    to_error_output: bool,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']);
                let _ = if to_error_output {
                    writeln!(std::io::stderr(), "{prefix}{text}")
                } else {
                    writeln!(std::io::stdout(), "{prefix}{text}")
                };
            }
        }
    }
}
