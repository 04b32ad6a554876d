//! Another program of the server in the place of the present one, and the files that it begins
//! with.

use std::path::PathBuf;

use tokio::process::Child;
use tokio::task::{spawn_blocking, spawn_local};

use crate::base::Base;
use crate::cell::Spec;
use crate::checkpoint::left_files::{self, FilesOrder};
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
        let files = left_files::take(&context.data, &order.files)?;
        let checkpoint = left_files::finish(files, order.files)?;
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

/// Keeps the files that a run begins with, whose predecessor has ended, and gives it a copy.
/// [`DriverInput::FilesKept`] follows.
pub(super) async fn keep_files(data: PathBuf, run: u64, order: FilesOrder, outcomes: &Outcomes) {
    let taking = spawn_blocking(move || {
        let files = left_files::take(&data, &order)?;
        Ok((files, order))
    });
    let taken = taking.await.unwrap_or_else(|error| Err(error.to_string()));
    let outcomes = outcomes.clone();
    // The run starts meanwhile.
    spawn_local(async move {
        let kept = match taken {
            Ok((files, order)) => {
                let finishing = spawn_blocking(move || left_files::finish(files, order));
                finishing.await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Err(why) => Err(why),
        };
        let _ = outcomes.send(HostOutcome::Input(DriverInput::FilesKept(run, kept)));
    });
}
