//! The rules for the beginning of a group, and for the return of a node that lost its storage.

use crane_core::id::NodeId;
use crane_core::paxos::{Ballot, LogEnd, Message, Record, StorageEpoch, VotingStatus};

use super::agreement::is_first;
use super::storage::named_epoch;
use super::{Validator, Verdict, breaks, rule};

impl Validator {
    // specs: R3, R11
    pub(super) fn on_vote_said(&mut self, node: NodeId, message: &Message) -> Verdict {
        let replica = &self.replicas[node.index()];
        let epoch = match *message {
            Message::Promised { epoch, .. } | Message::Accepted { epoch: Some(epoch), .. } => epoch,
            Message::Prepare { .. } | Message::PreVoteReply { granted: true, .. } => {
                let votes = replica.safe.voting.is_voter();
                return rule("R3", votes, || {
                    "takes part in an election without being a voter".into()
                });
            }
            _ => return Ok(()),
        };
        if let Some((promised, end)) = replica.forgotten {
            let safe = &replica.safe;
            let has_all = safe.promised.max(safe.accepted) >= promised && safe.end() >= end;
            rule("R11", has_all, || "votes with a storage that has gone back".into())?;
        }
        rule("R3", replica.safe.voting == VotingStatus::Voter { epoch }, || {
            format!("votes with {epoch:?} as {:?}", replica.safe.voting)
        })
    }

    /// Keeps a promise or vote that has arrived. One that the network loses counts nowhere.
    pub(super) fn on_vote_heard(
        &mut self,
        from: NodeId,
        epoch: StorageEpoch,
        ballot: Ballot,
        message: &Message,
    ) {
        let replica = &mut self.replicas[from.index()];
        if replica.epoch() != Some(epoch) {
            return;
        }
        let (promised, end) = &mut replica.heard;
        *promised = ballot.max(*promised);
        if let Message::Accepted { up_to, .. } = *message {
            *end = LogEnd { ballot, slot: up_to }.max(*end);
        }
    }

    // specs: R1, R2, R3, R5, R6, R8, R11
    pub(super) fn on_voting_status(&mut self, node: NodeId, record: &Record) -> Verdict {
        let Record::VotingStatus(next) = *record else { return Ok(()) };
        let replica = &self.replicas[node.index()];
        let members = replica.memory.members(self.first);
        let others = members.all().without(node);
        let all = |answers: &[Option<VotingStatus>], wanted: &[VotingStatus]| {
            others
                .iter()
                .all(|other| answers[other.index()].is_some_and(|voting| wanted.contains(&voting)))
        };
        // The rule that the others' answers must keep: R6 if only answers to another run would keep
        // it.
        let answered = |name, wanted: &[VotingStatus]| {
            let name = if all(&replica.stale_answers, wanted) { "R6" } else { name };
            rule(name, all(&replica.answers, wanted), || {
                format!("becomes {next:?} with the answers {:?}", replica.answers)
            })
        };
        let now = replica.memory.voting;
        match (now, next) {
            (VotingStatus::Blank, VotingStatus::Ready) => {
                answered("R1", &[VotingStatus::Blank, VotingStatus::Ready])
            }
            (VotingStatus::Ready, VotingStatus::Voter { epoch }) if is_first(epoch) => {
                if replica.group_exists { Ok(()) } else { answered("R2", &[VotingStatus::Ready]) }
            }
            (
                VotingStatus::Voter { .. } | VotingStatus::Rejoining { .. },
                VotingStatus::Rejoining { epoch },
            ) if replica.has_gap => {
                let replica = &mut self.replicas[node.index()];
                (replica.forgotten, replica.heard) = Default::default();
                let fresh = replica.epochs.insert(epoch);
                rule("R11", fresh && !is_first(epoch), || format!("uses {epoch:?} again"))
            }
            (
                VotingStatus::Blank | VotingStatus::Voter { .. },
                VotingStatus::Rejoining { epoch },
            ) => {
                if let VotingStatus::Voter { epoch } = now {
                    rule("R8", named_epoch(replica.decided(), node) != epoch, || {
                        "gives up an epoch that counts".into()
                    })?;
                } else {
                    rule("R3", replica.group_exists, || {
                        "rejoins a group that it has not heard of".into()
                    })?;
                }
                let fresh = self.replicas[node.index()].epochs.insert(epoch);
                rule("R3", fresh && !is_first(epoch), || format!("uses {epoch:?} again"))
            }
            (VotingStatus::Rejoining { epoch }, VotingStatus::Voter { epoch: next })
                if epoch == next =>
            {
                rule("R5", named_epoch(replica.decided(), node) == epoch, || {
                    format!("votes with {epoch:?} before the log has named it")
                })
            }
            (VotingStatus::Blank | VotingStatus::Ready, VotingStatus::Voter { .. }) => {
                breaks("R2", format!("becomes {next:?} from {now:?}"))
            }
            _ => breaks("R3", format!("becomes {next:?} from {now:?}")),
        }
    }
}
