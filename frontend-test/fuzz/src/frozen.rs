//! Frozen calls, from a copied file or from another replica, and their comparison.

use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_linux::decoders::{
    CallsMessage, FrozenBlock, FrozenCall, FrozenCalls, Parting, ServerHistory, compare,
};

use crate::forge::checked_file;

/// Reads files, each of which is refused with a reason or can be written and read again, and
/// compares them: either order of two must give the same result.
pub(crate) fn file(bytes: &[u8]) {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    let read: Vec<FrozenCalls> = [bytes, &forged(bytes), &forged(one), &forged(other)]
        .into_iter()
        .filter_map(read)
        .collect();
    let known = known(&[5, 6, 7]);
    for one in &read {
        compared(&one.history, &known.history);
        for other in &read {
            compared(&one.history, &other.history);
        }
    }
}

fn read(bytes: &[u8]) -> Option<FrozenCalls> {
    match FrozenCalls::decode(bytes) {
        Ok(frozen) => {
            assert_eq!(FrozenCalls::decode(&frozen.encode()).as_ref(), Ok(&frozen));
            Some(frozen)
        }
        Err(why) => {
            assert!(!why.is_empty());
            None
        }
    }
}

fn compared(one: &ServerHistory, other: &ServerHistory) {
    let found = compare(one, other);
    assert_eq!(compare(other, one), found);
    match found.parting {
        Parting::Call(clock) => {
            let words = [one, other].map(|side| side.call(clock).map(|call| call.word));
            assert!(words[0].is_some() && words[1].is_some() && words[0] != words[1]);
        }
        Parting::Output(clock) => assert!(one.call(clock + 1).is_some()),
        _ => {}
    }
}

/// Reads a message of another replica about its calls, which may be refused.
pub(crate) fn message(bytes: &[u8]) {
    let Ok(message) = postcard::from_bytes::<CallsMessage>(bytes) else { return };
    let again = postcard::to_allocvec(&message).expect("plain data");
    assert_eq!(postcard::from_bytes::<CallsMessage>(&again).as_ref(), Ok(&message));
    if let Some(history) = message.history() {
        compared(&history, &known(&[5, 6, 7]).history);
    }
}

/// Returns a file with this body.
fn forged(body: &[u8]) -> Vec<u8> {
    checked_file(b"CRANECAL", 1, body)
}

/// Returns the frozen calls of a server that made these calls.
fn known(words: &[u64]) -> FrozenCalls {
    let call = |word: &u64| FrozenCall { word: *word, address: 0x4000, output: *word / 2 };
    let mark = Mark { slot: Slot(3), clock: 2, schedule: 5, output: words[0] };
    let history = ServerHistory {
        first_block: 0,
        blocks: words.iter().map(|word| FrozenBlock { schedule: *word, output: 1 }).collect(),
        first_call: 1,
        calls: words.iter().map(call).collect(),
        marks: vec![mark],
        ..ServerHistory::default()
    };
    let node = NodeId::new(1).expect("a number");
    FrozenCalls { group: Some("00ff".into()), node, slot: Slot(9), history }
}

pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    let body = |words: &[u64]| postcard::to_allocvec(&known(words)).expect("plain data");
    let both = [body(&[5, 6, 7]), body(&[5, 9, 7])].concat();
    vec![known(&[5, 6, 7]).encode(), body(&[5, 6, 7]), body(&[5, 9, 7, 8]), both]
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let slot = Slot(9);
    let blocks =
        vec![FrozenBlock { schedule: 5, output: 1 }, FrozenBlock { schedule: 9, output: 1 }];
    let messages = [
        CallsMessage::Blocks { slot, first: 0, blocks },
        CallsMessage::Wanted { slot, from: 1025 },
        CallsMessage::Calls { slot, from: 1, calls: vec![(5, 2), (8, 3)] },
    ];
    messages.iter().map(|message| postcard::to_allocvec(message).expect("plain data")).collect()
}
