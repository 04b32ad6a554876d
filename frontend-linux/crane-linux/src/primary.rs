//! `crane-linux primary move`: asks the primary to hand its role over, and waits until it has.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::net::query::Query;
use crate::options::{self, MoveArgs, PEER_PORT};
use crate::start::complain;
use crate::status::{ask_all, ask_one, members};

/// How long the change may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Moves the role, and gives the exit status.
pub fn run(args: &MoveArgs) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| format!("no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(hand_over(args)));
    match outcome {
        Ok(text) => {
            println!("{text}");
            0
        }
        Err(why) => {
            complain(&why);
            1
        }
    }
}

async fn hand_over(args: &MoveArgs) -> Result<String, String> {
    let members = members(&args.peers, args.data_dir.as_deref()).await?;
    let to = number(&args.to, &members)?;
    let before = primary(&members).await?.ok_or("the group has no primary at the moment")?;
    if before == to {
        return Ok(format!("replica {to} is the primary already"));
    }
    let start = Instant::now();
    let addresses = options::resolve(&members[before - 1])?;
    let answer = ask_one(&addresses, Query::Move { to: to as u8 }).await;
    let answer = answer.ok_or(format!("replica {before}, the primary, does not answer"))?;
    if let Some(why) = answer.get("error").and_then(Value::as_str) {
        return Err(format!("replica {to} does not become the primary: {why}"));
    }
    while start.elapsed() < WITHIN {
        if primary(&members).await? == Some(to) {
            let took = start.elapsed().as_millis();
            return Ok(format!("replica {to} is the primary, after replica {before}; {took} ms"));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(format!("replica {to} has not become the primary in {} s; see status", WITHIN.as_secs()))
}

/// Which member is meant: a number, or a name as in --peers.
fn number(given: &str, members: &[String]) -> Result<usize, String> {
    let by_number = given.parse().ok().filter(|number| (1..=members.len()).contains(number));
    let name = options::member_name(given, PEER_PORT)?;
    let by_name = || members.iter().position(|member| *member == name).map(|place| place + 1);
    by_number
        .or_else(by_name)
        .ok_or(format!("{given} is not a member; the members are {}", members.join(", ")))
}

/// Which replica says that it is the primary.
async fn primary(members: &[String]) -> Result<Option<usize>, String> {
    let answers = ask_all(members, 0).await?;
    let leads = |answer: &Option<Value>| {
        let replica = answer.as_ref().and_then(|answer| answer.get("replica"));
        replica.and_then(|replica| replica.get("role")).and_then(Value::as_str) == Some("primary")
    };
    Ok(answers.iter().position(leads).map(|place| place + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_by_number_or_address() {
        let members = ["10.0.0.1:6790".to_string(), "10.0.0.2:7000".to_string()];
        assert_eq!(number("2", &members), Ok(2));
        assert_eq!(number("10.0.0.1", &members), Ok(1));
        assert_eq!(number("10.0.0.2:7000", &members), Ok(2));
        assert!(number("3", &members).unwrap_err().contains("10.0.0.1:6790"));
    }
}
