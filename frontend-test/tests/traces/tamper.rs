//! Traces that were tampered with: for each rule, one that breaks it.
//!
//! Each tampering changes one thing (or all things of a kind), at the first place where the rules
//! notice it by the rule in question.

use std::sync::OnceLock;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Content, Descriptor, Entry, Members, Message, NodeSet, Record, StorageEpoch,
    VotingStatus,
};
use crane_test::simulation::scenario;
use crane_test::specification::event::{Event, Trace};
use crane_test::specification::validate;

/// These have crashes, lost disks, changes of members and cut logs among them.
const SEEDS: std::ops::Range<u64> = 0..40;
/// Places that are tried in one trace.
const PLACES: usize = 12;
/// Longer traces are left out: they only take longer.
const EVENTS_MAX: usize = 30_000;

fn traces() -> &'static [(Members, Trace)] {
    static TRACES: OnceLock<Vec<(Members, Trace)>> = OnceLock::new();
    TRACES.get_or_init(|| {
        let mut traces: Vec<_> = SEEDS.map(|seed| scenario::trace(seed).unwrap()).collect();
        traces.retain(|(_, trace)| trace.len() < EVENTS_MAX);
        traces.sort_by_key(|(_, trace)| trace.len());
        traces
    })
}

/// Tampers with one trace after the other, at one place after the other (`tamper` is told which,
/// and says whether there is one), until a violation of the rule is found.
pub(crate) fn breaks(rule: &str, tamper: impl Fn(&mut Trace, usize) -> bool) {
    let mut found = Vec::new();
    for (members, trace) in traces() {
        for place in 0..PLACES {
            let mut trace = trace.clone();
            if !tamper(&mut trace, place) {
                break;
            }
            match validate(*members, &trace) {
                Err(violation) if violation.rule == rule => return,
                other => found.push(other.err().map(|violation| violation.rule)),
            }
        }
    }
    panic!("{rule} was never found to be broken; found: {found:?}");
}

/// The events that `wanted` picks, by their places.
pub(crate) fn places(trace: &Trace, wanted: impl Fn(NodeId, &Event) -> bool) -> Vec<usize> {
    let events = trace.iter().enumerate();
    events.filter(|(_, (node, event))| wanted(*node, event)).map(|(at, _)| at).collect()
}

/// Changes the event of the given number among those that `change` can change.
pub(crate) fn change(
    trace: &mut Trace,
    place: usize,
    change: impl Fn(NodeId, &mut Event) -> bool,
) -> bool {
    let mut left = place;
    for (node, event) in trace.iter_mut() {
        let mut other = event.clone();
        if change(*node, &mut other) {
            if left == 0 {
                *event = other;
                return true;
            }
            left -= 1;
        }
    }
    false
}

/// Takes all events away that `unwanted` picks.
pub(crate) fn remove(trace: &mut Trace, unwanted: impl Fn(&Event) -> bool) -> bool {
    let before = trace.len();
    trace.retain(|(_, event)| !unwanted(event));
    trace.len() < before
}

fn received(event: &Event) -> Option<&Message> {
    if let Event::Received { message, .. } = event { Some(message) } else { None }
}

#[test]
fn p1_a_ballot_is_another_nodes() {
    breaks("P1", |trace, place| {
        let at = places(trace, |_, event| {
            matches!(event, Event::Said { message: Message::Prepare { .. }, .. })
        });
        let Some(at) = at.get(place) else { return false };
        let (node, _) = &mut trace[*at];
        *node = NodeId::new(node.number() % 7 + 1).unwrap();
        true
    });
}

#[test]
fn p2_a_lower_ballot_is_promised() {
    breaks("P2", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Said { message: Message::Promised { ballot, .. }, .. } if ballot.round() > 1 => {
                *ballot = Ballot::new(ballot.round() - 1, ballot.node());
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p3_what_is_said_is_not_durable() {
    breaks("P3", |trace, place| {
        place == 0
            && remove(
                trace,
                |event| matches!(event, Event::Durable { up_to } if up_to.0.is_multiple_of(3)),
            )
    });
}

#[test]
fn p3_what_was_said_is_forgotten() {
    breaks("P3", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Started { stored, log, .. } if stored.promised > Ballot::ZERO => {
                stored.promised = Ballot::ZERO;
                stored.accepted = Ballot::ZERO;
                log.clear();
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p4_a_log_has_a_gap() {
    breaks("P4", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Wrote { record: Record::Accept { slot, .. }, .. } => {
                *slot = slot.next();
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p5_a_ballot_says_two_things() {
    breaks("P5", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Wrote {
                record:
                    Record::Accept {
                        entry: Entry { content: Content::Payload(Descriptor { digest, .. }), .. },
                        ..
                    },
                ..
            } => {
                *digest += 1;
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p6_nobody_has_promised() {
    breaks("P6", |trace, place| {
        place == 0
            && remove(trace, |event| matches!(received(event), Some(Message::Promised { .. })))
    });
}

#[test]
fn p7_a_better_log_was_promised() {
    breaks("P7", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Received { message: Message::Promised { end, .. }, .. } => {
                end.slot = end.slot.next();
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p8_a_vote_without_the_primarys_log() {
    breaks("P8", |trace, place| {
        let at = places(trace, |node, event| {
            matches!(event, Event::Wrote { record: Record::Adopt { ballot, .. }, .. }
                if !ballot.belongs_to(node))
        });
        let Some(at) = at.get(place) else { return false };
        trace.remove(*at);
        true
    });
}

#[test]
fn p9_a_slot_without_a_majority() {
    breaks("P9", |trace, place| {
        place == 0
            && remove(trace, |event| matches!(received(event), Some(Message::Accepted { .. })))
    });
}

#[test]
fn p10_more_is_committed_than_is_chosen() {
    breaks("P10", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Committed { up_to } => {
                up_to.0 += 100;
                true
            }
            _ => false,
        })
    });
}

#[test]
fn p11_a_commit_index_falls() {
    breaks("P11", |trace, place| {
        let at =
            places(trace, |_, event| matches!(event, Event::Committed { up_to } if up_to.0 > 1));
        let Some(at) = at.get(place) else { return false };
        let (node, _) = trace[*at];
        trace.insert(at + 1, (node, Event::Committed { up_to: Slot(1) }));
        true
    });
}

#[test]
fn p12_support_below_the_promise() {
    breaks("P12", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Said { message: Message::PreVoteReply { granted, .. }, .. } if !*granted => {
                *granted = true;
                true
            }
            _ => false,
        })
    });
}

/// Changes what a change of members says.
fn other_members(rule: &str, other: impl Fn(&mut Members)) {
    breaks(rule, |trace, place| {
        change(trace, place, |node, event| match event {
            Event::Wrote { record: Record::Accept { entry, .. }, .. } => match &mut entry.content {
                Content::Change(members) if entry.ballot.belongs_to(node) => {
                    other(members);
                    true
                }
                _ => false,
            },
            _ => false,
        })
    });
}

#[test]
fn m1_two_voters_at_once() {
    other_members("M1", |members| {
        members.voters = members.voters.iter().take(members.voters.len().max(3) - 2).collect();
        members.witnesses = NodeSet::EMPTY;
    });
}

#[test]
fn m3_a_change_before_the_one_before_it_is_committed() {
    breaks("M3", |trace, place| {
        let changes = places(trace, |node, event| {
            matches!(event, Event::Wrote { record: Record::Accept { entry, .. }, .. }
                if matches!(entry.content, Content::Change(_)) && entry.ballot.belongs_to(node))
        });
        let Some(at) = changes.get(place) else { return false };
        let mut again = trace[*at].clone();
        if let (_, Event::Wrote { record: Record::Accept { slot, .. }, .. }) = &mut again {
            *slot = slot.next();
        }
        trace.insert(at + 1, again);
        true
    });
}

#[test]
fn m4_a_voter_that_was_no_learner() {
    other_members("M4", |members| {
        let strangers = NodeSet::first(7).difference(members.all());
        if let Some(stranger) = strangers.iter().next() {
            members.voters = members.voters.with(stranger);
        }
    });
}

#[test]
fn r1_ready_before_all_are_known_to_be_new() {
    breaks("R1", |trace, place| {
        place == 0
            && remove(trace, |event| matches!(received(event), Some(Message::HelloBack { .. })))
    });
}

#[test]
fn r2_a_vote_before_all_are_ready() {
    breaks("R2", |trace, place| {
        place == 0 && {
            for (_, event) in trace.iter_mut() {
                if let Event::Received { message: Message::HelloBack { voting, .. }, .. } = event {
                    *voting = VotingStatus::Blank;
                }
            }
            true
        }
    });
}

#[test]
fn r3_a_promise_of_a_life_that_does_not_vote() {
    breaks("R3", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Said { message: Message::Promised { epoch, .. }, .. } => {
                epoch.0 += 1;
                true
            }
            _ => false,
        })
    });
}

#[test]
fn r4_votes_of_a_life_that_does_not_count() {
    breaks("R4", |trace, place| {
        place == 0 && {
            for (_, event) in trace.iter_mut() {
                if let Event::Received {
                    message: Message::Accepted { epoch: Some(epoch), .. },
                    ..
                } = event
                {
                    epoch.0 += 1;
                }
            }
            true
        }
    });
}

#[test]
fn r4_promises_of_a_life_that_does_not_count() {
    breaks("R4", |trace, place| {
        place == 0 && {
            for (_, event) in trace.iter_mut() {
                if let Event::Received { message: Message::Promised { epoch, .. }, .. } = event {
                    epoch.0 += 1;
                }
            }
            true
        }
    });
}

#[test]
fn r5_a_vote_before_the_log_has_named_the_life() {
    breaks("R5", |trace, place| {
        let at = places(trace, |_, event| {
            matches!(
                event,
                Event::Wrote { record: Record::VotingStatus(VotingStatus::Rejoining { .. }), .. }
            )
        });
        let Some(at) = at.get(place) else { return false };
        let mut early = trace[*at].clone();
        if let (_, Event::Wrote { record: Record::VotingStatus(voting), .. }) = &mut early
            && let VotingStatus::Rejoining { epoch } = *voting
        {
            *voting = VotingStatus::Voter { epoch };
        }
        trace.insert(at + 1, early);
        true
    });
}

#[test]
fn r6_answers_to_another_run() {
    breaks("R6", |trace, place| {
        place == 0 && {
            for (_, event) in trace.iter_mut() {
                if let Event::Received { message: Message::HelloBack { nonce, .. }, .. } = event {
                    *nonce += 1;
                }
            }
            true
        }
    });
}

#[test]
fn r7_a_life_is_named_unasked() {
    breaks("R7", |trace, place| {
        place == 0
            && remove(trace, |event| {
                matches!(
                    received(event),
                    Some(Message::Hello { voting: VotingStatus::Rejoining { .. }, .. })
                )
            })
    });
}

#[test]
fn r8_a_life_is_given_up_that_still_counts() {
    breaks("R8", |trace, place| {
        let at = places(trace, |_, event| {
            matches!(
                event,
                Event::Wrote { record: Record::VotingStatus(VotingStatus::Voter { .. }), .. }
            )
        });
        let Some(at) = at.get(place) else { return false };
        let (node, Event::Wrote { number, .. }) = trace[*at] else { unreachable!("looked for") };
        let record = Record::VotingStatus(VotingStatus::Rejoining { epoch: StorageEpoch(77) });
        trace.insert(at + 1, (node, Event::Wrote { number, record }));
        true
    });
}
