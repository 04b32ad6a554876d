//! What people are told beside the events.

/// An error in one line, where people look for it.
pub fn complain(why: &str) {
    eprintln!("crane-linux: error: {}", why.replace('\n', " "));
}
