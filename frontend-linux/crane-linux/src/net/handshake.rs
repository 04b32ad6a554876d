//! The first frame of a link: identifies both replicas, and checks that they belong to one group.
//!
//! Both sides send a [`Hello`] and judge the pair by the same pure rule. No refusal is sent,
//! because each side computes for itself whether it must stop.

use std::fmt;

use crane_core::id::{Incarnation, NodeId, Slot};
use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::options::Priority;
use crate::roster::Roster;

/// Raised whenever frames or messages change.
pub const PROTOCOL_VERSION: u32 = 14;
/// The first bytes of a hello, in every version of the protocol.
pub const MAGIC: [u8; 4] = *b"CRNE";

/// A replica's description of itself, sent first on each link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The sender's number.
    pub node: u8,
    /// The address at which peers reach the replica.
    pub address: String,
    /// The number that the sender believes the receiver to have.
    pub to: u8,
    /// The generation with which the sender's daemon has begun. A later daemon of the same replica
    /// has a higher one.
    pub generation: u64,
    /// The group that the sender's data directory belongs to, once it does.
    pub group: Option<u128>,
    /// Whether the sender has reached its group since its daemon started.
    pub joined: bool,
    /// The members as the sender knows them.
    pub roster: Roster,
    /// Whether the sender runs no server, and has no base.
    pub witness: bool,
    /// How strongly the sender prefers to be primary.
    pub priority: Priority,
    /// The first incarnation of the server that runs the sender's base.
    pub program_since: Incarnation,
    /// The base of the sender's server.
    pub base: Base,
}

/// The replica that must stop when two do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loser {
    /// This replica.
    Mine,
    /// The other replica.
    Theirs,
    /// Neither: both continue without each other.
    Nobody,
}

/// Why two replicas do not belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The difference, and the remedy.
    pub what: String,
    /// The replica that must stop.
    pub loser: Loser,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Judges a pair of replicas. Both sides get the same result, with the roles exchanged.
///
/// # Errors
/// Returns the [`Refusal`].
pub fn judge(mine: &Hello, theirs: &Hello) -> Result<(), Refusal> {
    let refuse = |what: String| Err(Refusal { what, loser: loser(mine, theirs) });
    if theirs.magic != MAGIC {
        return Err(Refusal {
            what: "it is not a replica of crane-linux".to_string(),
            loser: Loser::Nobody,
        });
    }
    if theirs.version != mine.version {
        return refuse(format!(
            "it uses version {} of the protocol, this one version {}; use the same program \
             everywhere",
            theirs.version, mine.version
        ));
    }
    if theirs.node == mine.node || theirs.to != mine.node || mine.to != theirs.node {
        return refuse(format!(
            "it calls itself number {} and this one number {}, and this one disagrees; check \
             --self on both",
            theirs.node, theirs.to
        ));
    }
    if let (Some(my_group), Some(their_group)) = (mine.group, theirs.group)
        && my_group != their_group
    {
        return refuse(format!(
            "its data belongs to group {}, this one's to group {}; give the right --data-dir, or \
             move the wrong one away",
            short(their_group),
            short(my_group)
        ));
    }
    if !theirs.roster.is_sound() || !mine.roster.is_sound() {
        return refuse("its list of members is malformed".to_string());
    }
    judge_places(mine, theirs)?;
    // One that does not know of the last upgrade learns of it by the log.
    if !mine.witness
        && !theirs.witness
        && mine.program_since == theirs.program_since
        && let Some(difference) = mine.base.difference(&theirs.base)
    {
        return refuse(format!(
            "the base differs in: {difference}; start all replicas from the same program, files, \
             arguments and environment"
        ));
    }
    Ok(())
}

/// Checks that both replicas are members, or have been, by the newer of their rosters. Two founders
/// must have the same roster. The driver decides what a claim of the other side is worth.
// specs: N8
fn judge_places(mine: &Hello, theirs: &Hello) -> Result<(), Refusal> {
    let created = |hello: &Hello| hello.group.is_some() || hello.roster.as_of > Slot::NONE;
    if !created(mine) && !created(theirs) {
        if mine.roster == theirs.roster {
            return Ok(());
        }
        let what = if mine.roster.to_string() == theirs.roster.to_string() {
            "it was started with other witnesses than this one; give the same --witness everywhere"
                .to_string()
        } else {
            format!(
                "it was started with the members {}, this one with {}; give the same --peers \
                 everywhere",
                theirs.roster, mine.roster
            )
        };
        return Err(Refusal { what, loser: loser(mine, theirs) });
    }
    let lists = |roster: &Roster, hello: &Hello| {
        NodeId::new(hello.node).is_some_and(|node| roster.has(node, &hello.address))
    };
    // A replica that was removed while it was away learns of it by the log, while its place is
    // free.
    let may_be = |roster: &Roster, hello: &Hello| {
        let is_free = |node| roster.get(node).is_none() && roster.at(&hello.address).is_none();
        lists(roster, hello)
            || hello.group.is_some() && NodeId::new(hello.node).is_some_and(is_free)
    };
    let refuse = |hello: &Hello, roster: &Roster, loser: Loser| {
        let what = format!(
            "{} is not replica {} of the group, whose members are {roster}; check --peers and \
             --self, or add it with crane-linux member add and start it with a new --data-dir",
            hello.address, hello.node
        );
        Err(Refusal { what, loser })
    };
    // A replica without a group asks its members, and has no log to ask.
    let knows_more = |this: &Hello, other: &Hello| {
        created(this) && (!created(other) || this.roster.as_of > other.roster.as_of)
    };
    if knows_more(theirs, mine) {
        if !may_be(&theirs.roster, mine) {
            return refuse(mine, &theirs.roster, Loser::Mine);
        }
        // The log here may not have come so far.
        return match lists(&theirs.roster, theirs) {
            true => Ok(()),
            false => refuse(theirs, &theirs.roster, Loser::Theirs),
        };
    }
    if !may_be(&mine.roster, theirs) {
        return refuse(theirs, &mine.roster, Loser::Theirs);
    }
    match lists(&mine.roster, mine) {
        true => Ok(()),
        false => refuse(mine, &mine.roster, Loser::Mine),
    }
}

/// Formats a group's number for people.
pub fn short(group: u128) -> String {
    format!("{:012x}", group >> 80)
}

/// Returns the replica that must stop. The one that belongs to the group stays; if both or neither
/// do, the one that has reached the group; then the one with the lower number.
fn loser(mine: &Hello, theirs: &Hello) -> Loser {
    let voting = |hello: &Hello| (hello.joined, hello.group.is_some());
    let (my_standing, their_standing) = (voting(mine), voting(theirs));
    if mine.joined && theirs.joined {
        return Loser::Nobody;
    }
    if my_standing != their_standing {
        return if my_standing < their_standing { Loser::Mine } else { Loser::Theirs };
    }
    match mine.node.cmp(&theirs.node) {
        std::cmp::Ordering::Less => Loser::Theirs,
        std::cmp::Ordering::Greater => Loser::Mine,
        std::cmp::Ordering::Equal => Loser::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::BasePart;
    use crate::roster::RosterMember;
    use crane_core::paxos::{Members, NodeSet};

    fn hello(node: u8, to: u8) -> Hello {
        let part = BasePart { name: "argument 1".into(), digest: [1; 16] };
        Hello {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            node,
            address: format!("{}:6790", char::from(b'a' + node - 1)),
            to,
            generation: 1,
            group: None,
            joined: false,
            roster: Roster::founders(&["a:6790".into(), "b:6790".into()], NodeSet::EMPTY),
            witness: false,
            priority: Priority::Normal,
            program_since: Incarnation::FIRST,
            base: Base { parts: vec![part] },
        }
    }

    fn both(one: &Hello, other: &Hello) -> (Refusal, Refusal) {
        (judge(one, other).unwrap_err(), judge(other, one).unwrap_err())
    }

    #[test]
    fn alike_replicas_may_talk() {
        assert_eq!(judge(&hello(1, 2), &hello(2, 1)), Ok(()));
        let old = Hello { group: Some(5), joined: true, ..hello(1, 2) };
        assert_eq!(judge(&old, &hello(2, 1)), Ok(()));
    }

    #[test]
    fn what_differs_is_named_and_the_newcomer_goes() {
        let mut other = hello(1, 2);
        other.base.parts[0].digest = [2; 16];
        let member = Hello { group: Some(5), joined: true, ..hello(2, 1) };
        let (newcomer, old) = both(&other, &member);
        assert_eq!((newcomer.loser, old.loser), (Loser::Mine, Loser::Theirs));
        assert!(newcomer.what.contains("argument 1"), "{newcomer}");
    }

    #[test]
    fn a_replica_that_missed_an_upgrade_may_learn_of_it() {
        let mut member = Hello { group: Some(5), joined: true, ..hello(2, 1) };
        member.base.parts[0].digest = [2; 16];
        member.program_since = Incarnation(3);
        let mut behind = Hello { group: Some(5), ..hello(1, 2) };
        assert_eq!((judge(&behind, &member), judge(&member, &behind)), (Ok(()), Ok(())));
        behind.program_since = Incarnation(3);
        assert!(judge(&behind, &member).is_err());
    }

    #[test]
    fn of_two_new_ones_the_higher_number_goes() {
        let mut other = hello(2, 1);
        other.base.parts[0].digest = [2; 16];
        let (first, second) = both(&hello(1, 2), &other);
        assert_eq!((first.loser, second.loser), (Loser::Theirs, Loser::Mine));
    }

    #[test]
    fn another_group_or_other_members_or_numbers_are_refused() {
        let one = Hello { group: Some(1 << 100), ..hello(1, 2) };
        let other = Hello { group: Some(2 << 100), joined: true, ..hello(2, 1) };
        let (mine, theirs) = both(&one, &other);
        assert_eq!((mine.loser, theirs.loser), (Loser::Mine, Loser::Theirs));
        assert!(mine.what.contains("group"), "{mine}");
        let fewer = Roster::founders(&["a:6790".into()], NodeSet::EMPTY);
        let fewer = Hello { roster: fewer, ..hello(2, 1) };
        assert!(both(&hello(1, 2), &fewer).0.what.contains("members"));
        assert!(both(&hello(1, 2), &hello(1, 2)).0.what.contains("--self"));
        let newer = Hello { version: PROTOCOL_VERSION + 1, ..hello(2, 1) };
        let named = format!("version {}", PROTOCOL_VERSION + 1);
        assert!(both(&hello(1, 2), &newer).0.what.contains(&named));
        let witnesses = NodeSet::first(1);
        let roster = Roster::founders(&["a:6790".into(), "b:6790".into()], witnesses);
        let other = Hello { roster, ..hello(2, 1) };
        assert!(both(&hello(1, 2), &other).0.what.contains("--witness"));
    }

    #[test]
    fn the_newer_roster_says_who_belongs_to_the_group() {
        let in_group = |hello: Hello| Hello { group: Some(5), joined: true, ..hello };
        let replaced = RosterMember {
            node: NodeId::new(2).unwrap(),
            address: "c:6790".into(),
            witness: false,
        };
        let mut member = in_group(hello(1, 2));
        member.roster.record(Slot(40), replaced);
        let newcomer = Hello { address: "c:6790".into(), ..hello(2, 1) };
        assert_eq!(judge(&member, &newcomer), Ok(()));
        assert_eq!(judge(&newcomer, &member), Ok(()));
        // The former owner of the number was down when it was removed.
        let removed = Hello { joined: false, ..in_group(hello(2, 1)) };
        let (here, there) = both(&member, &removed);
        assert_eq!((here.loser, there.loser), (Loser::Theirs, Loser::Mine));
        assert!(there.what.contains("not replica 2"), "{there}");
        // Its number has not been given away.
        let mut without = in_group(hello(1, 2));
        let one = Members { voters: NodeSet::first(1), ..Members::default() };
        assert!(without.roster.keep(Slot(40), &one));
        assert_eq!((judge(&without, &removed), judge(&removed, &without)), (Ok(()), Ok(())));
        let stranger = Hello { group: None, ..removed };
        assert_eq!(both(&without, &stranger).0.loser, Loser::Theirs);
        // A replica that missed another's arrival learns of it here.
        let behind = in_group(hello(1, 2));
        let arrived = Hello { roster: member.roster.clone(), ..in_group(newcomer) };
        assert_eq!(judge(&behind, &arrived), Ok(()));
    }

    #[test]
    fn a_witness_has_no_base() {
        let witness = Hello { witness: true, base: Base::default(), ..hello(2, 1) };
        assert_eq!(judge(&hello(1, 2), &witness), Ok(()));
    }
}
