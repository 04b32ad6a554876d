//! Another program of the server in the place of the present one.

use tokio::process::Child;
use tokio::task::{spawn_blocking, spawn_local};

use crane_core::execution::Mark;

use crate::base::Base;
use crate::cell::Spec;
use crate::cell::restore::copy_layers;
use crate::checkpoint::store::{Checkpoint, CheckpointKind, Manifest, Unfinished};
use crate::driver::DriverInput;
use crate::program::{ProgramContext, UpgradeOrder, Upgraded};
use crate::server_program::Upgrade;

use super::server::await_end;
use super::{HostOutcome, Outcomes};

/// Looks at the base of a program, on a thread that may wait for the disk.
pub(super) fn look(context: ProgramContext, words: Vec<String>, outcomes: Outcomes) {
    spawn_local(async move {
        let command = words.clone();
        let looking = spawn_blocking(move || context.look(&command).map(|(_, base)| base));
        let seen = looking.await.unwrap_or_else(|error| Err(error.to_string()));
        let _ = outcomes.send(HostOutcome::Input(DriverInput::ProgramSeen(words, seen)));
    });
}

/// Keeps the files of the server as a checkpoint, once its cell has ended, and checks the base of
/// the program.
pub(super) fn carry_out(
    context: ProgramContext,
    order: UpgradeOrder,
    cell: Option<Child>,
    outcomes: Outcomes,
) {
    spawn_local(async move {
        let outcome = match upgrade(context, order, cell).await {
            Ok((spec, upgraded)) => HostOutcome::Upgraded(Box::new(spec), Box::new(upgraded)),
            Err(why) => HostOutcome::Input(DriverInput::Upgraded(Err(why))),
        };
        let _ = outcomes.send(outcome);
    });
}

async fn upgrade(
    context: ProgramContext,
    order: UpgradeOrder,
    cell: Option<Child>,
) -> Result<(Spec, Upgraded), String> {
    if let Some(cell) = cell {
        await_end(cell).await?;
    }
    let working = spawn_blocking(move || {
        let Upgrade { program, .. } = &order.upgrade;
        let (spec, base) = context.look(&program.words)?;
        check(&base, &program.base)?;
        let checkpoint = keep_files(&context, &order)?;
        Ok((spec, Upgraded { upgrade: order.upgrade, base, checkpoint }))
    });
    working.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn check(base: &Base, agreed: &[u8; 32]) -> Result<(), String> {
    match base.digest() == *agreed {
        true => Ok(()),
        false => Err("its base has changed since the upgrade was checked".to_string()),
    }
}

fn keep_files(context: &ProgramContext, order: &UpgradeOrder) -> Result<Checkpoint, String> {
    let unfinished = Unfinished::make(&context.data, order.slot.0)?;
    copy_layers(&context.data, unfinished.place())?;
    unfinished.finish(Manifest {
        library: crate::start::library_digest(),
        origin: Box::default(),
        group: order.group.clone(),
        kind: CheckpointKind::Files { timestamp: order.timestamp },
        slot: order.slot,
        incarnation: order.incarnation,
        clock: 0,
        mark: Mark { slot: order.slot, clock: 0, schedule: 0, output: 0 },
        proof: None,
        processes: Box::default(),
        digest: [0; 32],
    })
}
