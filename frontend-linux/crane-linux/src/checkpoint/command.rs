//! `crane-linux checkpoint`: orders to the replica of a data directory.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::store::{self, Listed, Manifest};
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

/// Lists the checkpoints in `data`, and returns the exit status. With `verify`, each is read and
/// compared with its digest; one that is damaged makes the status 1.
pub(crate) fn list(data: &Path, verify: bool) -> i32 {
    group::run_with_status(async {
        let listed = store::list(data).map_err(|error| {
            format!(
                "no checkpoints in {}: {error}; name a replica's data directory, in which one was \
                 taken (checkpoint now)",
                data.display()
            )
        })?;
        let mut rows = vec![
            ["slot", "clock", "MiB", "state", "proof", "directory"].map(String::from).to_vec(),
        ];
        let mut status = 0;
        for Listed { place, checkpoint, aside, bytes } in &listed {
            let checked = match checkpoint {
                None => Err("its manifest cannot be read".to_string()),
                Some(checkpoint) if verify => checkpoint.check().map(|()| "whole"),
                Some(_) => Ok("not verified"),
            };
            let state = match (aside, checked) {
                (Some(why), _) => why.clone(),
                (None, Ok(state)) => state.to_string(),
                (None, Err(why)) => {
                    status = 1;
                    format!("damaged: {why}")
                }
            };
            let number = |read: fn(&Manifest) -> u64| {
                let value = checkpoint.as_ref().map(|it| read(&it.manifest));
                value.map_or_else(|| "-".to_string(), |value| value.to_string())
            };
            let size = format!("{:.1}", *bytes as f64 / f64::from(1 << 20));
            let place = place.display().to_string();
            let (slot, clock) = (number(|it| it.slot.0), number(|it| it.clock));
            let proved = checkpoint.as_ref().is_some_and(|it| it.is_proved());
            let proof = if proved { "proved" } else { "none" }.to_string();
            rows.push(vec![slot, clock, size, state, proof, place]);
        }
        Ok((group::aligned(&rows), status))
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
