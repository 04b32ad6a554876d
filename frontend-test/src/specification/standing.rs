//! How a group begins, and how a node returns whose storage is lost.

use crane_core::id::NodeId;
use crane_core::paxos::{Message, Record, Standing};

use super::agreement::is_first;
use super::storage::life_named;
use super::{Validator, Verdict, breaks, rule};

impl Validator {
    // specs: R3
    pub(super) fn on_said_by_standing(&mut self, node: NodeId, message: &Message) -> Verdict {
        let replica = &self.replicas[node.index()];
        let life = match *message {
            Message::Promised { life, .. } | Message::Accepted { life: Some(life), .. } => life,
            Message::Prepare { .. } | Message::Support { granted: true, .. } => {
                let votes = replica.safe.standing.is_voter();
                return rule("R3", votes, || "takes part without being a voter".into());
            }
            _ => return Ok(()),
        };
        rule("R3", replica.safe.standing == Standing::Voter { life }, || {
            format!("votes with {life:?} as {:?}", replica.safe.standing)
        })
    }

    // specs: R1, R2, R3, R5, R6, R8
    pub(super) fn on_standing(&mut self, node: NodeId, record: &Record) -> Verdict {
        let Record::Standing(next) = *record else { return Ok(()) };
        let replica = &self.replicas[node.index()];
        let members = replica.memory.members(self.first);
        let others = members.all().without(node);
        let all = |answers: &[Option<Standing>], wanted: &[Standing]| {
            others.iter().all(|other| {
                answers[other.index()].is_some_and(|standing| wanted.contains(&standing))
            })
        };
        // Whether others have said so, else which rule is broken: R6 if only answers to another run
        // would do.
        let told = |name, wanted: &[Standing]| {
            let name = if all(&replica.stale_answers, wanted) { "R6" } else { name };
            rule(name, all(&replica.answers, wanted), || {
                format!("becomes {next:?}, told {:?}", replica.answers)
            })
        };
        let now = replica.memory.standing;
        match (now, next) {
            (Standing::Blank, Standing::Ready) => told("R1", &[Standing::Blank, Standing::Ready]),
            (Standing::Ready, Standing::Voter { life }) if is_first(life) => {
                if replica.group_exists { Ok(()) } else { told("R2", &[Standing::Ready]) }
            }
            (Standing::Blank | Standing::Voter { .. }, Standing::Rejoining { life }) => {
                if let Standing::Voter { life } = now {
                    rule("R8", life_named(replica.decided(), node) != life, || {
                        "gives up its life".into()
                    })?;
                } else {
                    rule("R3", replica.group_exists, || "rejoins what it has not heard of".into())?;
                }
                let fresh = self.replicas[node.index()].lives.insert(life);
                rule("R3", fresh && !is_first(life), || format!("uses {life:?} again"))
            }
            (Standing::Rejoining { life }, Standing::Voter { life: next }) if life == next => {
                rule("R5", life_named(replica.decided(), node) == life, || {
                    format!("votes with {life:?} before the log has named it")
                })
            }
            (Standing::Blank | Standing::Ready, Standing::Voter { .. }) => {
                breaks("R2", format!("becomes {next:?} from {now:?}"))
            }
            _ => breaks("R3", format!("becomes {next:?} from {now:?}")),
        }
    }
}
