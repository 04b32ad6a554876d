//! `crane-linux status`: asks every replica that it can reach.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::base::DEFAULT_DIRECTORY;
use crate::net::query::{Query, ask};
use crate::options::{self, PEER_PORT, StatusArgs};
use crate::start::{complain, control_path};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Prints the state of the group, and gives the exit status.
pub fn run(args: &StatusArgs) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| format!("no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(collect(args)));
    match outcome {
        Ok(group) => {
            let text = if args.json { group.to_string() } else { render(&group) };
            println!("{}", text.trim_end());
            0
        }
        Err(why) => {
            complain(&why);
            1
        }
    }
}

async fn collect(args: &StatusArgs) -> Result<Value, String> {
    let members = members(&args.peers, args.data_dir.as_deref()).await?;
    let first = ask_all(&members, 0).await?;
    let slot = first.iter().filter_map(comparable_slot).min().unwrap_or(0);
    let answers = if slot > 0 { ask_all(&members, slot).await? } else { first };
    let group = answers.iter().flatten().find_map(|answer| answer.get("group"));
    let mut replicas = Vec::new();
    for (place, answer) in answers.iter().enumerate() {
        replicas.push(match answer.as_ref().and_then(|answer| answer.get("replica")) {
            Some(replica) => replica.clone(),
            None => json!({ "id": place + 1, "address": members[place], "role": "down" }),
        });
    }
    Ok(json!({ "group": group, "replicas": replicas }))
}

/// The members of the group that is meant.
///
/// # Errors
/// Why they cannot be told.
pub async fn members(peers: &[String], directory: Option<&Path>) -> Result<Vec<String>, String> {
    if peers.is_empty() {
        members_by_directory(directory).await
    } else {
        options::member_names(peers, PEER_PORT)
    }
}

/// The last slot of which a replica with a living server has hashes.
fn comparable_slot(answer: &Option<Value>) -> Option<u64> {
    let replica = answer.as_ref()?.get("replica")?;
    replica.get("server_pid")?.as_u64()?;
    replica.get("admitted")?.as_u64().filter(|slot| *slot > 0)
}

/// Asks all replicas at once for their state; none for those that do not answer.
///
/// # Errors
/// When none of them does.
pub async fn ask_all(members: &[String], hash_slot: u64) -> Result<Vec<Option<Value>>, String> {
    let mut tasks = JoinSet::new();
    for (place, member) in members.iter().enumerate() {
        let addresses = options::resolve(member)?;
        tasks.spawn(async move { (place, ask_one(&addresses, Query::Status { hash_slot }).await) });
    }
    let mut answers = vec![None; members.len()];
    while let Some(outcome) = tasks.join_next().await {
        let (place, answer) = outcome.map_err(|error| error.to_string())?;
        answers[place] = answer;
    }
    if answers.iter().all(Option::is_none) {
        return Err(format!(
            "none of {} answers; is the group running, and are these its addresses?",
            members.join(",")
        ));
    }
    Ok(answers)
}

/// Asks one replica by its peer port; none if it does not answer.
pub async fn ask_one(addresses: &[SocketAddr], query: Query) -> Option<Value> {
    let connected = timeout(CONNECT_WITHIN, TcpStream::connect(addresses)).await;
    ask(&mut connected.ok()?.ok()?, query).await.ok()
}

/// The members, as a replica on this host knows them.
async fn members_by_directory(given: Option<&Path>) -> Result<Vec<String>, String> {
    let candidates = match given {
        Some(directory) => with_numbers(directory),
        None => default_directories(),
    };
    for directory in &candidates {
        if let Ok(answer) = ask_control(directory).await
            && let Some(members) = answer.get("members").and_then(Value::as_array)
        {
            let names = members.iter().filter_map(Value::as_str).map(str::to_string);
            return Ok(names.collect());
        }
    }
    let place = given.unwrap_or(Path::new(DEFAULT_DIRECTORY));
    Err(format!(
        "no replica answers in {}; name its directory with --data-dir, or the members with --peers",
        place.display()
    ))
}

fn with_numbers(directory: &Path) -> Vec<PathBuf> {
    let numbered = (1..=7).map(|number| directory.join(number.to_string()));
    [directory.to_path_buf()].into_iter().chain(numbered).collect()
}

fn default_directories() -> Vec<PathBuf> {
    let Ok(items) = fs::read_dir(DEFAULT_DIRECTORY) else { return Vec::new() };
    items.filter_map(Result::ok).flat_map(|item| with_numbers(&item.path())).collect()
}

async fn ask_control(directory: &Path) -> io::Result<Value> {
    let run = fs::File::open(directory.join("run"))?;
    let mut stream = UnixStream::connect(control_path(&run)).await?;
    ask(&mut stream, Query::Status { hash_slot: 0 }).await
}

const COLUMNS: [(&str, &str); 13] = [
    ("id", "id"),
    ("address", "address"),
    ("role", "role"),
    ("ballot", "ballot"),
    ("durable", "durable"),
    ("committed", "committed"),
    ("admitted", "admitted"),
    ("clock", "clock"),
    ("entries", "entries"),
    ("bubbles", "bubbles"),
    ("connections", "conns"),
    ("schedule_hash", "schedule hash"),
    ("output_hash", "output hash"),
];

/// The table for people.
fn render(group: &Value) -> String {
    let replicas = group.get("replicas").and_then(Value::as_array).map_or(&[][..], |all| all);
    let titles: Vec<String> = COLUMNS.iter().map(|(_, title)| title.to_string()).collect();
    let mut rows = vec![titles];
    for replica in replicas {
        rows.push(COLUMNS.iter().map(|(name, _)| cell_text(replica.get(*name))).collect());
    }
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = format!("group {}\n", cell_text(group.get("group")));
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    let slots = replicas.iter().find_map(|replica| replica.get("hash_slot")?.as_u64());
    if let Some(slot) = slots {
        text.push_str(&format!("hashes at slot {slot}\n"));
    }
    for replica in replicas {
        if let Some(trouble) = replica.get("last_error").and_then(Value::as_str) {
            let id = cell_text(replica.get("id"));
            text.push_str(&format!("replica {id}: {trouble}\n"));
        }
    }
    text
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
        let group = json!({ "group": "ab", "replicas": [
            { "id": 1, "address": "127.0.0.1:6790", "role": "primary", "committed": 12,
              "hash_slot": 9, "schedule_hash": "00ff", "last_error": "broken" },
            { "id": 2, "address": "b:1", "role": "down" },
        ]});
        let text = render(&group);
        let lines: Vec<&str> = text.lines().collect();
        let place = lines[1].find("role").unwrap();
        assert!(lines[2][place..].starts_with("primary"));
        assert!(lines[3][place..].starts_with("down"));
        assert!(text.contains("hashes at slot 9") && text.contains("replica 1: broken"));
    }

    #[test]
    fn only_living_servers_are_compared() {
        let with =
            |server: Value| Some(json!({ "replica": { "server_pid": server, "admitted": 5 }}));
        assert_eq!(comparable_slot(&with(json!(7))), Some(5));
        assert_eq!(comparable_slot(&with(Value::Null)), None);
        assert_eq!(comparable_slot(&None), None);
    }
}
