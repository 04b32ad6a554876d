//! The log and the votes of the other members of a group, for acts that lower its redundancy: they
//! are refused unless a quorum without this replica has what the act takes away.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::warn;

use crate::group::{GroupView, Seen};
use crate::log::damage::Voters;
use crate::meta::Meta;
use crate::net::tls::Access;

/// How long a replica with a damaged log waits for a quorum of the others: long enough for replicas
/// that start at the same time.
const AWAIT_VOTERS: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The states of a replica that votes.
const VOTING: [&str; 3] = ["primary", "backup", "candidate"];

fn is_voter(member: &Seen) -> bool {
    matches!(&*member.kind, "voter" | "witness")
}

/// Returns the group as the members other than this replica see it.
async fn look(access: &Access, meta: &Meta) -> Option<GroupView> {
    let others = meta.roster.iter().map(|place| &place.address);
    let others: Vec<String> = others.filter(|address| **address != meta.address).cloned().collect();
    let seen = GroupView::look_at(access.clone(), &others, 0).await.ok()?;
    // A replica whose log was damaged early does not know yet which group it belongs to.
    let is_own = meta.group.is_none() || seen.identity == meta.group;
    (seen.identity.is_some() && is_own).then_some(seen)
}

fn voters_of(meta: &Meta, seen: Option<&GroupView>) -> Voters {
    let Some(seen) = seen else {
        return Voters { count: meta.roster.iter().count(), reachable: 0 };
    };
    let me = meta.node.number();
    let votes = |member: &&Seen| member.id != me && VOTING.contains(&member.role());
    let voters = || seen.members.iter().filter(|member| is_voter(member));
    Voters { count: voters().count(), reachable: voters().filter(votes).count() }
}

/// Returns the voters of the group. Waits for a while until those that answer are a quorum without
/// this replica, if they can be.
pub(crate) async fn await_voters(access: &Access, meta: &Meta) -> Voters {
    let start = Instant::now();
    let mut told = false;
    loop {
        let voters = voters_of(meta, look(access, meta).await.as_ref());
        if voters.suffice() || !voters.can_suffice() || start.elapsed() >= AWAIT_VOTERS {
            return voters;
        }
        if !std::mem::replace(&mut told, true) {
            warn!("the log is damaged; waiting for a quorum of the other voters");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Checks that a quorum of the voters other than this replica has the log up to a slot.
///
/// # Errors
/// Returns what each of them has.
// specs: M8
pub(crate) async fn spares(access: &Access, meta: &Meta, up_to: u64) -> Result<(), String> {
    let seen = look(access, meta).await;
    let Some(seen) = seen else {
        return Err(
            "no other member of the group answers, so nothing shows that they have these slots; \
             start them first"
                .to_string(),
        );
    };
    lacks(&seen, meta.node.number(), up_to)
}

fn lacks(seen: &GroupView, me: u8, up_to: u64) -> Result<(), String> {
    let voters: Vec<&Seen> = seen.members.iter().filter(|member| is_voter(member)).collect();
    let has = |member: &&&Seen| {
        VOTING.contains(&member.role()) && member.number("durable").is_some_and(|it| it >= up_to)
    };
    let others = || voters.iter().filter(|member| member.id != me);
    let ready = Voters { count: voters.len(), reachable: others().filter(has).count() };
    if ready.suffice() {
        return Ok(());
    }
    let one = |member: &&Seen| match member.number("durable") {
        None => format!("replica {} at {} does not answer", member.id, member.address),
        Some(slot) => format!("replica {} has the slots up to {slot}", member.id),
    };
    let all: Vec<String> = others().map(one).collect();
    Err(format!(
        "{} of the other voters must have slot {up_to} and vote: {}; start them, or wait until \
         they have caught up",
        ready.quorum(),
        all.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(id: u8, kind: &str, state: Option<(&str, u64)>) -> Seen {
        let state = state.map(|(role, durable)| json!({ "role": role, "durable": durable }));
        Seen { id, address: format!("10.0.0.{id}:6790"), kind: kind.into(), state }
    }

    fn group(members: Vec<Seen>) -> GroupView {
        GroupView { identity: Some("ab".into()), members, access: Access::Insecure }
    }

    #[test]
    fn a_quorum_of_the_others_must_have_what_is_cut() {
        let one = || member(1, "voter", Some(("primary", 50)));
        let witness = || member(3, "witness", None);
        let of = |two| group(vec![one(), member(2, "voter", two), witness()]);
        assert_eq!(lacks(&of(Some(("backup", 40))), 3, 40), Ok(()));
        let behind = lacks(&of(Some(("backup", 39))), 3, 40).unwrap_err();
        assert!(behind.contains("replica 2 has the slots up to 39"), "{behind}");
        let down = lacks(&of(None), 3, 40).unwrap_err();
        assert!(down.contains("replica 2 at 10.0.0.2:6790 does not answer"), "{down}");
        assert!(lacks(&of(Some(("recovering", 50))), 3, 40).is_err());
        let with_learner = group(vec![one(), member(2, "learner", Some(("backup", 50)))]);
        assert!(lacks(&with_learner, 3, 40).is_ok(), "a quorum of one voter");
    }
}
