//! What a replica did, typed: what changed and why, for people and programs (`status --events`).
//!
//! The last ones are kept, and each kind is counted from the daemon's start. An event is told once,
//! when it happens; what only may matter to someone who looks for faults goes to the tracing
//! library alone.

use std::collections::VecDeque;
use std::fmt;

use crane_core::paxos::Reason;
use serde::{Deserialize, Serialize};

/// Events that are kept.
const KEPT_MAX: usize = 64;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The replica's role, or the primary that it knows, is another.
    Role {
        /// As in `status`.
        role: String,
        /// The primary, if one is known.
        primary: Option<u8>,
        /// The ballot that is promised now.
        ballot: String,
        /// Why.
        why: String,
    },
    /// This replica has given its vote for an election.
    Promised {
        /// The ballot; its second number is the candidate's.
        ballot: String,
    },
    /// A replica has given this candidate its vote.
    VotedFor {
        /// Whose vote it is.
        by: u8,
        /// The ballot.
        ballot: String,
    },
    /// A replica has refused this candidate, or this primary.
    RefusedBy {
        /// Who refused.
        by: u8,
        /// The ballot.
        ballot: String,
        /// The one that it has promised instead.
        promised: String,
    },
    /// Nothing has gone on for a while, although something should.
    Stalled {
        /// What it waits for.
        cause: Cause,
        /// Those whom it waits for.
        nodes: Vec<u8>,
    },
    /// It goes on.
    Resumed {
        /// What it had waited for.
        cause: Cause,
        /// Milliseconds since it began to wait.
        after_ms: u64,
    },
    /// A link is there.
    LinkUp {
        /// To whom.
        node: u8,
    },
    /// A link is gone.
    LinkDown {
        /// To whom.
        node: u8,
    },
    /// The members are others from a slot on.
    Members {
        /// The slot.
        slot: u64,
        /// Who they are.
        members: String,
    },
    /// The server's program has been started.
    ServerStarted,
    /// It has ended.
    ServerEnded {
        /// How and where.
        text: String,
    },
    /// Something keeps the server from working.
    Fault {
        /// What it is, and the remedy.
        text: String,
    },
    /// Something about the server that an operator may want to know.
    Note {
        /// What it is.
        text: String,
    },
    /// A fault or a note is over.
    FaultOver {
        /// What it was.
        text: String,
    },
}

/// What a replica can wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There is no primary that it knows.
    NoPrimary,
    /// Votes of other replicas for what this primary has proposed.
    Votes,
    /// Its own disk.
    Disk,
    /// Its own server, which has not consumed what is committed.
    Server,
    /// The primary, to have its clients' ops committed.
    Commitment,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::NoPrimary => "no primary is known",
            Cause::Votes => "votes of a quorum are missing",
            Cause::Disk => "its own disk is behind",
            Cause::Server => "its own server is behind",
            Cause::Commitment => "its clients' ops are not committed",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Role { role, primary, ballot, why } => {
                write!(f, "{role}")?;
                if let Some(primary) = primary.filter(|_| role != "primary") {
                    write!(f, " of replica {primary}")?;
                }
                write!(f, " under ballot {ballot}: {why}")
            }
            Event::Promised { ballot } => write!(f, "promised ballot {ballot}"),
            Event::VotedFor { by, ballot } => write!(f, "replica {by} promised ballot {ballot}"),
            Event::RefusedBy { by, ballot, promised } => {
                write!(f, "replica {by} refused ballot {ballot}: it has promised {promised}")
            }
            Event::Stalled { cause, nodes } if nodes.is_empty() => write!(f, "stalled: {cause}"),
            Event::Stalled { cause, nodes } => {
                let nodes: Vec<String> = nodes.iter().map(u8::to_string).collect();
                write!(f, "stalled: {cause} (replicas {})", nodes.join(", "))
            }
            Event::Resumed { cause, after_ms } => {
                write!(f, "goes on after {after_ms} ms; {cause} was why not")
            }
            Event::LinkUp { node } => write!(f, "linked with replica {node}"),
            Event::LinkDown { node } => write!(f, "the link to replica {node} is closed"),
            Event::Members { slot, members } => {
                write!(f, "the members are {members} from slot {slot} on")
            }
            Event::ServerStarted => f.write_str("the server's program has been started"),
            Event::ServerEnded { text } => f.write_str(text),
            Event::Fault { text } => write!(f, "fault: {text}"),
            Event::Note { text } => write!(f, "note: {text}"),
            Event::FaultOver { text } => write!(f, "over: {text}"),
        }
    }
}

/// An event and when it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// Milliseconds of this host's clock since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// How often things happened since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Times that this replica stood for election.
    pub candidacies: u64,
    /// Times that it was elected.
    pub elections_won: u64,
    /// Times that it began to follow another primary.
    pub primaries_followed: u64,
    /// Votes that it gave others.
    pub promises: u64,
    /// As primary: entries with ops that it proposed.
    pub entries_proposed: u64,
    /// As primary: bubbles that it proposed.
    pub bubbles_proposed: u64,
    /// As primary: bytes of what it proposed.
    pub bytes_proposed: u64,
    /// Ops of its clients that were handed to a primary, again or for the first time.
    pub ops_handed_over: u64,
    /// Times that ops were handed over again because none was committed for a while.
    pub handed_over_again: u64,
    /// Entries that it sent to members which lacked them.
    pub slots_served: u64,
    /// Batches of records given to the disk.
    pub disk_batches: u64,
    /// Frames for other replicas that were dropped because too much waited.
    pub frames_dropped: u64,
    /// Links that were made, and made again.
    pub links_made: u64,
    /// Stalls, whatever the cause.
    pub stalls: u64,
    /// Faults of the server that were found.
    pub faults: u64,
    /// Findings about the server that are no faults.
    pub notes: u64,
}

/// The last events, and all counters.
#[derive(Debug, Default)]
pub struct Events {
    /// What is counted.
    pub counters: Counters,
    kept: VecDeque<Told>,
}

impl Events {
    /// Keeps and counts an event of this time, in milliseconds since the Unix epoch.
    pub fn record(&mut self, at_ms: u64, event: Event) {
        let counters = &mut self.counters;
        match &event {
            Event::Role { role, .. } if role == "candidate" => counters.candidacies += 1,
            Event::Role { role, .. } if role == "primary" => counters.elections_won += 1,
            Event::Role { role, primary: Some(_), .. } if role == "backup" => {
                counters.primaries_followed += 1;
            }
            Event::Promised { .. } => counters.promises += 1,
            Event::Stalled { .. } => counters.stalls += 1,
            Event::LinkUp { .. } => counters.links_made += 1,
            _ => {}
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Told { at_ms, event });
    }

    /// The last events, the oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Told> {
        self.kept.iter()
    }
}

/// A reason as people read it.
pub fn describe(reason: Reason) -> &'static str {
    match reason {
        Reason::Started => "the replica has just started",
        Reason::Silence => "nothing was heard from the primary for too long",
        Reason::LinkDown => "the link to the primary was closed",
        Reason::LeadershipTransferred => "the primary has handed its role over",
        Reason::Elected => "a quorum promised",
        Reason::HigherBallot => "a higher ballot was seen",
        Reason::NoQuorum => "no quorum is in reach",
        Reason::PrimaryFound => "a primary made itself known",
        Reason::StorageLost => "its storage is new, and the group is not",
        Reason::Admitted => "it may vote from now on",
        Reason::Removed => "it is not a member any more",
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
