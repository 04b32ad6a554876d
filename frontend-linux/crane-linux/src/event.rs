//! Typed events of a replica: each change and its reason, for people and programs
//! (`status --events`).
//!
//! The last events are kept, and each kind is counted from the daemon's start. An event is recorded
//! once, when it happens; details that only help to find faults go to the tracing library alone.

use std::collections::VecDeque;
use std::fmt;

use crane_core::paxos::Reason;
use serde::{Deserialize, Serialize};

/// How many events are kept.
const KEPT_MAX: usize = 64;

/// An event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The replica's role, or the primary that it knows, has changed.
    Role {
        /// The role, as `status` shows it.
        role: String,
        /// The primary, if one is known.
        primary: Option<u8>,
        /// The ballot that the replica has now promised.
        ballot: String,
        /// The reason.
        why: String,
    },
    /// This replica has voted in an election.
    Promised {
        /// The ballot; its second number is the candidate's.
        ballot: String,
    },
    /// A replica has voted for this candidate.
    VotedFor {
        /// The replica that voted.
        by: u8,
        /// The ballot.
        ballot: String,
    },
    /// A replica has refused this candidate, or this primary.
    RefusedBy {
        /// The replica that refused.
        by: u8,
        /// The ballot.
        ballot: String,
        /// The ballot that it has promised instead.
        promised: String,
    },
    /// The replica has made no progress for a while, although it has work to do.
    Stalled {
        /// The cause.
        cause: Cause,
        /// The replicas that it waits for.
        nodes: Vec<u8>,
    },
    /// The replica makes progress again.
    Resumed {
        /// The cause of the stall.
        cause: Cause,
        /// Milliseconds since the replica began to wait.
        after_ms: u64,
    },
    /// This primary transfers its role, because it makes no progress.
    RoleGivenUp {
        /// The replica that takes over.
        to: u8,
        /// Milliseconds since it last made progress.
        after_ms: u64,
        /// The reason: the part that stands still.
        why: String,
    },
    /// Clients of this replica were reset, so that they connect to other replicas: its server does
    /// not move.
    ClientsHandedOn {
        /// The number of connections.
        count: u64,
    },
    /// A link was opened.
    LinkUp {
        /// The peer.
        node: u8,
    },
    /// A link was closed.
    LinkDown {
        /// The peer.
        node: u8,
    },
    /// A checkpoint of the server was taken.
    Checkpoint {
        /// The slot behind which the server was held.
        slot: u64,
        /// The time for which it was held, in milliseconds.
        held_ms: u64,
        /// The checkpoint's directory.
        place: String,
    },
    /// A checkpoint of the server was proved: a server that was made from it did as the others did.
    CheckpointProved {
        /// The slot of the checkpoint.
        slot: u64,
        /// The slot at which that server was compared with the others.
        at: u64,
        /// The calls that it had made until then.
        calls: u64,
    },
    /// The log was cut.
    LogCut {
        /// The slot behind which it begins.
        slot: u64,
        /// The bytes that it has left on the disk, about.
        bytes: u64,
    },
    /// This replica has lost its storage, or a part of what it has promised and acknowledged with
    /// it. It rejoins the group without a vote.
    StorageLost {
        /// The replica that recalls more than the storage holds; none if the log says so, or
        /// nothing was there at all.
        by: Option<u8>,
        /// The last slot that this replica has acknowledged to that one.
        acknowledged: u64,
        /// The last slot of the log that was found.
        found: u64,
        /// The part that is missing, and what follows.
        text: String,
    },
    /// The members have changed.
    Members {
        /// The first slot with these members.
        slot: u64,
        /// The members.
        members: String,
    },
    /// The group restarts the server.
    Restart {
        /// The incarnation that begins.
        incarnation: u32,
        /// The slot behind which it begins.
        slot: u64,
        /// The reason.
        why: String,
    },
    /// The group sends the server's program a signal.
    Signal {
        /// The signal's name.
        signal: String,
        /// The slot of its op.
        slot: u64,
    },
    /// The server's program was started.
    ServerStarted,
    /// The server's program has ended.
    ServerEnded {
        /// How it ended, and at which point of the script.
        text: String,
    },
    /// Something keeps the server from working.
    Fault {
        /// The fault, with its remedy.
        text: String,
    },
    /// Something about the server that an operator may want to know.
    Note {
        /// The note.
        text: String,
    },
    /// A fault or a note is over.
    FaultOver {
        /// The fault or note that is over.
        text: String,
    },
}

/// The causes of a stall.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// The replica knows no primary.
    NoPrimary,
    /// This primary waits for votes on its proposals.
    Votes,
    /// The replica waits for its own disk.
    Disk,
    /// The replica waits for its own server, which has not consumed all committed entries.
    Server,
    /// The replica waits for its clients' ops to be committed.
    Commitment,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPrimary => "no primary is known",
            Self::Votes => "votes of a quorum are missing",
            Self::Disk => "its own disk is behind",
            Self::Server => "its own server is behind",
            Self::Commitment => "its clients' ops are not committed",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { role, primary, ballot, why } => {
                write!(f, "{role}")?;
                if let Some(primary) = primary.filter(|_| role != "primary") {
                    write!(f, " of replica {primary}")?;
                }
                write!(f, " under ballot {ballot}: {why}")
            }
            Self::Promised { ballot } => write!(f, "promised ballot {ballot}"),
            Self::VotedFor { by, ballot } => write!(f, "replica {by} promised ballot {ballot}"),
            Self::RefusedBy { by, ballot, promised } => {
                write!(f, "replica {by} refused ballot {ballot}: it has promised {promised}")
            }
            Self::Stalled { cause, nodes } if nodes.is_empty() => write!(f, "stalled: {cause}"),
            Self::Stalled { cause, nodes } => {
                let nodes: Vec<String> = nodes.iter().map(u8::to_string).collect();
                write!(f, "stalled: {cause} (replicas {})", nodes.join(", "))
            }
            Self::Resumed { cause, after_ms } => {
                write!(f, "resumed after {after_ms} ms; the cause was: {cause}")
            }
            Self::RoleGivenUp { to, after_ms, why } => {
                write!(f, "the role goes to replica {to}: {why}, for {after_ms} ms now")
            }
            Self::ClientsHandedOn { count } => write!(
                f,
                "{count} clients were reset, so that they connect to other replicas: this one \
                 stands still"
            ),
            Self::LinkUp { node } => write!(f, "linked with replica {node}"),
            Self::LinkDown { node } => write!(f, "the link to replica {node} is closed"),
            Self::LogCut { slot, bytes } => {
                write!(f, "the log begins behind slot {slot} now, and has {} MiB", bytes >> 20)
            }
            Self::CheckpointProved { slot, at, calls } => write!(
                f,
                "the checkpoint behind slot {slot} is proved: a server that was made from it did \
                 the same as the others up to slot {at}, in {calls} calls"
            ),
            Self::Checkpoint { slot, held_ms, place } => write!(
                f,
                "a checkpoint behind slot {slot} is in {place}; the server was held for {held_ms} \
                 ms"
            ),
            Self::StorageLost { text, .. } => f.write_str(text),
            Self::Members { slot, members } => {
                write!(f, "the members are {members} from slot {slot} on")
            }
            Self::Restart { incarnation, slot, why } => write!(
                f,
                "the server starts again behind slot {slot}, on its files, as incarnation \
                 {incarnation}: {why}"
            ),
            Self::Signal { signal, slot } => {
                write!(f, "the server's program gets {signal} at slot {slot}")
            }
            Self::ServerStarted => f.write_str("the server's program has been started"),
            Self::ServerEnded { text } => f.write_str(text),
            Self::Fault { text } => write!(f, "fault: {text}"),
            Self::Note { text } => write!(f, "note: {text}"),
            Self::FaultOver { text } => write!(f, "over: {text}"),
        }
    }
}

/// An event with its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Milliseconds of this host's clock since the Unix epoch.
    pub at_ms: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Counters since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// How often this replica was a candidate.
    pub candidacies: u64,
    /// How often it was elected.
    pub elections_won: u64,
    /// How often it began to follow another primary.
    pub primaries_followed: u64,
    /// How many votes it gave to others.
    pub promises: u64,
    /// How many entries with ops it proposed as primary.
    pub entries_proposed: u64,
    /// How many bubbles it proposed as primary.
    pub bubbles_proposed: u64,
    /// How many bytes it proposed as primary.
    pub bytes_proposed: u64,
    /// How many ops of its clients it forwarded to a primary, including repetitions.
    pub ops_handed_over: u64,
    /// How many forwarded ops it dropped as primary, because it had taken them before, or ops
    /// before them were lost.
    pub ops_dropped: u64,
    /// How many forwarded ops it did not take as primary, because too many waited.
    pub ops_refused: u64,
    /// How often pending ops were forwarded again because none was committed for a while.
    pub handed_over_again: u64,
    /// How many entries it sent to members that lacked them.
    pub slots_served: u64,
    /// How many batches of records it wrote to the disk.
    pub disk_batches: u64,
    /// How many frames for other replicas were dropped because too many bytes waited.
    pub frames_dropped: u64,
    /// How often its storage was lost, or had gone back.
    pub storage_losses: u64,
    /// How many links were opened, including repetitions.
    pub links_made: u64,
    /// How many stalls occurred, of any cause.
    pub stalls: u64,
    /// How often the disk or the server of this replica stood still.
    pub standstills: u64,
    /// How often this primary gave up its role, because it made no progress.
    pub roles_given_up: u64,
    /// How many connections were reset, because this replica made no progress.
    pub clients_handed_on: u64,
    /// How many faults of the server were found.
    pub faults: u64,
    /// How often this replica's server differed from others, or was built again to decide.
    pub divergences: u64,
    /// How many notes on the server were recorded.
    pub notes: u64,
}

/// The last events, and all counters.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The counters.
    pub counters: Counters,
    kept: VecDeque<Told>,
}

impl Events {
    /// Records and counts an event at this time, in milliseconds since the Unix epoch.
    pub(crate) fn record(&mut self, at_ms: u64, event: Event) {
        let counters = &mut self.counters;
        match &event {
            Event::Role { role, .. } if role == "candidate" => counters.candidacies += 1,
            Event::Role { role, .. } if role == "primary" => counters.elections_won += 1,
            Event::Role { role, primary: Some(_), .. } if role == "backup" => {
                counters.primaries_followed += 1;
            }
            Event::Promised { .. } => counters.promises += 1,
            Event::Stalled { .. } => counters.stalls += 1,
            Event::StorageLost { .. } => counters.storage_losses += 1,
            Event::LinkUp { .. } => counters.links_made += 1,
            _ => {}
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Told { at_ms, event });
    }

    /// Iterates over the last events, the oldest first.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Told> {
        self.kept.iter()
    }
}

/// Describes a reason for people.
pub(crate) fn describe(reason: Reason) -> &'static str {
    match reason {
        Reason::Started => "the replica has just started",
        Reason::Silence => "no message from the primary within the election timeout",
        Reason::LinkDown => "the link to the primary was closed",
        Reason::LeadershipTransferred => "the primary transferred its role",
        Reason::Elected => "a quorum voted for it",
        Reason::HigherBallot => "a higher ballot was seen",
        Reason::NoQuorum => "no quorum can be reached",
        Reason::PrimaryFound => "another replica is primary",
        Reason::StorageLost => "its storage is new or an old copy, and the group is not",
        Reason::Admitted => "it may vote from now on",
        Reason::Removed => "it is no longer a member",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_all_are_counted() {
        let mut events = Events::default();
        for number in 0..100 {
            events.record(number, Event::Promised { ballot: format!("{number}.2") });
        }
        assert_eq!((events.kept().count(), events.counters.promises), (KEPT_MAX, 100));
        assert_eq!(events.kept().last().unwrap().event.to_string(), "promised ballot 99.2");
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = Event::Stalled { cause: Cause::Votes, nodes: vec![2, 3] };
        assert!(event.to_string().ends_with("(replicas 2, 3)"));
        let told = Told { at_ms: 5, event };
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.contains(r#""event":"stalled""#) && text.contains(r#""cause":"votes""#));
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
    }
}
