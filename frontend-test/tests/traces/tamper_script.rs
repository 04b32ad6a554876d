//! Traces with tampering on the way into the script, or where it is consumed.

use crane_core::id::{Generation, Incarnation};
use crane_test::specification::event::{Event, OpFact, Outcome};

use super::tamper::{breaks, change, places, remove};

#[test]
fn s1_a_slot_is_left_out() {
    breaks("S1", |trace, place| {
        let at = places(trace, |_, event| matches!(event, Event::Admitted { .. }));
        let Some(at) = at.get(place) else { return false };
        trace.remove(*at);
        true
    });
}

#[test]
fn s2_a_slot_is_admitted_before_the_grant_is_used() {
    breaks("S2", |trace, place| {
        place == 0 && remove(trace, |event| matches!(event, Event::Dropped { .. }))
    });
}

/// Changes the event of an admission.
fn other_admission(rule: &str, other: impl Fn(&mut Event) -> bool) {
    breaks(rule, |trace, place| change(trace, place, |_, event| other(event)));
}

#[test]
fn s3_a_server_makes_more_calls_than_granted() {
    other_admission("S3", |event| match event {
        Event::Admitted { mark, .. } => {
            mark.clock += 1000;
            true
        }
        _ => false,
    });
}

#[test]
fn s4_a_grant_is_dropped_with_a_thread_runnable() {
    other_admission("S4", |event| match event {
        Event::Dropped { runnable } => {
            *runnable = true;
            true
        }
        _ => false,
    });
}

#[test]
fn s5_agreed_time_differs() {
    other_admission("S5", |event| match event {
        Event::Admitted { agreed, .. } => {
            *agreed += 1;
            true
        }
        _ => false,
    });
}

#[test]
fn s7_a_server_makes_other_calls() {
    other_admission("S7", |event| match event {
        Event::Admitted { mark, .. } => {
            mark.schedule ^= 1;
            true
        }
        _ => false,
    });
}

/// Changes an op of the script.
fn other_op(rule: &str, other: impl Fn(&mut OpFact) -> bool) {
    breaks(rule, |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Script { ops, .. } => ops.iter_mut().any(&other),
            _ => false,
        })
    });
}

#[test]
fn e1_a_connection_is_out_of_order() {
    other_op("E1", |op| match op {
        OpFact::Connect(conn) => {
            conn.number += 1;
            true
        }
        _ => false,
    });
}

/// Changes the range of admitted bytes.
fn other_bytes(rule: &str, other: impl Fn(&mut u64, &mut u64) -> bool) {
    other_admission(rule, |event| match event {
        Event::Admitted { outcomes, .. } => outcomes.iter_mut().any(|outcome| match outcome {
            Outcome::Data { at, count } => other(at, count),
            _ => false,
        }),
        _ => false,
    });
}

#[test]
fn e2_bytes_are_admitted_again() {
    other_bytes("E2", |at, count| {
        *count += 1;
        at.checked_sub(1).is_some_and(|before| {
            *at = before;
            true
        })
    });
}

#[test]
fn e3_bytes_are_left_out() {
    other_bytes("E3", |at, count| {
        *at += 1;
        *count -= 1;
        *count > 0
    });
}

#[test]
fn e4_an_op_is_freed_too_early() {
    breaks("E4", |trace, place| {
        let at = places(trace, |_, event| matches!(event, Event::Kept { .. }));
        let Some(at) = at.get(place) else { return false };
        let (node, Event::Kept { ticket, .. }) = trace[*at] else { unreachable!("looked for") };
        trace.insert(at + 1, (node, Event::Freed { ticket }));
        true
    });
}

#[test]
fn e6_an_op_is_passed_over() {
    breaks("E6", |trace, place| {
        change(trace, place, |_, event| match event {
            Event::Forwarded { ticket, .. } => {
                *ticket += 1;
                true
            }
            _ => false,
        })
    });
}

#[test]
fn e7_a_retired_generation_counts() {
    other_op("E7", |op| match op {
        OpFact::Connect(conn) => {
            conn.generation = Generation(0);
            true
        }
        _ => false,
    });
}

#[test]
fn e8_a_generation_is_used_again() {
    breaks("E8", |trace, place| {
        change(trace, place + 7, |_, event| match event {
            Event::Started { generation, .. } => {
                *generation = Generation(0);
                true
            }
            _ => false,
        })
    });
}

#[test]
fn s9_a_timestamp_is_not_above_the_one_before() {
    breaks("S9", |trace, place| {
        let mut last = 0;
        let mut left = place;
        for (_, event) in trace.iter_mut() {
            let Event::Script { timestamp, .. } = event else { continue };
            if last > 0 && left == 0 {
                *timestamp = last;
                return true;
            }
            left = left.saturating_sub(usize::from(last > 0));
            last = *timestamp;
        }
        false
    });
}

#[test]
fn i1_a_restart_counts_twice_or_not_at_all() {
    // Those that count are in every trace with restarts. One that is as old as the server counts a
    // second time.
    for twice in [true, false] {
        breaks("I1", |trace, place| {
            let is_restart = |op: &OpFact| matches!(op, OpFact::Restart(_));
            let script = trace.iter().filter_map(|(_, event)| match event {
                Event::Script { slot, ops, .. } => Some((*slot, ops.iter().position(is_restart)?)),
                _ => None,
            });
            let counted = script.filter(|(wanted, at)| {
                trace.iter().any(|(_, event)| {
                    matches!(event, Event::Admitted { mark, outcomes, .. }
                        if mark.slot == *wanted && outcomes[*at] == Outcome::Counted)
                })
            });
            let Some((wanted, at)) = counted.clone().nth(place) else { return false };
            for (_, event) in trace.iter_mut() {
                match event {
                    Event::Script { slot, ops, .. } if twice && *slot == wanted => {
                        ops[at] = OpFact::Restart(Incarnation(0));
                    }
                    Event::Admitted { mark, outcomes, .. } if !twice && mark.slot == wanted => {
                        outcomes[at] = Outcome::Nothing;
                    }
                    _ => {}
                }
            }
            true
        });
    }
}
