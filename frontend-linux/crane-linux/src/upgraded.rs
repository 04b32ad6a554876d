//! A replica's start after upgrades of its server.

use tracing::info;

use crate::base::Base;
use crate::checkpoint::store::{self, Checkpoint};
use crate::meta::{DataDirectory, Meta};
use crate::options::ReplicaArgs;

/// Takes the upgrades over that a checkpoint knows, which came from another replica.
pub(crate) fn adopt(meta: &mut Meta, data: &DataDirectory, library: [u8; 16]) {
    let Some(group) = &meta.group else { return };
    adopt_of(meta, &store::usable(&data.path, group, Some(library)));
}

/// Takes the upgrades over that one of these checkpoints knows, if it knows more of them.
pub(crate) fn adopt_of(meta: &mut Meta, usable: &[Checkpoint]) {
    let proofs = usable.iter().filter_map(|checkpoint| checkpoint.manifest.proof.as_ref());
    let known = proofs.map(|proof| &proof.prefix.upgrades);
    if let Some(upgrades) = known.max_by_key(|it| it.len())
        && upgrades.len() > meta.upgrades.len()
    {
        meta.upgrades.clone_from(upgrades);
    }
}

/// Lets the replica run the program of the last upgrade, whichever of the server's programs the
/// command line gives.
///
/// # Errors
/// Returns that it gives another one.
pub(crate) fn use_program(args: &mut ReplicaArgs, meta: &Meta) -> Result<(), String> {
    let Some(upgrade) = meta.upgrades.last().filter(|_| !meta.witness) else { return Ok(()) };
    let words = &upgrade.program.words;
    if *words == args.program {
        return Ok(());
    }
    let upgraded = words.join(" ");
    if !meta.knows(&args.program) {
        return Err(format!(
            "the group runs {upgraded} since an upgrade, and {} is another command; give that one, \
             and change it by crane-linux upgrade while the group runs",
            args.program.join(" ")
        ));
    }
    info!("the group was upgraded: the server's command is {upgraded}");
    args.program.clone_from(words);
    Ok(())
}

/// Checks that the base of the server's program is what the data directory says, so that replay
/// and the other replicas start from the same.
///
/// # Errors
/// Returns the difference, and the remedy; or the system's error.
pub(crate) fn check_base(
    name: &str,
    base: &Base,
    meta: &Meta,
    data: &DataDirectory,
) -> Result<(), String> {
    let upgraded = meta.upgrades.last();
    if upgraded.is_some_and(|upgrade| upgrade.program.base == base.digest()) {
        return data.put_base(base);
    }
    let before = data.base()?;
    let difference = match before.as_ref().and_then(|before| before.difference(base)) {
        Some(difference) => difference,
        None if upgraded.is_none() => return Ok(()),
        None => "it is not that of the last upgrade".to_string(),
    };
    Err(format!(
        "the base of {name} has changed since the group in {} was created or upgraded: \
         {difference}; restore it, and change it by crane-linux upgrade while the group runs, or \
         create a new group in another --data-dir",
        data.path.display()
    ))
}
