//! `crane-linux checkpoint`: orders to the replica of a data directory.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::group;
use crate::net::query::Query;

/// The time limit for a checkpoint.
const WITHIN: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(20);

/// Takes a checkpoint of the server of the replica in `data`, and returns the exit status.
pub(crate) fn now(data: &Path) -> i32 {
    group::run(async {
        let answer = ask(data, Query::Checkpoint).await?;
        if let Some(why) = answer.get("error").and_then(Value::as_str) {
            return Err(format!("no checkpoint is taken: {why}"));
        }
        let start = Instant::now();
        while start.elapsed() < WITHIN {
            let state = ask(data, Query::Status { hash_slot: 0 }).await?;
            let state = &state["replica"]["checkpoint"];
            match state["phase"].as_str() {
                Some("taken") => {
                    return Ok(format!(
                        "a checkpoint behind slot {} is in {}; the server was held for {} ms",
                        state["slot"],
                        state["place"].as_str().unwrap_or_default(),
                        state["held_ms"]
                    ));
                }
                Some("failed") => {
                    let why = state["error"].as_str().unwrap_or_default();
                    return Err(format!("no checkpoint was taken: {why}"));
                }
                _ => sleep(PAUSE).await,
            }
        }
        Err(format!("no checkpoint was taken in {} s; see crane-linux status", WITHIN.as_secs()))
    })
}

async fn ask(data: &Path, query: Query) -> Result<Value, String> {
    let answer = group::ask_directory(data, query).await;
    answer.map_err(|error| {
        format!(
            "no replica answers in {}: {error}; name the data directory of a running replica",
            data.display()
        )
    })
}
