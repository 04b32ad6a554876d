//! `crane-linux status`: asks every replica that it can reach.

use serde_json::{Value, json};

use crate::event::{Event, Told};
use crate::group::{self, GroupView, Seen, aligned};
use crate::options::StatusArgs;
use crate::verdict::GroupVerdict;

/// Prints the state of the group, and returns the exit status: 1 while something is at fault.
pub(crate) fn run(args: &StatusArgs) -> i32 {
    group::run_with_status(async {
        let state = collect(args).await?;
        let text = match (args.json, args.events) {
            (true, _) => state.to_string(),
            (false, true) => render_events(&state)?,
            (false, false) => render(&state),
        };
        Ok((text, i32::from(state["healthy"] != true)))
    })
}

async fn collect(args: &StatusArgs) -> Result<Value, String> {
    let first = GroupView::look(&args.group, 0).await?;
    let slot = first.members.iter().filter_map(comparable_slot).min().unwrap_or(0);
    let group = if slot > 0 { GroupView::look(&args.group, slot).await? } else { first };
    let replica = |member: &Seen| {
        let mut value = member.state.clone().unwrap_or_else(
            || json!({ "id": member.id, "address": member.address, "role": "down" }),
        );
        value["member"] = json!(member.kind);
        value
    };
    let replicas: Vec<Value> = group.members.iter().map(replica).collect();
    Ok(judged(json!({ "group": group.identity, "replicas": replicas })))
}

/// Adds the verdict to the state of a group.
fn judged(mut state: Value) -> Value {
    let verdict = GroupVerdict::of(&state);
    state["healthy"] = json!(!verdict.is_fault);
    state["verdict"] = json!(verdict.words);
    state
}

/// Returns the last slot at which a replica with a running server has hashes.
fn comparable_slot(member: &Seen) -> Option<u64> {
    member.number("server_pid")?;
    member.number("admitted").filter(|slot| *slot > 0)
}

const COLUMNS: [(&str, &str); 15] = [
    ("id", "id"),
    ("address", "address"),
    ("member", "member"),
    ("role", "role"),
    ("ballot", "ballot"),
    ("durable", "durable"),
    ("committed", "committed"),
    ("admitted", "admitted"),
    ("incarnation", "incarnation"),
    ("clock", "clock"),
    ("entries", "entries"),
    ("bubbles", "bubbles"),
    ("connections", "conns"),
    ("schedule_hash", "schedule hash"),
    ("output_hash", "output hash"),
];

/// Formats the state as a table for people.
fn render(group: &Value) -> String {
    let replicas = group.get("replicas").and_then(Value::as_array).map_or(&[][..], |all| all);
    let titles: Vec<String> = COLUMNS.iter().map(|(_, title)| title.to_string()).collect();
    let mut rows = vec![titles];
    for replica in replicas {
        rows.push(COLUMNS.iter().map(|(name, _)| cell_text(replica.get(*name))).collect());
    }
    let mut text = format!("group {}\n", cell_text(group.get("group")));
    text.push_str(&format!("{}\n", cell_text(group.get("verdict"))));
    text.push_str(&aligned(&rows));
    let slots = replicas.iter().find_map(|replica| replica.get("hash_slot")?.as_u64());
    if let Some(slot) = slots {
        text.push_str(&format!("hashes at slot {slot}\n"));
    }
    for replica in replicas {
        let id = cell_text(replica.get("id"));
        for (kind, name) in [("faults", "fault"), ("notes", "note")] {
            for finding in replica.get(kind).and_then(Value::as_array).into_iter().flatten() {
                text.push_str(&format!("replica {id}: {name}: {}\n", cell_text(Some(finding))));
            }
        }
        if let Some(trouble) = replica.get("last_error").and_then(Value::as_str) {
            text.push_str(&format!("replica {id}: last error: {trouble}\n"));
        }
    }
    text
}

/// Formats the last events of all replicas as one list, by time.
fn render_events(group: &Value) -> Result<String, String> {
    let replicas = group.get("replicas").and_then(Value::as_array).map_or(&[][..], |all| all);
    let mut lines: Vec<(u64, String, Event)> = Vec::new();
    for replica in replicas {
        let Some(events) = replica.get("events").cloned() else { continue };
        let told: Vec<Told> = serde_json::from_value(events).map_err(|error| {
            format!("malformed events: {error}; use one version of crane-linux everywhere")
        })?;
        let id = cell_text(replica.get("id"));
        lines.extend(told.into_iter().map(|Told { at_ms, event }| (at_ms, id.clone(), event)));
    }
    lines.sort_by_key(|(at_ms, _, _)| *at_ms);
    let mut text = String::new();
    for (at_ms, id, event) in lines {
        let (seconds, millis) = (at_ms / 1000 % 86_400, at_ms % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        text.push_str(&format!("{hour:02}:{minute:02}:{second:02}.{millis:03} {id}| {event}\n"));
    }
    Ok(text)
}

fn cell_text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_shows_who_is_down() {
        let group = judged(json!({ "group": "ab", "replicas": [
            { "id": 1, "address": "127.0.0.1:6790", "role": "primary", "committed": 12,
              "hash_slot": 9, "schedule_hash": "00ff", "last_error": "broken" },
            { "id": 2, "address": "b:1", "role": "down" },
        ]}));
        let text = render(&group);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "degraded: no answer of replica 2; the others serve");
        let place = lines[2].find("role").unwrap();
        assert!(lines[3][place..].starts_with("primary"));
        assert!(lines[4][place..].starts_with("down"));
        assert!(
            text.contains("hashes at slot 9") && text.contains("replica 1: last error: broken")
        );
    }

    #[test]
    fn events_of_all_replicas_are_in_the_order_of_time() {
        let event = |at_ms: u64, ballot: &str| {
            let event = "promised";
            json!({ "at_ms": at_ms, "event": event, "ballot": ballot })
        };
        let group = json!({ "group": "ab", "replicas": [
            { "id": 1, "events": [event(5_000, "1.2"), event(90_061_005, "2.2")] },
            { "id": 2, "events": [event(7_000, "1.1")] },
            { "id": 3, "role": "down" },
        ]});
        let text = render_events(&group).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "00:00:05.000 1| promised ballot 1.2");
        assert_eq!(lines[1], "00:00:07.000 2| promised ballot 1.1");
        assert_eq!(lines[2], "01:01:01.005 1| promised ballot 2.2");
    }

    #[test]
    fn only_living_servers_are_compared() {
        let with = |server: Value| Seen {
            id: 1,
            address: "a:1".into(),
            kind: "voter".into(),
            state: Some(json!({ "server_pid": server, "admitted": 5 })),
        };
        assert_eq!(comparable_slot(&with(json!(7))), Some(5));
        assert_eq!(comparable_slot(&with(Value::Null)), None);
    }
}
