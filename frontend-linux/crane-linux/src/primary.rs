//! `crane-linux primary move`: transfers the primary's role, and waits for the new primary.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::group::{self, GroupView};
use crate::net::query::Query;
use crate::options::{GroupArgs, MoveArgs};

/// The time limit for the transfer.
const WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Transfers the role, and returns the exit status.
pub(crate) fn run(args: &MoveArgs) -> i32 {
    group::run(async {
        let seen = GroupView::look(&args.group, 0).await?;
        transfer_leadership(&args.group, seen.find(&args.to)?.id).await
    })
}

/// Transfers the role to a member.
///
/// # Errors
/// Returns why the role did not move.
pub(crate) async fn transfer_leadership(group: &GroupArgs, to: u8) -> Result<String, String> {
    let seen = GroupView::look(group, 0).await?;
    let before =
        seen.primary().ok_or("the group has no primary at the moment; see crane-linux status")?.id;
    if before == to {
        return Ok(format!("replica {to} is already the primary"));
    }
    let start = Instant::now();
    group::order(group, Query::Move { to })
        .await
        .map_err(|why| format!("replica {to} does not become the primary: {why}"))?;
    while start.elapsed() < WITHIN {
        if GroupView::look(group, 0).await?.primary().is_some_and(|primary| primary.id == to) {
            let took = start.elapsed().as_millis();
            return Ok(format!("replica {to} is the primary, after replica {before}; {took} ms"));
        }
        sleep(PAUSE).await;
    }
    Err(format!(
        "replica {to} has not become the primary in {} s; see crane-linux status",
        WITHIN.as_secs()
    ))
}
