//! What people are told beside the events.

use std::io::Write;

/// An error in one line, where people look for it.
pub fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "crane-linux: error: {}", why.replace('\n', " "));
}

/// Prints a line to the standard output, and returns whether somebody reads it: a pipe into `head`
/// may be closed before the end, which is no fault (`println!` would panic).
pub fn print_line(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}
