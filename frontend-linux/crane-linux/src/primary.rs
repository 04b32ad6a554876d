//! `crane-linux primary move`: asks the primary to hand its role over, and waits until it has.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::group::{self, GroupView};
use crate::net::query::Query;
use crate::options::{GroupArgs, MoveArgs};

/// How long the change may take.
const WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Moves the role, and gives the exit status.
pub fn run(args: &MoveArgs) -> i32 {
    group::run(async {
        let seen = GroupView::look(&args.group, 0).await?;
        transfer_leadership(&args.group, seen.find(&args.to)?.id).await
    })
}

/// Moves the role to a member.
///
/// # Errors
/// Why it stays where it is.
pub async fn transfer_leadership(group: &GroupArgs, to: u8) -> Result<String, String> {
    let seen = GroupView::look(group, 0).await?;
    let before = seen.primary().ok_or("the group has no primary at the moment")?.id;
    if before == to {
        return Ok(format!("replica {to} is the primary already"));
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
    Err(format!("replica {to} has not become the primary in {} s; see status", WITHIN.as_secs()))
}
