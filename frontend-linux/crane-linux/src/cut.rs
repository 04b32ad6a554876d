//! `crane-linux log cut`: takes the front off the log of a replica that does not run.

use std::path::Path;

use crane_core::id::Slot;

use crate::log::Log;
use crate::meta::DataDirectory;
use crate::start::complain;

/// Cuts the log in this data directory behind a slot, and gives the exit status.
pub fn run(data: &Path, behind: u64) -> i32 {
    match cut(data, Slot(behind)) {
        Ok(told) => {
            println!("{told}");
            0
        }
        Err(why) => {
            complain(&why);
            1
        }
    }
}

fn cut(data: &Path, behind: Slot) -> Result<String, String> {
    // Opening a data directory would make one.
    if !data.join("meta").exists() {
        return Err(format!("{} is no data directory of a replica", data.display()));
    }
    let directory = DataDirectory::open(data)?;
    let meta = directory.meta()?.ok_or("the file meta is gone")?;
    if !meta.witness {
        return Err(format!(
            "{} is of a replica that runs a server, which starts from slot 1 as long as there are no \
             checkpoints; only the log of a witness can be cut",
            directory.path.display()
        ));
    }
    let mut opened = Log::open(&directory.log()).map_err(|error| error.to_string())?;
    let front = opened.log.front();
    if behind <= front {
        return Ok(format!("the log starts behind slot {front} already"));
    }
    let last = Slot(front.0 + opened.entries.len() as u64);
    let committed = opened.stored.committed.min(last);
    if behind > committed {
        return Err(format!(
            "slot {behind} is not known to be committed, slot {committed} is: the log can be cut \
             behind that one"
        ));
    }
    let anchor = opened.anchor_at(behind, meta.founders.first_members());
    let gone = opened.log.cut(&anchor).map_err(|error| error.to_string())?;
    Ok(format!("the log starts behind slot {behind}; segments deleted: {gone}"))
}
