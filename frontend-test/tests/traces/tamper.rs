//! Traces with tampering: for each rule, a change that breaks it.
//!
//! Each tampering changes one event, or all events of a kind. It is tried at one place after the
//! other, until the validator reports the rule in question.

use std::sync::OnceLock;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Content, Descriptor, Entry, Members, Message, NodeSet, Record, StorageEpoch,
    VotingStatus,
};
use crane_test::simulation::scenario;
use crane_test::specification::event::{Event, Trace};
use crane_test::specification::validate;

/// The seeds of the traces. Some have crashes, lost disks, changes of members or cut logs.
const SEEDS: std::ops::Range<u64> = 0..40;
/// The number of places that are tried in one trace.
const PLACES: usize = 12;
/// The length up to which traces are used: longer traces show nothing more.
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

/// Tampers with one trace after the other, at one place after the other, until the validator
/// reports the rule. `tamper` gets the number of the place, and returns whether the trace has one.
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
    panic!("no tampering broke {rule}; the verdicts were {found:?}");
}

/// Returns the places of the events that `wanted` picks.
pub(crate) fn places(trace: &Trace, wanted: impl Fn(NodeId, &Event) -> bool) -> Vec<usize> {
    let events = trace.iter().enumerate();
    events.filter(|(_, (node, event))| wanted(*node, event)).map(|(at, _)| at).collect()
}

/// Changes the event at `place` among those that `change` can change. Returns whether it exists.
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

/// Removes all events that `unwanted` picks, and returns whether any existed.
pub(crate) fn remove(trace: &mut Trace, unwanted: impl Fn(&Event) -> bool) -> bool {
    let before = trace.len();
    trace.retain(|(_, event)| !unwanted(event));
    trace.len() < before
}

fn received(event: &Event) -> Option<&Message> {
    if let Event::Received { message, .. } = event { Some(message) } else { None }
}

#[test]
fn p1_a_node_uses_the_ballot_of_another() {
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
fn p3_a_message_is_sent_before_its_records_are_durable() {
    breaks("P3", |trace, place| {
        place == 0
            && remove(
                trace,
                |event| matches!(event, Event::Durable { up_to } if up_to.0.is_multiple_of(3)),
            )
    });
}

#[test]
fn p3_a_promise_is_forgotten_by_a_restart() {
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
fn p5_a_ballot_proposes_two_contents_in_a_slot() {
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
fn p6_a_node_leads_without_promises() {
    breaks("P6", |trace, place| {
        place == 0
            && remove(trace, |event| matches!(received(event), Some(Message::Promised { .. })))
    });
}

#[test]
fn p7_a_node_leads_although_a_better_log_was_promised() {
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
fn p8_a_node_votes_without_the_primarys_log() {
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
fn p9_a_slot_is_committed_without_a_quorum() {
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
fn p11_a_committed_index_falls() {
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
fn p12_a_pre_vote_is_granted_below_the_promise() {
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

/// Changes the members of a proposed change.
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
fn m1_two_voters_change_at_once() {
    other_members("M1", |members| {
        members.voters = members.voters.iter().take(members.voters.len().max(3) - 2).collect();
        members.witnesses = NodeSet::EMPTY;
    });
}

#[test]
fn m3_a_change_follows_a_change_that_is_not_committed() {
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
fn m4_a_voter_is_added_that_was_no_learner() {
    other_members("M4", |members| {
        let strangers = NodeSet::first(7).difference(members.all());
        if let Some(stranger) = strangers.iter().next() {
            members.voters = members.voters.with(stranger);
        }
    });
}

#[test]
fn r1_a_node_is_ready_before_all_are_known_to_be_blank() {
    breaks("R1", |trace, place| {
        place == 0
            && remove(trace, |event| matches!(received(event), Some(Message::HelloBack { .. })))
    });
}

#[test]
fn r2_a_node_votes_before_all_are_ready() {
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
fn r3_a_promise_has_an_epoch_that_does_not_vote() {
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
fn r4_votes_of_an_epoch_that_does_not_count_commit() {
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
fn r4_promises_of_an_epoch_that_does_not_count_elect() {
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
fn r5_a_node_votes_before_the_log_has_named_its_epoch() {
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
fn r6_answers_to_another_run_count() {
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
fn r7_an_epoch_is_named_unasked() {
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
fn r8_an_epoch_is_given_up_that_still_counts() {
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
