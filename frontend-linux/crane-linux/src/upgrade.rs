//! `crane-linux upgrade`: checks another program on all members, and restarts the server with it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::base::Base;
use crate::group::{self, GroupView, Seen};
use crate::net::query::Query;
use crate::options::{GroupArgs, UpgradeArgs};
use crate::restart::await_serving;

/// The time limit for a member's look at the program and its files.
const LOOK_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Upgrades the server, and returns the exit status.
pub(crate) fn run(args: &UpgradeArgs) -> i32 {
    group::run(upgrade(&args.group, &args.program))
}

async fn upgrade(args: &GroupArgs, command: &[String]) -> Result<String, String> {
    let seen = GroupView::look(args, 0).await?;
    let members: Vec<&Seen> =
        seen.members.iter().filter(|member| member.kind != "witness").collect();
    if let Some(missing) = members.iter().find(|member| member.state.is_none()) {
        return Err(format!(
            "replica {} at {} does not answer, and each replica must have the program before the \
             group runs it; start that one first, or remove it from the group",
            missing.id, missing.address
        ));
    }
    let mut bases: Vec<(u8, Base)> = Vec::new();
    for member in &members {
        let question = Query::Look { command: command.to_vec() };
        accepted(member, seen.ask(member, question).await)?;
    }
    for member in members {
        let base = await_base(&seen, member, command).await?;
        if let Some((first, other)) = bases.first()
            && let Some(difference) = other.difference(&base)
        {
            return Err(format!(
                "the base of the program differs between replicas {first} and {} in: {difference}; \
                 the group still runs the program that it ran",
                member.id
            ));
        }
        bases.push((member.id, base));
    }
    let (_, base) = bases.first().ok_or("the group has no member that runs a server")?;
    let start = Instant::now();
    let order = Query::Upgrade { command: command.to_vec(), base: base.digest() };
    let answer = group::order(args, order).await?;
    let incarnation = await_serving(args, &answer).await?;
    let took = start.elapsed().as_millis();
    Ok(format!("the server is upgraded, as incarnation {incarnation}; {took} ms"))
}

/// Waits until a member has looked at the program, and returns the base that it has found.
async fn await_base(group: &GroupView, member: &Seen, command: &[String]) -> Result<Base, String> {
    let start = Instant::now();
    while start.elapsed() < LOOK_WITHIN {
        let answer = accepted(member, group.ask(member, Query::Seen).await)?;
        let words = answer.get("command").cloned().and_then(|it| serde_json::from_value(it).ok());
        if words.is_some_and(|words: Vec<String>| words == command) {
            if let Some(why) = answer.get("failed").and_then(Value::as_str) {
                return Err(format!("replica {}: {why}", member.id));
            }
            let base = answer.get("base").cloned().unwrap_or_default();
            return serde_json::from_value(base)
                .map_err(|error| format!("replica {}: a malformed base: {error}", member.id));
        }
        sleep(PAUSE).await;
    }
    Err(format!(
        "replica {} has not looked at the program within {} s",
        member.id,
        LOOK_WITHIN.as_secs()
    ))
}

/// Returns a member's answer.
///
/// # Errors
/// Returns the reason for which the member does not do what it was asked.
fn accepted(member: &Seen, answer: Result<Value, String>) -> Result<Value, String> {
    let answer = answer.map_err(|why| format!("replica {} does not answer: {why}", member.id))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(why) => Err(format!("replica {}: {why}", member.id)),
        None => Ok(answer),
    }
}
