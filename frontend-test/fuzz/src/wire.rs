//! The formats of messages and of the log: a decoded value is equal after another round.

use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::limits::{ENTRY_BYTES_MAX, ENTRY_OPS_MAX, SEND_BYTES_MAX};
use crane_core::paxos::{
    Ballot, LogEnd, MESSAGE_BYTES_MAX, Message, SlotRange, StorageEpoch, VotingStatus,
};
use crane_core::wire::{
    Endpoint, EntryPayload, EntryWriter, Founder, Genesis, HostFigures, Op, ProgramCrash,
    RestartReason, Schedule,
};

pub(crate) fn message(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    let mut space = [0; MESSAGE_BYTES_MAX];
    let length = message.encode(&mut space).expect("a message has a longest form");
    assert_eq!(Message::decode(&space[..length]), Ok(message));
    assert!(length <= bytes.len(), "encoding is longer than the input");
    for short in 0..length {
        assert!(
            message.encode(&mut space[..short]).is_err(),
            "{message:?} was encoded into {short} bytes"
        );
    }
}

/// Returns a message of each kind.
pub(crate) fn messages() -> Vec<Message> {
    let ballot = Ballot::new(3, NodeId::new(2));
    let before = Ballot::new(2, NodeId::new(1));
    let (slot, committed, start) = (Slot(7), Slot(5), Slot(4));
    let epoch = StorageEpoch::FIRST;
    vec![
        Message::Hello { nonce: 17, voting: VotingStatus::Blank, named: epoch },
        Message::HelloBack { nonce: 17, voting: VotingStatus::Voter { epoch }, named: epoch },
        Message::PreVote { ballot },
        Message::PreVoteReply { ballot, granted: true, promised: before, committed },
        Message::Prepare { ballot },
        Message::Promised { ballot, epoch, end: LogEnd { ballot: before, slot }, committed },
        Message::Refused { ballot: before, promised: ballot },
        Message::Fetch { ballot, committed, from: slot, before },
        Message::Copy { ballot, range: SlotRange::one(slot), before },
        Message::Chosen { range: SlotRange { first: slot, count: 4 } },
        Message::Accept {
            ballot,
            range: SlotRange { first: slot, count: 2 },
            before,
            committed,
            start,
        },
        Message::Accepted {
            ballot,
            up_to: committed,
            received: slot,
            epoch: Some(epoch),
            beat: 300,
        },
        Message::Commit { ballot, committed },
        Message::Heartbeat { ballot, committed, last: slot, last_ballot: before, start, beat: 1 },
        Message::TakeOver { ballot },
        Message::Recall { nonce: u64::MAX },
        Message::Recalled {
            nonce: 9,
            epoch,
            promised: ballot,
            end: LogEnd { ballot: before, slot },
        },
    ]
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    messages().iter().map(encoded_message).collect()
}

pub(crate) fn encoded_message(message: &Message) -> Vec<u8> {
    let mut space = [0; MESSAGE_BYTES_MAX];
    let length = message.encode(&mut space).expect("a message has a longest form");
    space[..length].to_vec()
}

pub(crate) fn entry(bytes: &[u8]) {
    op(bytes);
    let Ok(entry) = EntryPayload::decode(bytes) else { return };
    assert!(bytes.len() <= ENTRY_BYTES_MAX && entry.ops().len() <= ENTRY_OPS_MAX);
    assert_eq!(entry.is_bubble(), entry.ops().len() == 0);
    let mut space = vec![0; ENTRY_BYTES_MAX];
    let mut writer = EntryWriter::new(&mut space).expect("the longest entry has room");
    let mut count = 0;
    for op in entry.ops() {
        writer.push(&op).expect("an op of an entry fits into an entry");
        count += 1;
    }
    assert_eq!(count, entry.ops().len());
    let again = writer.finish(entry.timestamp, entry.grant);
    assert!(again.len() <= bytes.len(), "encoding is longer than the input");
    let again = EntryPayload::decode(again).expect("a written entry can be read");
    assert_eq!((again.timestamp, again.grant), (entry.timestamp, entry.grant));
    assert!(again.ops().eq(entry.ops()));
}

fn op(bytes: &[u8]) {
    let Ok((op, rest)) = Op::decode(bytes) else { return };
    assert!(rest.len() < bytes.len() && bytes.ends_with(rest));
    if let Op::Send { offset, bytes, .. } = op {
        assert!(bytes.len() <= SEND_BYTES_MAX && offset.checked_add(bytes.len() as u64).is_some());
    }
    let mut space = vec![0; bytes.len()];
    let length = op.encode(&mut space).expect("an op that is no longer than the input");
    assert_eq!(Op::decode(&space[..length]), Ok((op, &[][..])));
    assert!(op.encode(&mut space[..length - 1]).is_err());
}

/// Returns ops of one connection from its beginning to its end, and ops of no connection.
pub(crate) fn ops() -> Vec<Op<'static>> {
    let node = NodeId::new(2).expect("at most 7");
    let conn = ConnId { entry: node, generation: Generation(5), number: 1 };
    let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    let crash = ProgramCrash { incarnation: Incarnation(2), clock: 500, status: 0, signal: 11 };
    vec![
        Op::Connect { conn, local: end, peer: Endpoint { port: 40_000, ..end } },
        Op::Send { conn, offset: 0, bytes: b"GET / HTTP/1.0\r\n" },
        Op::Send { conn, offset: 16, bytes: b"\r\n" },
        Op::Drained { conn, total: 3 },
        Op::Shut { conn, total: 18 },
        Op::Reset { conn },
        Op::Time,
        Op::Retire { node, generation: Generation(5) },
        Op::Member { node, address: "b:6790", witness: false },
        Op::Restart { incarnation: Incarnation(2), reason: RestartReason::Ordered },
        Op::Restart { incarnation: Incarnation(3), reason: RestartReason::Crashed(crash) },
        Op::Restart {
            incarnation: Incarnation(4),
            reason: RestartReason::Upgraded { base: [7; 32], command: "server\0--port\080" },
        },
    ]
}

pub(crate) fn encoded_op(op: &Op<'_>) -> Vec<u8> {
    let mut space = vec![0; 2 * SEND_BYTES_MAX];
    let length = op.encode(&mut space).expect("an op has a longest form");
    space.truncate(length);
    space
}

pub(crate) fn entry_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = ops().iter().map(encoded_op).collect();
    for count in [0, 1, ops().len()] {
        let mut space = [0; 512];
        let mut writer = EntryWriter::new(&mut space).expect("a header fits");
        for op in &ops()[..count] {
            writer.push(op).expect("ops that fit");
        }
        seeds.push(writer.finish(1_700_000_000_000_000_000, 1000).to_vec());
    }
    seeds
}

pub(crate) fn genesis(bytes: &[u8]) {
    let Ok(genesis) = Genesis::decode(bytes) else { return };
    assert!(!genesis.members.is_empty() && genesis.quantum > 0 && genesis.nclock > 0);
    assert!(genesis.figures.processors > 0 && genesis.figures.memory > 0);
    let mut space = vec![0; ENTRY_BYTES_MAX];
    let length = genesis.encode(&mut space).expect("a genesis entry fits into an entry");
    assert_eq!(Genesis::decode(&space[..length]), Ok(genesis));
}

pub(crate) fn genesis_seeds() -> Vec<Vec<u8>> {
    let founder = |name: &str| Founder {
        address: name.try_into().expect("a short name"),
        witness: name.starts_with('['),
    };
    let genesis = Genesis {
        group: 7 << 90,
        members: ["a:6790", "[::1]:6790"].into_iter().map(founder).collect(),
        base: [1; 32],
        seed: [2; 32],
        timestamp: 1_700_000_000_000_000_000,
        quantum: 100,
        nclock: 1000,
        schedule: Schedule::Serial,
        service: [Endpoint::from_ipv4([10, 0, 0, 1], 0).address].into_iter().collect(),
        figures: HostFigures { processors: 4, memory: 8 << 30 },
    };
    let mut space = vec![0; 512];
    let length = genesis.encode(&mut space).expect("a short genesis entry");
    vec![space[..length].to_vec()]
}
