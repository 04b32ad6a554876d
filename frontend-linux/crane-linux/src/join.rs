//! Which replica of its group this one is.
//!
//! A replica with data knows. A new one asks those that it was given as peers: if they have a group
//! already, that group says which number it has, or the replica waits until it is added. If nobody
//! has one, it is about to be created, and numbers are places in the list.

use std::time::Duration;

use crane_core::id::NodeId;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::group::ask_one;
use crate::meta::Meta;
use crate::names;
use crate::net::query::Query;
use crate::options::ReplicaArgs;
use crate::roster::Roster;

/// How long an answer may take of a replica that is asked by one that starts. Those of a new group
/// do not listen yet, and refuse at once.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Where this replica stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinReply {
    /// The group, if it exists already.
    pub group: Option<String>,
    /// Its number.
    pub node: NodeId,
    /// Whether it runs no server.
    pub witness: bool,
    /// The members that the group was, or is, created with.
    pub founders: Roster,
    /// The members now.
    pub roster: Roster,
}

impl JoinReply {
    /// Of one that is about to create a group together with the others.
    ///
    /// # Errors
    /// What is wrong with `--witness`.
    pub fn founding(names: &[String], place: u8, args: &ReplicaArgs) -> Result<Self, String> {
        let witnesses = names::among(names, &args.witness, args.peer_port)?;
        if witnesses.len() == names.len() {
            return Err("--witness names all of the peers: nobody would run the server".to_string());
        }
        let founders = Roster::founders(names, witnesses);
        let node = NodeId::new(place).expect("a place in a list that was checked");
        let witness = witnesses.contains(node);
        Ok(Self { group: None, node, witness, roster: founders.clone(), founders })
    }
}

/// Asks the others, for a replica without data: none if there is no group yet. Waits as long as
/// there is one that does not have it.
pub async fn ask(names: &[String], own: &str) -> Option<JoinReply> {
    let mut told = false;
    while let Some(Known { group, founders, roster }) = known_group(names, own, None).await {
        if let Some(mine) = roster.at(own) {
            let (node, witness) = (mine.node, mine.witness);
            return Some(JoinReply { group: Some(group), node, witness, founders, roster });
        }
        if !told {
            info!(
                "the group of {roster} does not have {own} as a member yet; waiting for: \
                 crane-linux member add {own} --peers {roster}"
            );
            told = true;
        }
        sleep(ASK_EVERY).await;
    }
    None
}

/// Asks the others, for a replica with data, whether they know more of the members than it does. It
/// may have been removed, or they may all be elsewhere.
///
/// # Errors
/// When the group does not have it any more.
pub async fn catch_up(names: &[String], meta: &mut Meta) -> Result<(), String> {
    let Some(group) = &meta.group else { return Ok(()) };
    let known = meta.roster.iter().map(|place| &place.address);
    let mut all: Vec<String> = names.iter().chain(known).cloned().collect();
    all.sort();
    all.dedup();
    if let Some(known) = known_group(&all, &meta.address, Some(group)).await
        && known.roster.as_of > meta.roster.as_of
    {
        meta.roster = known.roster;
    }
    if meta.roster.has(meta.node, &meta.address) {
        return Ok(());
    }
    Err(format!(
        "{} is not replica {} of the group any more, whose members are {}; if it is to be a member \
         again, add it with crane-linux member add, and start it with a new --data-dir",
        meta.address, meta.node, meta.roster
    ))
}

/// What a member says of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    group: String,
    founders: Roster,
    roster: Roster,
}

/// The group that the others belong to, as whoever knows most says; of a certain group, if one is
/// given.
async fn known_group(names: &[String], own: &str, wanted: Option<&str>) -> Option<Known> {
    let mut tasks = JoinSet::new();
    for name in names.iter().filter(|name| *name != own) {
        let name = name.clone();
        let asking = async move { ask_one(&name, Query::Status { hash_slot: 0 }).await };
        tasks.spawn(timeout(ANSWER_WITHIN, asking));
    }
    let mut best: Option<Known> = None;
    while let Some(outcome) = tasks.join_next().await {
        let Ok(Ok(Some(answer))) = outcome else { continue };
        let Some(known) = read(&answer) else { continue };
        let fits = wanted.is_none_or(|wanted| wanted == known.group);
        if fits && best.as_ref().is_none_or(|best| best.roster.as_of < known.roster.as_of) {
            best = Some(known);
        }
    }
    best
}

fn read(answer: &Value) -> Option<Known> {
    let group = answer.get("group")?.as_str()?.to_string();
    let roster = |name| serde_json::from_value(answer.get(name)?.clone()).ok();
    Some(Known { group, founders: roster("founders")?, roster: roster("roster")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crane_core::id::Slot;
    use crane_core::paxos::NodeSet;
    use serde_json::json;

    use crate::roster::RosterMember;

    #[test]
    fn only_who_belongs_to_a_group_tells_of_one() {
        let founders = Roster::founders(&["a:1".into(), "b:1".into()], NodeSet::EMPTY);
        let mut roster = founders.clone();
        let node = NodeId::new(3).unwrap();
        roster.record(Slot(8), RosterMember { node, address: "c:1".into(), witness: true });
        let answer =
            |group: Value| json!({ "group": group, "founders": founders, "roster": roster });
        let known =
            Known { group: "ab".into(), founders: founders.clone(), roster: roster.clone() };
        assert_eq!(read(&answer(json!("ab"))), Some(known));
        assert_eq!(read(&answer(Value::Null)), None);
        assert_eq!(read(&json!({})), None);
    }
}
