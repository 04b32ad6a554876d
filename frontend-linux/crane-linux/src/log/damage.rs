//! What becomes of a log that is damaged: it is set aside, and this replica starts anew as one that has
//! lost its storage.
//!
//! What is lost may have been a promise. So the fresh log begins with the standing of one that rejoins,
//! under a new life: it votes when the group's log has named that life, and not before. (A blank one
//! would not do: if all members had damaged logs, they would found another group.)
//!
//! A crash in between leaves no log, or one without a record, beside a damaged one: [`has_been`] tells
//! that from a new data directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crane_core::paxos::{Life, Standing, Stored};

use super::Log;

const ASIDE: &str = "log.damaged-";

/// Whether a damaged log was set aside in this data directory.
///
/// # Errors
/// What the system refused.
pub fn has_been(data: &Path) -> io::Result<bool> {
    for item in fs::read_dir(data)? {
        if item?.file_name().to_str().is_some_and(|name| name.starts_with(ASIDE)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sets the damaged log aside and begins a fresh one of that life. Says where the damaged one is; if
/// nothing of it was left, nowhere.
///
/// # Errors
/// What the system refused. Then this replica must not go on; the next attempt may.
// specs: R9
pub fn start_anew(data: &Path, life: Life) -> Result<Option<PathBuf>, String> {
    let log = data.join("log");
    let describe = |error: io::Error| {
        format!("the damaged log {} cannot be set aside: {error}", log.display())
    };
    let aside = set_aside(data, &log).map_err(describe)?;
    let stored = Stored { standing: Standing::Rejoining { life }, ..Stored::BLANK };
    Log::begin(&log, &stored, None)?;
    Ok(aside)
}

fn set_aside(data: &Path, log: &Path) -> io::Result<Option<PathBuf>> {
    let mut aside = None;
    if fs::read_dir(log)?.next().is_some() {
        let mut names = (1..).map(|number| data.join(format!("{ASIDE}{number}")));
        let free = names.find(|path| !path.exists()).expect("there are many numbers");
        fs::rename(log, &free)?;
        fs::create_dir(log)?;
        aside = Some(free);
    }
    File::open(data)?.sync_all()?;
    Ok(aside)
}
