//! Messages between nodes: the longest one fits, and no bytes from the network do any harm.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{Ballot, MESSAGE_BYTES_MAX, Message, SlotRange, StorageEpoch};

fn longest() -> Message {
    let ballot = Ballot::new(Ballot::ROUND_MAX, NodeId::new(7));
    let slot = Slot(u64::MAX);
    let range = SlotRange { first: slot, count: u32::MAX };
    Message::Accept { ballot, range, before: ballot, committed: slot, start: slot }
}

#[test]
fn the_longest_message_fits() {
    let mut space = [0; MESSAGE_BYTES_MAX];
    let length = longest().encode(&mut space).unwrap();
    assert_eq!(Message::decode(&space[..length]), Ok(longest()));
}

#[test]
fn cut_and_changed_messages_are_refused_or_are_other_messages() {
    let mut space = [0; MESSAGE_BYTES_MAX];
    let epoch = Some(StorageEpoch(3));
    let ballot = Ballot::new(300, NodeId::new(2));
    let some = Message::Accepted { ballot, up_to: Slot(9), received: Slot(9), epoch, beat: 1 };
    for message in [longest(), some] {
        let length = message.encode(&mut space).unwrap();
        for cut in 0..length {
            assert!(Message::decode(&space[..cut]).is_err());
        }
        for bit in 0..length * 8 {
            let mut changed = space;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Message::decode(&changed[..length]), Ok(message));
        }
    }
}

#[test]
fn garbage_is_refused_or_is_a_message_that_can_be_encoded_again() {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    for _ in 0..200_000 {
        let mut bytes = [0; 40];
        bytes.fill_with(&mut draw);
        bytes[0] %= 18;
        let length = usize::from(draw()) % bytes.len();
        if let Ok(message) = Message::decode(&bytes[..length]) {
            let mut space = [0; MESSAGE_BYTES_MAX];
            let length = message.encode(&mut space).unwrap();
            assert_eq!(Message::decode(&space[..length]), Ok(message));
        }
    }
}
