//! Finds out which replica of its group this one is.
//!
//! A replica with data knows its number. A new replica asks its peers: if they already have a
//! group, the group gives the replica its number, or the replica waits until it is added. If no
//! peer has a group, the group is about to be created, and a number is a position in the list.

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
use crate::net::tls::Access;
use crate::options::ReplicaArgs;
use crate::roster::Roster;

/// The time limit for a peer's answer at the start. Peers of a new group do not listen yet, and
/// refuse the connection at once.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The result of asking for membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct JoinReply {
    /// The group, if it exists already.
    pub group: Option<String>,
    /// The member's number.
    pub node: NodeId,
    /// Whether the replica runs no server.
    pub witness: bool,
    /// The members at the group's creation.
    pub founders: Roster,
    /// The members now.
    pub roster: Roster,
}

impl JoinReply {
    /// Returns the reply for a founder: a replica that creates the group together with its peers.
    ///
    /// # Errors
    /// Returns what is wrong with `--witness`.
    pub(crate) fn founding(
        names: &[String],
        place: u8,
        args: &ReplicaArgs,
    ) -> Result<Self, String> {
        let witnesses = names::among(names, &args.witness, args.peer_port)?;
        if witnesses.len() == names.len() {
            return Err("--witness names all of the peers; leave at least one to run the server"
                .to_string());
        }
        let founders = Roster::founders(names, witnesses);
        let node = NodeId::new(place).expect("a place in a list that was checked");
        let witness = witnesses.contains(node);
        Ok(Self { group: None, node, witness, roster: founders.clone(), founders })
    }
}

/// Asks the peers on behalf of a replica without data, and returns `None` if they have no group
/// yet. If the group exists and does not list this replica, waits until it is added.
pub(crate) async fn ask(access: &Access, names: &[String], own: &str) -> Option<JoinReply> {
    let mut told = false;
    loop {
        match known_group(access, names, own).await {
            // A group that was there is there, even if a busy peer does not answer in time.
            None if !told => return None,
            None => {}
            Some(Known { group, founders, roster }) => {
                if let Some(mine) = roster.at(own) {
                    let (node, witness) = (mine.node, mine.witness);
                    return Some(JoinReply { group: Some(group), node, witness, founders, roster });
                }
                if !told {
                    info!(
                        "the group of {roster} does not list {own} as a member yet; add it with: \
                         crane-linux member add {own} --peers {roster}"
                    );
                    told = true;
                }
            }
        }
        sleep(ASK_EVERY).await;
    }
}

/// Asks the peers on behalf of a replica with data: while it was down, it may have been removed, or
/// every other member may have moved. Returns the newest list of members, if it is newer than
/// that of the replica's own log.
///
/// # Errors
/// Returns an error if the replica is no longer a member of the group, by its own log, or if more
/// than half of the members that its log has are of another group.
// specs: N6
pub(crate) async fn catch_up(
    access: &Access,
    names: &[String],
    meta: &Meta,
) -> Result<Roster, String> {
    let Some(group) = &meta.group else { return Ok(Roster::default()) };
    let members = meta.roster.iter().map(|place| &place.address);
    let mut all: Vec<String> = names.iter().chain(members).cloned().collect();
    all.sort();
    all.dedup();
    let answers = known_groups(access, &all, &meta.address).await;
    let is_other =
        |(name, known): &&(String, Known)| known.group != *group && meta.roster.at(name).is_some();
    let (others, strange) = (meta.roster.iter().count() - 1, answers.iter().filter(is_other));
    if 2 * strange.clone().count() > others
        && let Some((_, known)) = strange.clone().next()
    {
        let short = |group: &str| group.chars().take(12).collect::<String>();
        return Err(format!(
            "the data belongs to group {}, and most of the other members to group {}; give the \
             right --data-dir, or move the wrong one away",
            short(group),
            short(&known.group)
        ));
    }
    let newer = answers
        .into_iter()
        .map(|(_, known)| known)
        .filter(|known| known.group == *group && known.roster.as_of > meta.roster.as_of);
    let newest = newer.map(|known| known.roster).max_by_key(|roster| roster.as_of);
    if meta.roster.has(meta.node, &meta.address) {
        return Ok(newest.unwrap_or_default());
    }
    Err(format!(
        "this replica has been removed from the group, whose members are {}; to make {} a member \
         again, run crane-linux member add, and start it with a new --data-dir",
        newest.as_ref().unwrap_or(&meta.roster),
        meta.address
    ))
}

/// A group as one of its members describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    group: String,
    founders: Roster,
    roster: Roster,
}

/// Returns the group of the other replicas, as the member with the newest roster describes it.
async fn known_group(access: &Access, names: &[String], own: &str) -> Option<Known> {
    let answers = known_groups(access, names, own).await.into_iter().map(|(_, known)| known);
    answers.max_by_key(|known| known.roster.as_of)
}

/// Returns what each of the other replicas says of its group, by name.
async fn known_groups(access: &Access, names: &[String], own: &str) -> Vec<(String, Known)> {
    let mut tasks = JoinSet::new();
    for name in names.iter().filter(|name| *name != own) {
        let (access, name) = (access.clone(), name.clone());
        tasks.spawn(async move {
            let asking = ask_one(&access, &name, Query::Status { hash_slot: 0 });
            let answer = timeout(ANSWER_WITHIN, asking).await.ok()?.ok()?;
            Some((name, read(&answer)?))
        });
    }
    let mut answers = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        answers.extend(outcome.ok().flatten());
    }
    answers
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
    fn only_a_member_describes_a_group() {
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
