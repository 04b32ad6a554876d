//! A group as seen from outside: its members, the state of each, and orders to its primary.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::base::DEFAULT_DIRECTORY;
use crate::keys::place;
use crate::names;
use crate::net::control::control_path;
use crate::net::query::{Query, ask};
use crate::net::tls::Access;
use crate::options::{GroupArgs, PEER_PORT};

/// How often an order that the primary could not take is repeated, and after which pause.
const ORDERS_MAX: u32 = 50;
const ORDER_PAUSE: Duration = Duration::from_millis(100);

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The member's number.
    pub id: u8,
    /// The address at which peers reach the replica.
    pub address: String,
    /// `voter`, `learner`, `witness`, or `joining`.
    pub kind: String,
    /// The member's own state; `None` if it does not answer.
    pub state: Option<Value>,
}

impl Seen {
    /// Returns a number of the member's state.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.state.as_ref()?.get(name)?.as_u64()
    }

    /// Returns the member's role; `down` if it does not answer.
    pub(crate) fn role(&self) -> &str {
        let role = self.state.as_ref().and_then(|state| state.get("role"));
        role.and_then(Value::as_str).unwrap_or("down")
    }
}

/// The members of a group, at one moment.
#[derive(Clone)]
pub(crate) struct GroupView {
    /// The group's identity, once it has one.
    pub identity: Option<String>,
    /// The members, sorted by number.
    pub members: Vec<Seen>,
    /// How the members and this command know each other.
    pub access: Access,
}

impl GroupView {
    /// Asks the members of a group for their state, with their hashes at `hash_slot`.
    ///
    /// # Errors
    /// Returns an error if no replica answers.
    pub(crate) async fn look(args: &GroupArgs, hash_slot: u64) -> Result<Self, String> {
        let (names, access) = if args.peers.is_empty() {
            find_by_directory(args.data_dir.as_deref()).await?
        } else {
            (
                names::member_names(&args.peers, PEER_PORT)?,
                access(
                    args.keys.as_deref(),
                    args.insecure_peers,
                    "on a host of the group its --data-dir",
                )?,
            )
        };
        Self::look_at(access, &names, hash_slot).await
    }

    /// Asks these replicas, and the members that they name.
    ///
    /// # Errors
    /// Returns an error if no replica answers.
    pub(crate) async fn look_at(
        access: Access,
        names: &[String],
        hash_slot: u64,
    ) -> Result<Self, String> {
        let mut answers = ask_all(&access, names, hash_slot).await;
        let newest = answers.iter().flatten().max_by_key(|answer| age(answer)).cloned();
        let newest = newest.ok_or_else(|| {
            let why = answers.iter().find_map(|answer| answer.as_ref().err());
            format!(
                "none of {} answers{}; is the group running, and are these its addresses?",
                names.join(","),
                why.map(|why| format!(" ({why})")).unwrap_or_default()
            )
        })?;
        let listed = newest.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut members: Vec<Seen> = listed.iter().filter_map(listed_member).collect();
        let more: Vec<String> = members
            .iter()
            .map(|member| member.address.clone())
            .filter(|address| !names.contains(address))
            .collect();
        answers.extend(ask_all(&access, &more, hash_slot).await);
        let states = answers.iter().flatten().filter_map(|answer| answer.get("replica"));
        for state in states {
            let of = |member: &&mut Seen| {
                state.get("id").and_then(Value::as_u64) == Some(u64::from(member.id))
                    && state.get("address").and_then(Value::as_str) == Some(&*member.address)
            };
            if let Some(member) = members.iter_mut().find(of) {
                member.state = Some(state.clone());
            }
        }
        let identity = newest.get("group").and_then(Value::as_str).map(str::to_string);
        Ok(Self { identity, members, access })
    }

    /// Asks a member by its peer port.
    ///
    /// # Errors
    /// Returns why it does not answer.
    pub(crate) async fn ask(&self, member: &Seen, query: Query) -> Result<Value, String> {
        ask_one(&self.access, &member.address, query).await
    }

    /// Returns the member with this number.
    pub(crate) fn get(&self, id: u8) -> Option<&Seen> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Returns the member that is given by its number, or by its address as in --peers.
    ///
    /// # Errors
    /// Returns an error if no member has this number or address.
    pub(crate) fn find(&self, given: &str) -> Result<&Seen, String> {
        let by_number = given.parse().ok().and_then(|id| self.get(id));
        let by_name = || {
            let name = names::member_name(given, PEER_PORT).ok()?;
            self.members.iter().find(|member| member.address == name)
        };
        by_number.or_else(by_name).ok_or_else(|| {
            let all: Vec<&str> = self.members.iter().map(|member| &*member.address).collect();
            format!("{given} is not a member; the members are {}", all.join(", "))
        })
    }

    /// Returns the primary: if several members claim the role, the one with the highest ballot.
    pub(crate) fn primary(&self) -> Option<&Seen> {
        let ballot = |member: &&Seen| {
            let text = member.state.as_ref()?.get("ballot")?.as_str()?;
            let (round, node) = text.split_once('.')?;
            Some((round.parse::<u64>().ok()?, node.parse::<u8>().ok()?))
        };
        self.members.iter().filter(|member| member.role() == "primary").max_by_key(ballot)
    }

    /// Returns the highest committed slot of any member.
    pub(crate) fn committed(&self) -> u64 {
        self.members.iter().filter_map(|member| member.number("committed")).max().unwrap_or(0)
    }
}

/// The reason why an order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OrderError {
    /// No replica of the group answers.
    Unreachable(String),
    /// The group has no primary that can take the order now; a later one may.
    NotNow(String),
    /// The primary refuses the order, and will do so again.
    Refused(String),
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreachable(why) | Self::NotNow(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}

impl From<OrderError> for String {
    fn from(error: OrderError) -> Self {
        error.to_string()
    }
}

/// Gives the primary an order, and returns its answer. Repeats an order that a busy or new primary
/// could not take, for a bounded time.
///
/// # Errors
/// Returns why the order was not carried out.
pub(crate) async fn order(args: &GroupArgs, query: Query) -> Result<Value, OrderError> {
    let mut why = "the group has no primary at the moment; see crane-linux status".to_string();
    for _ in 0..ORDERS_MAX {
        let group = GroupView::look(args, 0).await.map_err(OrderError::Unreachable)?;
        if let Some(primary) = group.primary() {
            match group.ask(primary, query.clone()).await.map(outcome) {
                Err(error) => {
                    why = format!("replica {}, the primary, does not answer: {error}", primary.id);
                    continue;
                }
                Ok(Err(OrderError::NotNow(busy))) => why = busy,
                Ok(done_or_refused) => return done_or_refused,
            }
        }
        sleep(ORDER_PAUSE).await;
    }
    Err(OrderError::NotNow(why))
}

/// Reads a primary's answer to an order.
fn outcome(answer: Value) -> Result<Value, OrderError> {
    let Some(why) = answer.get("error").and_then(Value::as_str) else { return Ok(answer) };
    match answer.get("retry").and_then(Value::as_bool) {
        Some(true) => Err(OrderError::NotNow(why.into())),
        _ => Err(OrderError::Refused(why.into())),
    }
}

/// Asks one replica by its peer port.
///
/// # Errors
/// Returns why it does not answer.
pub(crate) async fn ask_one(access: &Access, address: &str, query: Query) -> Result<Value, String> {
    let describe = |error: io::Error| format!("{address}: {error}");
    let mut wire = access.connect(address).await.map_err(describe)?;
    ask(&mut wire, query).await.map_err(describe)
}

/// Runs a subcommand's task, prints its result, and returns the exit status.
pub(crate) fn run(task: impl Future<Output = Result<String, String>>) -> i32 {
    run_with_status(async { task.await.map(|text| (text, 0)) })
}

/// Runs a task as [`run`] does, which gives the exit status as well.
pub(crate) fn run_with_status(task: impl Future<Output = Result<(String, i32), String>>) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(task));
    match outcome {
        Ok((text, status)) => {
            crate::terminal::print_line(text.trim_end());
            status
        }
        Err(why) => {
            crate::terminal::complain(&why);
            1
        }
    }
}

/// Formats rows of cells, with each column as wide as its widest cell.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Asks all of these replicas for their state at the same time.
async fn ask_all(access: &Access, names: &[String], hash_slot: u64) -> Vec<Result<Value, String>> {
    let mut tasks = JoinSet::new();
    for (place, name) in names.iter().cloned().enumerate() {
        let access = access.clone();
        tasks.spawn(
            async move { (place, ask_one(&access, &name, Query::Status { hash_slot }).await) },
        );
    }
    let mut answers = vec![Err("no answer".to_string()); names.len()];
    while let Some(outcome) = tasks.join_next().await {
        if let Ok((place, answer)) = outcome {
            answers[place] = answer;
        }
    }
    answers
}

/// Ranks an answer: a member of a group knows more than a replica without one, and of two members
/// the one with the newer roster knows more.
fn age(answer: &Value) -> (bool, u64) {
    let grouped = answer.get("group").is_some_and(|group| !group.is_null());
    (grouped, answer.get("as_of").and_then(Value::as_u64).unwrap_or(0))
}

fn listed_member(value: &Value) -> Option<Seen> {
    Some(Seen {
        id: value.get("id")?.as_u64()?.try_into().ok()?,
        address: value.get("address")?.as_str()?.to_string(),
        kind: value.get("kind")?.as_str()?.to_string(),
        state: None,
    })
}

/// Returns how this command and the replicas that it asks know each other.
///
/// # Errors
/// Returns why the keys are unusable, or how to give them, `or` what else helps.
pub(crate) fn access(
    keys: Option<&Path>,
    insecure_peers: bool,
    or: &str,
) -> Result<Access, String> {
    if insecure_peers {
        return Ok(Access::Insecure);
    }
    match place::find(keys) {
        Some(path) => Access::by_keys(&path),
        None => Err(format!(
            "there are no keys here by which replicas answer; give the key file of a member or \
             operator.keys as --keys (see crane-linux keys --help), or {or}; {} is not there",
            place::usual_place().display()
        )),
    }
}

/// Returns the members' names, as a replica on this host lists them, and how they know this host.
async fn find_by_directory(given: Option<&Path>) -> Result<(Vec<String>, Access), String> {
    let candidates = match given {
        Some(directory) => with_numbers(directory),
        None => default_directories(),
    };
    for directory in &candidates {
        if let Ok(answer) = ask_control(directory).await
            && let Some(members) = answer.get("members").and_then(Value::as_array)
        {
            let names = members.iter().filter_map(listed_member).map(|seen| seen.address).collect();
            let access = match answer.get("keys").and_then(Value::as_str) {
                Some(path) => Access::by_keys(Path::new(path))?,
                None => Access::Insecure,
            };
            return Ok((names, access));
        }
    }
    let place = given.unwrap_or_else(|| Path::new(DEFAULT_DIRECTORY));
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
    ask_directory(directory, Query::Status { hash_slot: 0 }).await
}

/// Asks the replica in a data directory.
///
/// # Errors
/// Returns the system's error if no replica answers there.
pub(crate) async fn ask_directory(directory: &Path, query: Query) -> io::Result<Value> {
    let run = fs::File::open(directory.join("run"))?;
    let mut stream = UnixStream::connect(control_path(&run)).await?;
    ask(&mut stream, query).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(id: u8, role: &str, ballot: &str) -> Seen {
        let state = json!({ "id": id, "role": role, "ballot": ballot, "committed": 7 });
        let address = format!("10.0.0.{id}:6790");
        Seen { id, address, kind: "voter".into(), state: Some(state) }
    }

    #[test]
    fn a_member_is_named_by_number_or_address() {
        let members = vec![member(1, "backup", "2.4"), member(4, "primary", "2.4")];
        let group = GroupView { identity: None, members, access: Access::Insecure };
        assert_eq!(group.find("4").unwrap().id, 4);
        assert_eq!(group.find("10.0.0.1").unwrap().id, 1);
        assert!(group.find("2").unwrap_err().contains("10.0.0.4:6790"));
    }

    #[test]
    fn only_a_primary_that_says_so_takes_the_order_later() {
        let busy = outcome(json!({ "error": "busy", "retry": true }));
        assert_eq!(busy, Err(OrderError::NotNow("busy".into())));
        for answer in [json!({ "error": "no", "retry": false }), json!({ "error": "no" })] {
            assert_eq!(outcome(answer), Err(OrderError::Refused("no".into())));
        }
        assert_eq!(outcome(json!({ "id": 4 })), Ok(json!({ "id": 4 })));
    }

    #[test]
    fn of_two_primaries_the_one_of_the_higher_ballot_counts() {
        let members = vec![member(1, "primary", "9.1"), member(2, "primary", "10.2")];
        let group = GroupView { identity: None, members, access: Access::Insecure };
        assert_eq!(group.primary().unwrap().id, 2);
    }
}
