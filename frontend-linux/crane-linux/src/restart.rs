//! `crane-linux restart`: restarts the server on all replicas, and waits until it serves again.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::group::{self, GroupView, Seen};
use crate::net::query::Query;
use crate::options::{GroupArgs, RestartArgs};

/// The time limit for the server's start.
const WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Restarts the server, and returns the exit status.
pub(crate) fn run(args: &RestartArgs) -> i32 {
    group::run(async {
        let start = Instant::now();
        let answer = group::order(&args.group, Query::Restart).await?;
        let incarnation = await_serving(&args.group, &answer).await?;
        let took = start.elapsed().as_millis();
        Ok(format!(
            "the server has started again on its files, as incarnation {incarnation}; {took} ms"
        ))
    })
}

/// Waits until the server of the incarnation in a primary's answer takes clients. Returns the
/// incarnation.
///
/// # Errors
/// Returns that it does not, after a while.
pub(crate) async fn await_serving(args: &GroupArgs, answer: &Value) -> Result<u64, String> {
    let start = Instant::now();
    let incarnation = answer.get("incarnation").and_then(Value::as_u64);
    let incarnation = incarnation.ok_or("the primary's answer has no incarnation")?;
    while start.elapsed() < WITHIN {
        let seen = GroupView::look(args, 0).await?;
        if seen.primary().is_some_and(|primary| serves(primary, incarnation)) {
            return Ok(incarnation);
        }
        sleep(PAUSE).await;
    }
    Err(format!(
        "the restart is agreed, and the server of incarnation {incarnation} takes no clients after \
         {} s; see crane-linux status",
        WITHIN.as_secs()
    ))
}

fn serves(member: &Seen, incarnation: u64) -> bool {
    let takes = member.state.as_ref().and_then(|state| state.get("takes_clients"));
    let takes = takes.and_then(Value::as_bool).unwrap_or(false);
    takes && member.number("incarnation").is_some_and(|shown| shown >= incarnation)
}
