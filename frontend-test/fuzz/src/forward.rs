//! The entry rule at the entry replica, with any ops in the log.

use arbitrary::{Result, Unstructured};
use crane_core::forward::{Forwarder, Ticket};
use crane_core::id::{ConnId, Generation, NodeId};
use crane_core::time::{Duration, Instant};
use crane_core::wire::{Endpoint, Op};

use crate::wire::encoded_op;

const STEPS_MAX: usize = 600;

/// Keeps ops of the replica's own clients, and commits the ops that the bytes choose.
pub(crate) fn run(bytes: &[u8]) {
    let mut from = Unstructured::new(bytes);
    let _ = play(&mut from);
}

fn play(from: &mut Unstructured<'_>) -> Result<()> {
    let me = NodeId::new(2).expect("at most 7");
    let generation = Generation(5);
    let mut forward: Forwarder<8, 64> = Forwarder::new(me, generation);
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut now = Instant::START;
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        let first = forward.first();
        match from.int_in_range(0..=7_u8)? {
            0 | 1 => {
                let bytes = [7; 70];
                let op = op(from, &bytes, Some((me, generation)))?;
                if !op.encode(&mut [0; 200]).is_ok_and(|length| length > 0) {
                    continue;
                }
                let full = forward.is_full();
                match forward.keep(&op) {
                    Ok(ticket) => {
                        assert_eq!((ticket, full), (Ticket(kept.len() as u64), false));
                        kept.push(encoded_op(&op));
                    }
                    Err(_) => assert!(full, "an op was refused although it has room"),
                }
            }
            // The log has kept ops again: in any order, twice, or in part.
            2 | 3 if !kept.is_empty() => {
                let near = (kept.len() - 1).saturating_sub(from.int_in_range(0..=9)?);
                let (op, _) = Op::decode(&kept[near]).expect("an encoded op");
                forward.committed(now, &op);
            }
            2..=4 => {
                let bytes = [7; 70];
                let op = encoded_op(&op(from, &bytes, None)?);
                // An op that the log cannot hold is not committed.
                if let Ok((op, _)) = Op::decode(&op) {
                    forward.committed(now, &op);
                }
            }
            5 => {
                let mut last = None;
                let longest = from.int_in_range(1..=9)?;
                while let Some(range) = {
                    let mut left = longest;
                    forward.next_range(now, |_| {
                        left -= 1;
                        left > 0
                    })
                } {
                    assert!(range.first >= forward.first() && Some(range.first) > last);
                    assert!(range.since <= range.first && range.kept_from == forward.first());
                    assert!(range.end().0 as usize <= kept.len() && range.count <= longest);
                    last = Some(Ticket(range.end().0 - 1));
                }
            }
            6 => forward.start_over(now),
            _ => {
                now = now + Duration::from_micros(from.arbitrary::<u32>()?.into());
                let due = forward.deadline().is_some_and(|deadline| deadline <= now);
                assert_eq!(forward.wake(now), due);
            }
        }
        assert!(forward.first() >= first && forward.first().0 as usize <= kept.len());
        assert_eq!(forward.is_empty(), forward.first().0 as usize == kept.len());
    }
    Ok(())
}

/// Returns any op, of the given node and generation if there is one.
fn op<'a>(
    from: &mut Unstructured<'_>,
    bytes: &'a [u8; 70],
    of: Option<(NodeId, Generation)>,
) -> Result<Op<'a>> {
    let (node, generation) = match of {
        Some(of) => of,
        None => {
            let node = NodeId::new(from.int_in_range(1..=3)?).expect("at most 7");
            (node, Generation(from.int_in_range(4..=6)?))
        }
    };
    let number = from.int_in_range(1..=3)?;
    let conn = ConnId { entry: node, generation, number };
    let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    let bytes = &bytes[..from.int_in_range(0..=70)?];
    let large = of.is_none() && from.ratio(1, 8)?;
    let offset = if large { u64::MAX - 3 } else { from.int_in_range(0..=100)? };
    let what = from.int_in_range(0..=if of.is_some() { 5 } else { 6_u8 })?;
    Ok(match what {
        0 => Op::Connect { conn, local: end, peer: end },
        1 => Op::Send { conn, offset, bytes },
        2 => Op::Shut { conn, total: offset },
        3 => Op::Reset { conn },
        4 => Op::Drained { conn, total: offset },
        5 => Op::Retire { node, generation },
        _ => Op::Time,
    })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::node::seeds()
}
