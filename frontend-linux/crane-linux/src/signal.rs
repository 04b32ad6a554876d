//! `crane-linux signal`: sends the server's program a signal on all replicas at one point.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::group::{self, GroupView, Seen};
use crate::net::query::Query;
use crate::options::GroupArgs;
use crate::signal_name::SignalName;

/// The time limit for agreement on the signal.
const WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

/// Sends the signal, and returns the exit status.
pub(crate) fn run(signal: SignalName, group: &GroupArgs) -> i32 {
    group::run(async {
        let answer = group::order(group, Query::Signal { number: signal.number() }).await?;
        let slot = answer.get("slot").and_then(Value::as_u64);
        let slot = slot.ok_or("the primary's answer has no slot")?;
        let start = Instant::now();
        while start.elapsed() < WITHIN {
            let view = GroupView::look(group, 0).await?;
            if view.committed() >= slot {
                return outcome(&view, slot)
                    .map(|()| format!("{signal} is sent to the server's program at slot {slot}"))
                    .ok_or_else(|| {
                        format!(
                            "{signal} is not sent: the primary changed, or the server was \
                             restarted, before the group agreed on it; try again"
                        )
                    });
            }
            sleep(PAUSE).await;
        }
        Err(format!(
            "{signal} was proposed, and the group has not agreed on it for {} s, but may yet; see \
             crane-linux status, and its --events",
            WITHIN.as_secs()
        ))
    })
}

/// Returns whether a member has seen that a signal is what the group agreed on in a slot.
fn outcome(view: &GroupView, slot: u64) -> Option<()> {
    let has = |event: &Value| {
        event.get("event").and_then(Value::as_str) == Some("signal")
            && event.get("slot").and_then(Value::as_u64) == Some(slot)
    };
    let tells = |member: &Seen| {
        let events = member.state.as_ref()?.get("events")?.as_array()?;
        events.iter().any(has).then_some(())
    };
    view.members.iter().find_map(tells)
}
