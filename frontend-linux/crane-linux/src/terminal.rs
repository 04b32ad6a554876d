//! Output of the command beside the events: results and errors.

use std::io::Write;

/// Prints an error to the standard error output, in one line.
pub(crate) fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "crane-linux: error: {}", why.replace('\n', " "));
}

/// Prints a line to the standard output. Returns `false` if the output is closed, as a pipe into
/// `head` may be before the end; that is no error (`println!` would panic).
pub(crate) fn print_line(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}
