//! `crane-linux member`: shows and changes the members of a group while it serves.
//!
//! Each step is an order to the primary that can be repeated without harm, so the same command
//! completes one that was interrupted.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::group::{self, GroupView, OrderError, Seen, aligned};
use crate::names;
use crate::net::query::Query;
use crate::options::{AddArgs, GroupArgs, MemberCommands, PEER_PORT, RemoveArgs, ReplaceArgs};
use crate::primary;
use crate::terminal::print_line;

/// How often the progress of a learner is checked, and every how many checks it is reported.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REPORT_EVERY: u32 = 20;
/// A server that is at most this many slots behind is in step.
const IN_STEP_WITHIN: u64 = 1000;

/// Runs the subcommand, and returns the exit status.
pub(crate) fn run(command: &MemberCommands) -> i32 {
    match command {
        MemberCommands::List(args) => group::run(list(args)),
        MemberCommands::Add(args) => group::run(add(args)),
        MemberCommands::Remove(args) => group::run(remove(args)),
        MemberCommands::Replace(args) => group::run(replace(args)),
    }
}

async fn list(args: &GroupArgs) -> Result<String, String> {
    let titles = ["id", "address", "member", "role", "durable", "committed"];
    let mut rows = vec![titles.map(str::to_string).to_vec()];
    for member in GroupView::look(args, 0).await?.members {
        let number =
            |name| member.number(name).map_or_else(|| "-".to_string(), |value| value.to_string());
        rows.push(vec![
            member.id.to_string(),
            member.address.clone(),
            member.kind.clone(),
            member.role().to_string(),
            number("durable"),
            number("committed"),
        ]);
    }
    Ok(aligned(&rows))
}

async fn add(args: &AddArgs) -> Result<String, String> {
    let id = add_voter(&args.group, &args.address, args.witness).await?;
    let kind = if args.witness { "witness" } else { "voter" };
    Ok(format!("replica {id} at {} is a {kind} of the group", args.address))
}

async fn remove(args: &RemoveArgs) -> Result<String, String> {
    let seen = GroupView::look(&args.group, 0).await?;
    let id = seen.find(&args.member)?.id;
    remove_member(&args.group, id, args.lost).await?;
    Ok(format!("replica {id} is no longer a member"))
}

async fn replace(args: &ReplaceArgs) -> Result<String, String> {
    let seen = GroupView::look(&args.group, 0).await?;
    let old = seen.find(&args.old)?.clone();
    let name = names::member_name(&args.new, PEER_PORT)?;
    if old.address == name {
        return Err(format!(
            "{name} is the address of replica {} itself; a replica that has lost its data \
             directory comes back with its own command line",
            old.id
        ));
    }
    let witness = old.kind == "witness";
    let new = add_voter(&args.group, &args.new, witness).await?;
    if !witness {
        await_server(&args.group, new).await?;
    }
    remove_member(&args.group, old.id, args.lost).await?;
    Ok(format!("replica {new} at {name} replaces replica {} at {}", old.id, old.address))
}

/// Adds a learner, waits until it has the log, and makes a voter of it.
async fn add_voter(args: &GroupArgs, address: &str, witness: bool) -> Result<u8, String> {
    let address = names::member_name(address, PEER_PORT)?;
    names::resolve(&address)?;
    let mut id = order_add(args, &address, witness).await?;
    let (mut look, mut was_there) = (0, false);
    loop {
        sleep(LOOK_EVERY).await;
        let seen = GroupView::look(args, 0).await?;
        let Some(member) = seen.get(id).filter(|member| member.address == address) else {
            if was_there {
                return Err(format!("replica {id} was removed by another command"));
            }
            // The member is not listed until the order has been decided, and the order is lost if
            // another replica becomes primary before that.
            match order_add(args, &address, witness).await {
                Ok(number) => id = number,
                Err(OrderError::NotNow(why)) => {
                    report(&mut look, format!("replica {id} is not added yet: {why}"));
                }
                Err(error) => return Err(error.to_string()),
            }
            continue;
        };
        was_there = true;
        match &*member.kind {
            "voter" | "witness" => return Ok(id),
            _ if has_log(member, &seen) => {
                // The primary decides whether the learner has enough of the log.
                match group::order(args, Query::Promote { node: id }).await {
                    Ok(_) => {}
                    Err(OrderError::NotNow(why)) => {
                        report(&mut look, format!("replica {id} does not vote yet: {why}"));
                    }
                    Err(error) => return Err(format!("replica {id} cannot vote: {error}")),
                }
            }
            _ if member.state.is_none() => {
                report(
                    &mut look,
                    format!("replica {id} is a learner; waiting for it at {address}"),
                );
            }
            _ => {
                let (has, all) = (member.number("durable").unwrap_or(0), seen.committed());
                report(&mut look, format!("replica {id} has {has} of {all} slots"));
            }
        }
    }
}

/// Orders the primary to add a learner, and returns its number. The order may be repeated.
async fn order_add(args: &GroupArgs, address: &str, witness: bool) -> Result<u8, OrderError> {
    let order = Query::Add { address: address.to_string(), witness };
    let answer = group::order(args, order).await?;
    let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u8::try_from(id).ok());
    let unknown = "the primary's answer has no number; use one version of crane-linux";
    id.ok_or_else(|| OrderError::Refused(unknown.into()))
}

fn has_log(member: &Seen, group: &GroupView) -> bool {
    let durable = member.number("durable").unwrap_or(0);
    durable > 0 && durable + 100 >= group.committed()
}

/// Waits until the server of a member is in step with the log.
async fn await_server(args: &GroupArgs, id: u8) -> Result<(), String> {
    let mut look = 0;
    loop {
        let seen = GroupView::look(args, 0).await?;
        let member =
            seen.get(id).ok_or_else(|| format!("replica {id} was removed by another command"))?;
        let (admitted, all) = (member.number("admitted").unwrap_or(0), seen.committed());
        if admitted > 0 && admitted + IN_STEP_WITHIN >= all {
            return Ok(());
        }
        report(
            &mut look,
            format!("the server of replica {id} has consumed {admitted} of {all} slots"),
        );
        sleep(LOOK_EVERY).await;
    }
}

/// Removes a member. If it is the primary, transfers its role first.
async fn remove_member(args: &GroupArgs, id: u8, lost: bool) -> Result<(), String> {
    let seen = GroupView::look(args, 0).await?;
    if seen.primary().is_some_and(|primary| primary.id == id) {
        let fit = |member: &&Seen| member.id != id && member.kind == "voter";
        let others = seen.members.iter().filter(fit);
        let to = others.max_by_key(|member| member.number("admitted"));
        let to = to.ok_or_else(|| format!("replica {id} is the only voter; stop it instead"))?.id;
        print_line(&primary::transfer_leadership(args, to).await?);
    }
    group::order(args, Query::Remove { node: id, lost }).await?;
    loop {
        if GroupView::look(args, 0).await?.get(id).is_none() {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Prints progress at every [`REPORT_EVERY`]th call.
fn report(look: &mut u32, text: String) {
    if look.is_multiple_of(REPORT_EVERY) {
        print_line(&text);
    }
    *look += 1;
}
