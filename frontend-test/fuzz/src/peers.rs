//! Bytes that arrive by the peer port and the control socket.

use std::cell::OnceCell;

use crane_core::id::{Incarnation, NodeId, Slot};
use crane_core::limits::ENTRY_BYTES_MAX;
use crane_core::paxos::{
    Ballot, Content, Entry, Members, Message, NodeSet, RANGE_ENTRIES_MAX, StorageEpoch,
};
use crane_core::wire::EntryWriter;
use crane_linux::decoders::frame::{self, Decoder, FrameError, FrameKind};
use crane_linux::decoders::handshake::{Hello, Loser, MAGIC, PROTOCOL_VERSION, Refusal, judge};
use crane_linux::decoders::{
    Base, BasePart, FetchedEntry, Priority, Query, Received, Roster, RosterMember, ServerReport,
    describe, ops, question as read_question, read_hello, read_message, write_message,
};

use crate::forge::{Piece, input, pieces};
use crate::wire;

/// Decodes a stream, which must give the same frames and the same error wherever it is cut.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    same_however_cut(stream, usize::from(*cut) + 1);
    let forged = forged_stream(stream);
    same_however_cut(&forged, usize::from(*cut) + 1);
}

fn same_however_cut(stream: &[u8], step: usize) {
    let whole = taken(std::iter::once(stream));
    assert_eq!(whole, taken(stream.chunks(step)));
    let (frames, error) = whole;
    let bytes: usize = frames.iter().map(|(_, body)| frame::HEADER_BYTES + 1 + body.len()).sum();
    assert!(bytes <= stream.len(), "the frames are longer than the stream");
    if error.is_none() {
        let mut again = Vec::new();
        for (kind, body) in &frames {
            frame::encode(*kind, &[body], &mut again);
        }
        assert!(stream.starts_with(&again));
    }
}

type Taken = (Vec<(FrameKind, Vec<u8>)>, Option<FrameError>);

fn taken<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Taken {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for part in parts {
        decoder.feed(part);
        loop {
            match decoder.take() {
                Ok(Some((kind, body))) => frames.push((kind, body.to_vec())),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Returns a stream of frames with these bodies, of which `how` spoils some.
fn forged_stream(bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for piece in pieces(bytes) {
        let start = stream.len();
        frame::encode(
            FrameKind::ALL[usize::from(piece.how) % FrameKind::ALL.len()],
            &[piece.bytes],
            &mut stream,
        );
        if piece.how >= 0xf0 {
            let place = start + usize::from(piece.how) % (stream.len() - start);
            stream[place] ^= piece.how;
        }
    }
    stream
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut stream = vec![2];
    for (kind, body) in
        FrameKind::ALL.into_iter().zip([&b"body"[..], b"", b"ops", b"x", b"\0\0", b"{}"])
    {
        frame::encode(kind, &[body], &mut stream);
    }
    let forged = [(0, &b"hello"[..]), (1, b"message"), (0xf3, b"spoilt"), (2, b"")];
    vec![stream, [vec![6], input(forged)].concat()]
}

/// Reads hellos, and judges all pairs of them.
pub(crate) fn hello(bytes: &[u8]) {
    let mut read = Vec::new();
    for piece in pieces(bytes) {
        let Ok(hello) = read_hello(piece.bytes) else { continue };
        let again = postcard::to_allocvec(&hello).expect("plain data");
        assert_eq!(read_hello(&again).expect("a written hello can be read"), hello);
        read.push(hello);
    }
    if let Ok(hello) = read_hello(bytes) {
        read.push(hello);
    }
    read.truncate(4);
    read.push(sample_hello(1, 2));
    for mine in &read {
        for theirs in &read {
            agree(mine, theirs);
        }
    }
}

/// Checks that of two replicas at most one is to stop, and that each refusal has a reason. The two
/// may differ, because each judges by what its own log says.
fn agree(mine: &Hello, theirs: &Hello) {
    let refusals = [judge(mine, theirs), judge(theirs, mine)].map(Result::err);
    for refusal in refusals.iter().flatten() {
        assert!(
            !refusal.what.is_empty() && refusal.what.len() < 4 << 20,
            "a refusal has no reason or too long a one"
        );
    }
    if mine.magic == MAGIC && theirs.magic == MAGIC {
        let mine_stops = |refusal: &Option<Refusal>| {
            refusal.as_ref().is_some_and(|refusal| refusal.loser == Loser::Mine)
        };
        assert!(!refusals.iter().all(mine_stops), "{mine:?} and {theirs:?}: {refusals:?}");
    }
}

fn sample_hello(node: u8, to: u8) -> Hello {
    let part = |name: &str| BasePart { name: name.into(), digest: [1; 16] };
    Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        node,
        to,
        generation: 1,
        group: None,
        joined: false,
        address: if node == 1 { "a:6790".into() } else { "b:6790".into() },
        roster: Roster::founders(&["a:6790".into(), "b:6790".into()], NodeSet::EMPTY),
        witness: false,
        priority: Priority::Normal,
        program_since: Incarnation::FIRST,
        base: Base { parts: vec![part("argument 1"), part("program")] },
    }
}

pub(crate) fn hello_seeds() -> Vec<Vec<u8>> {
    let fit = sample_hello(2, 1);
    let member = Hello { group: Some(1 << 100), joined: true, ..sample_hello(2, 1) };
    let mut other = sample_hello(2, 1);
    other.base.parts[0].digest[3] = 9;
    let mut replaced = member.clone();
    let place = RosterMember {
        node: NodeId::new(1).expect("at most 7"),
        address: "c:6790".into(),
        witness: true,
    };
    replaced.roster.record(Slot(40), place);
    let bytes = |hello: &Hello| postcard::to_allocvec(hello).expect("plain data");
    let pair = [bytes(&member), bytes(&other)];
    let pair = input(pair.iter().map(|hello| (0, &hello[..])));
    vec![bytes(&fit), bytes(&member), bytes(&other), bytes(&replaced), pair]
}

/// Reads a message, which counts only with the entries of its slot range and with the payloads that
/// the entries describe.
pub(crate) fn peer_message(bytes: &[u8]) {
    check_peer_message(bytes);
    // The same message gets entries that fit, so that it can be accepted.
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((words, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let Ok(mut message) = Message::decode(words) else { return };
    let (Message::Copy { range, .. } | Message::Chosen { range } | Message::Accept { range, .. }) =
        &mut message
    else {
        return;
    };
    let pieces: Vec<Piece<'_>> = pieces(rest).take(RANGE_ENTRIES_MAX + 1).collect();
    range.count = pieces.len() as u32;
    let entries: Vec<FetchedEntry> = pieces.iter().map(forged_entry).collect();
    let mut body = Vec::new();
    write_message(&message, &entries, &mut body);
    let sound = (1..=RANGE_ENTRIES_MAX).contains(&entries.len());
    assert_eq!(read_message(&body).is_ok(), sound);
    check_peer_message(&body);
    for spoilt in pieces.iter().filter(|piece| piece.how >= 0xf0) {
        let place = usize::from(spoilt.how) * (spoilt.bytes.len() + 1) % body.len();
        body[place] ^= spoilt.how;
        check_peer_message(&body);
        check_peer_message(&body[..place]);
    }
}

fn check_peer_message(bytes: &[u8]) {
    let Ok(received) = read_message(bytes) else { return };
    let Received { message, entries, payloads } = received.clone();
    let count = message.range().map_or(0, |range| range.count as usize);
    assert!(entries.len() == count && payloads.len() == count && count <= RANGE_ENTRIES_MAX);
    for (entry, payload) in entries.iter().zip(&payloads) {
        assert_eq!(entry.content.payload(), payload.as_deref().map(describe));
    }
    let range: Vec<FetchedEntry> = entries.into_iter().zip(payloads).collect();
    let mut again = Vec::new();
    write_message(&message, &range, &mut again);
    assert!(again.len() <= bytes.len(), "encoding is longer than the input");
    assert_eq!(read_message(&again), Ok(received));
    assert!(
        read_message(&again[..again.len() - 1]).is_err(),
        "a message was accepted without its last byte"
    );
    again.push(bytes[0]);
    assert!(read_message(&again).is_err(), "a message was accepted with a byte too many");
}

fn forged_entry(piece: &Piece<'_>) -> FetchedEntry {
    let node = NodeId::new(piece.how % 7 + 1).expect("at most 7");
    let ballot = Ballot::new(2, Some(node));
    let (content, payload) = match piece.how % 8 {
        0 => (Content::Rejoin { node, epoch: StorageEpoch(99) }, None),
        1 => (Content::Change(Members::first(4)), None),
        _ => (Content::Payload(describe(piece.bytes)), Some(piece.bytes.into())),
    };
    (Entry { ballot, content }, payload)
}

pub(crate) fn peer_message_seeds() -> Vec<Vec<u8>> {
    let payloads = [(2, &b"payload"[..]), (0, b""), (1, b""), (3, b"")];
    let mut seeds = Vec::new();
    for message in wire::messages() {
        let count = message.range().map_or(0, |range| range.count as usize);
        let many = || payloads.iter().copied().cycle();
        let range: Vec<FetchedEntry> =
            many().take(count).map(|(how, bytes)| forged_entry(&Piece { how, bytes })).collect();
        let mut body = Vec::new();
        write_message(&message, &range, &mut body);
        seeds.push(body);
        if count > 0 {
            let words = wire::encoded_message(&message);
            for pieces in [count, 0, RANGE_ENTRIES_MAX, RANGE_ENTRIES_MAX + 1] {
                let pieces = input(many().take(pieces));
                seeds.push([&[words.len() as u8], &words[..], &pieces].concat());
            }
        }
    }
    seeds
}

/// Reads forwarded ops: accepted ones fit into an empty entry, and are of the sender's own clients.
pub(crate) fn handed_ops(bytes: &[u8]) {
    let Some((copies, bytes)) = bytes.split_first() else { return };
    let from = NodeId::new(2).expect("at most 7");
    let many = bytes.repeat(1 << (copies % 12));
    if let Ok((range, ops)) = ops::read(from, bytes) {
        assert_eq!(ops::count(from, ops), Ok(range.count as usize));
        assert!(ops::after(ops, range.count as usize).is_empty());
    }
    let Ok(count) = ops::count(from, &many) else { return };
    let mut space = vec![0; ENTRY_BYTES_MAX];
    let mut writer = EntryWriter::new(&mut space).expect("the longest entry has room");
    writer.push_encoded(&many, count).expect("accepted ops fit into an empty entry");
    let entry = crane_core::wire::EntryPayload::decode(writer.finish(1, 1))
        .expect("an entry of accepted ops");
    for op in entry.ops() {
        assert!(op.conn().is_none_or(|conn| conn.entry == from));
    }
}

pub(crate) fn handed_ops_seeds() -> Vec<Vec<u8>> {
    let ops: Vec<Vec<u8>> = wire::ops().iter().map(wire::encoded_op).collect();
    let long = crane_core::wire::Op::Send {
        conn: wire::ops()[0].conn().expect("the connection of a connect"),
        offset: 0,
        bytes: &[7; 1000],
    };
    let all: Vec<u8> = ops[..6].concat();
    vec![
        [vec![0], all.clone()].concat(),
        [vec![9], all].concat(),
        [vec![7], wire::encoded_op(&long)].concat(),
        [vec![0], ops.concat()].concat(),
        [vec![0], vec![5, 3, 3, 4, 6], ops[..6].concat()].concat(),
    ]
}

/// Reads a report about a server.
pub(crate) fn report(bytes: &[u8]) {
    let Ok(report) = postcard::from_bytes::<ServerReport>(bytes) else { return };
    let again = postcard::to_allocvec(&report).expect("plain data");
    assert_eq!(postcard::from_bytes::<ServerReport>(&again), Ok(report));
    if let ServerReport::Ended { ending, .. } = report {
        assert!(!ending.to_string().is_empty() && report.same_end(&report));
    }
}

pub(crate) fn report_seeds() -> Vec<Vec<u8>> {
    let ended = |ending| {
        let incarnation = Incarnation(2);
        ServerReport::Ended { incarnation, clock: 500, admitted: 4, ending, listened: true }
    };
    let reports = [
        ServerReport::Alive { in_step: true },
        ended(crane_linux::decoders::Ending::Exited(1)),
        ended(crane_linux::decoders::Ending::Killed(11)),
    ];
    reports.iter().map(|report| postcard::to_allocvec(report).expect("plain data")).collect()
}

/// Reads a question that came by the control socket or the peer port.
pub(crate) fn question(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    let framed = |stream: &[u8]| {
        let outcome = RUNTIME.with(|cell| {
            let runtime = cell.get_or_init(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_time().build().expect("a runtime can be made")
            });
            runtime.block_on(read_question(&mut &stream[..]))
        });
        if let Ok(query) = outcome {
            let again = postcard::to_allocvec(&query).expect("plain data");
            assert_eq!(postcard::from_bytes::<Query>(&again), Ok(query));
        }
    };
    framed(bytes);
    framed(&forged_stream(bytes));
    let mut stream = Vec::new();
    frame::encode(FrameKind::Query, &[bytes], &mut stream);
    framed(&stream);
}

pub(crate) fn question_seeds() -> Vec<Vec<u8>> {
    let queries = [Query::Status { hash_slot: 300 }, Query::Move { to: 2 }];
    let mut seeds = Vec::new();
    for query in queries {
        let body = postcard::to_allocvec(&query).expect("plain data");
        let mut stream = Vec::new();
        frame::encode(FrameKind::Query, &[&body], &mut stream);
        seeds.push(input([(4, &body[..])]));
        seeds.push(stream);
        seeds.push(body);
    }
    seeds
}
