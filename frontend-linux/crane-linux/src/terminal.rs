//! Output of the command beside the events: results and errors.

use std::io::Write;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

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
