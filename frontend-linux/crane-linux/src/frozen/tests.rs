use crane_shm::history::BLOCK_CALLS;

use super::*;
use crate::checked_file::HEADER_BYTES;

/// Returns the history of a server that makes `count` calls, with running hashes of the words and
/// of the bytes of its calls. The call at `odd` has a different word, and the call at `flipped`
/// writes different bytes. The history holds the last `kept` calls.
pub(super) fn server(count: u64, kept: u64, odd: u64, flipped: u64) -> ServerHistory {
    let mut history = ServerHistory {
        first_call: (count + 1).saturating_sub(kept).max(1),
        ..ServerHistory::default()
    };
    let mix =
        |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(9);
    let (mut schedule, mut output) = (1, 1);
    for clock in 1..=count {
        let word = 5 << 32 | if clock == odd { 1 << 20 } else { clock };
        schedule = mix(schedule, word);
        if clock >= history.first_call {
            history.calls.push(FrozenCall { word, address: 17, output });
        }
        if clock % BLOCK_CALLS == 0 {
            history.blocks.push(FrozenBlock { schedule, output });
        }
        if clock % 500 == 0 {
            let mark = Mark { slot: Slot(clock / 500), clock, schedule, output };
            history.marks.push(mark);
        }
        if clock % 3 == 0 {
            output = mix(output, if clock == flipped { 9 } else { clock });
        }
    }
    history
}

fn frozen(history: ServerHistory) -> FrozenCalls {
    let node = NodeId::new(2).unwrap();
    FrozenCalls { group: Some("00ff".into()), node, slot: Slot(7), history }
}

#[test]
fn the_first_call_that_differs_is_found_wherever_it_is() {
    let right = server(9000, 7000, 0, 0);
    for odd in [3002, 4096, 4097, 5120, 7000, 8999, 9000] {
        let wrong = server(9000, 7000, odd, 0);
        let found = compare(&right, &wrong);
        assert_eq!(found.parting, Parting::Call(odd), "{found:?}");
        assert_eq!(compare(&wrong, &right), found);
        let block = (odd - 1) / BLOCK_CALLS;
        let whole = block_end(block) <= 9000;
        assert_eq!(found.differing_block, whole.then_some(block), "{odd}");
        assert_eq!(found.equal_block, Some(block - 1), "{odd}");
        assert!(found.from <= odd && odd <= found.from + BLOCK_CALLS);
        let slot = Slot(odd.div_ceil(500));
        assert_eq!(found.differing_slot, Some(slot), "{odd}");
    }
}

#[test]
fn the_call_that_wrote_other_bytes_is_found() {
    let right = server(9000, 7000, 0, 0);
    for flipped in [3003, 4095, 4098, 5118, 6144, 8997] {
        let found = compare(&right, &server(9000, 7000, 0, flipped));
        assert_eq!(found.parting, Parting::Output(flipped), "{found:?}");
    }
    // No call follows, so only a mark could show the difference, and the history has none.
    let found = compare(&right, &server(9000, 7000, 0, 9000));
    assert_eq!((found.parting, found.differing_slot), (Parting::Nowhere(9000), None));
}

#[test]
fn servers_that_did_the_same_are_equal_as_far_as_both_came() {
    let right = server(9000, 7000, 0, 0);
    assert_eq!(compare(&right, &right).parting, Parting::Nowhere(9000));
    let behind = server(8500, 100, 0, 0);
    let found = compare(&right, &behind);
    assert_eq!((found.parting, found.equal_block), (Parting::Nowhere(8192), Some(7)));
    assert_eq!(compare(&server(20, 20, 0, 0), &server(15, 20, 0, 0)).parting, Parting::Nowhere(15));
}

#[test]
fn a_difference_that_is_not_kept_any_more_is_still_placed() {
    let (right, wrong) = (server(9000, 1000, 0, 0), server(9000, 1000, 4500, 0));
    let found = compare(&right, &wrong);
    assert_eq!((found.parting, found.differing_block), (Parting::Behind(4096), Some(4)));
    let mut late = wrong.clone();
    late.blocks.drain(..6);
    late.first_block = 6;
    assert_eq!(compare(&right, &late).parting, Parting::Before(7168));
    let nothing = ServerHistory::default();
    assert_eq!(compare(&right, &nothing).parting, Parting::Unknown);
}

#[test]
fn a_file_holds_what_was_frozen_or_is_refused() {
    let frozen = frozen(server(3000, 2000, 0, 0));
    let bytes = frozen.encode();
    assert_eq!(FrozenCalls::decode(&bytes), Ok(frozen.clone()));
    for place in (0..bytes.len()).step_by(97).chain(0..HEADER_BYTES) {
        let mut changed = bytes.clone();
        changed[place] ^= 4;
        assert!(FrozenCalls::decode(&changed).is_err(), "{place}");
        assert!(FrozenCalls::decode(&bytes[..place]).is_err(), "{place}");
    }
    let mut other = frozen;
    other.history.first_block = u64::MAX;
    assert!(FrozenCalls::decode(&other.encode()).is_err(), "its clocks overflow");
}

#[test]
fn the_last_ones_are_kept_and_the_first_of_one_slot() {
    let data = std::env::temp_dir().join(format!("crane-frozen-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    assert!(list(&data).unwrap().is_empty());
    let at = |slot, count| FrozenCalls { slot: Slot(slot), ..frozen(server(count, 10, 0, 0)) };
    for slot in 8..14 {
        let path = at(slot, slot).keep(&data).unwrap();
        at(slot, 99).keep(&data).unwrap();
        assert_eq!(FrozenCalls::read(&path), Ok(at(slot, slot)));
    }
    let slots: Vec<u64> = list(&data).unwrap().iter().map(|(slot, _)| slot.0).collect();
    assert_eq!(slots, [10, 11, 12, 13]);
    fs::remove_dir_all(&data).unwrap();
}
