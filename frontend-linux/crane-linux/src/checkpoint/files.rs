//! Checkpoints of a replica that does not run: removed, written to a file, and read from one.

use std::path::Path;

use crane_core::id::Slot;

use super::archive;
use super::arrived;
use super::store::{self, Listed, Unfinished};
use crate::cell::upper;
use crate::group;
use crate::meta::DataDirectory;

/// Removes all checkpoints but the newest `keep` and the newest that is proved, and returns the
/// exit status.
pub(crate) fn prune(data: &Path, keep: usize) -> i32 {
    group::run(async {
        let data = open(data)?;
        let listed = store::list(&data.path)
            .map_err(|error| format!("no checkpoints in {}: {error}", data.path.display()))?;
        let is_whole = |it: &&Listed| it.aside.is_none() && it.checkpoint.is_some();
        let is_proved = |it: &&&Listed| it.checkpoint.as_ref().is_some_and(|it| it.is_proved());
        let whole: Vec<&Listed> = listed.iter().filter(is_whole).collect();
        let mut kept: Vec<&Path> = whole.iter().take(keep).map(|it| &*it.place).collect();
        kept.extend(whole.iter().find(is_proved).map(|it| &*it.place));
        let gone: Vec<&Listed> = listed.iter().filter(|it| !kept.contains(&&*it.place)).collect();
        for Listed { place, .. } in &gone {
            upper::remove(place)?;
        }
        let bytes: u64 = gone.iter().map(|it| it.bytes).sum();
        Ok(format!(
            "{} removed, {:.1} MiB; {} kept",
            gone.len(),
            bytes as f64 / f64::from(1 << 20),
            listed.len() - gone.len()
        ))
    })
}

/// Writes the newest proved checkpoint, or that of a slot, to a new file, and returns the exit
/// status.
pub(crate) fn export(data: &Path, file: &Path, slot: Option<u64>) -> i32 {
    group::run(async {
        let listed = store::list(data)
            .map_err(|error| format!("no checkpoints in {}: {error}", data.display()))?;
        let whole = listed.into_iter().filter(|it| it.aside.is_none());
        let mut proved = whole.filter_map(|it| it.checkpoint).filter(|it| it.is_proved());
        let found = proved.find(|it| slot.is_none_or(|slot| it.manifest.slot == Slot(slot)));
        let found = found.ok_or_else(|| {
            format!("{} has no such checkpoint that is proved; see checkpoint list", data.display())
        })?;
        if file.exists() {
            return Err(format!("{} is there already; give another name", file.display()));
        }
        found.check()?;
        let bytes = archive::pack(&found.place, file)?;
        let slot = found.manifest.slot;
        Ok(format!("the checkpoint behind slot {slot} is in {}: {bytes} bytes", file.display()))
    })
}

/// Puts a checkpoint that was exported into a data directory, whose next start begins with it, and
/// returns the exit status.
pub(crate) fn import(data: &Path, file: &Path) -> i32 {
    group::run(async {
        let data = open(data)?;
        if let Some(meta) = data.meta()?
            && meta.witness
        {
            return Err("a witness runs no server, and needs no checkpoint".to_string());
        }
        let unfinished = Unfinished::make(&data.path, 0)?;
        archive::unpack(file, unfinished.place())?;
        let checkpoint = unfinished.adopt(None)?;
        let slot = checkpoint.manifest.slot;
        let proof = checkpoint.manifest.proof.expect("only one that is proved is adopted");
        arrived::record(&data.path, &proof.prefix)
            .map_err(|error| format!("{}: {error}", data.path.display()))?;
        Ok(format!(
            "the next start of the replica in {} begins behind slot {slot}, unless its log reaches \
             further",
            data.path.display()
        ))
    })
}

fn open(data: &Path) -> Result<DataDirectory, String> {
    if !data.exists() {
        return Err(format!("{} is not there", data.display()));
    }
    DataDirectory::open(data)
}
