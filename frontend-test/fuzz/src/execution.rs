//! Admission and the gate under any script that can be decoded. A quorum has chosen the script, so
//! a panic here would end all replicas at once.

use arbitrary::{Result, Unstructured};
use crane_core::execution::Execution;
use crane_core::execution::admission::Admitted;
use crane_core::execution::socket::{Bound, ConnIndex, ListenerIndex};
use crane_core::execution::turn::{ThreadId, WaitKey};
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::limits::{RECEIVE_WINDOW, SEND_WINDOW};
use crane_core::wire::{Endpoint, Op, RestartReason};

use crate::wire::encoded_op;

const STEPS_MAX: usize = 600;
const CONNECTIONS: usize = 4;
const LISTENERS: usize = 2;

type Small = Execution<4, CONNECTIONS, LISTENERS>;

/// A server that makes any calls on its sockets, within the rules for callers.
struct Server {
    run: Small,
    slot: Slot,
    listeners: Vec<ListenerIndex>,
    accepted: Vec<ConnIndex>,
    /// The number of the next admitted byte of each connection.
    received: [u64; CONNECTIONS],
}

/// Runs a server with the steps that the bytes choose.
pub(crate) fn run(bytes: &[u8]) {
    let mut from = Unstructured::new(bytes);
    let _ = play(&mut from);
}

fn play(from: &mut Unstructured<'_>) -> Result<()> {
    let quantum = from.int_in_range(1..=3)?;
    let timestamp = number(from)?;
    let mut run = Small::new(quantum, timestamp);
    let first = run.turn.reserve().expect("room for the first thread");
    run.turn.start(first);
    run.pass().expect("a runnable thread");
    let mut server = Server {
        run,
        slot: Slot::NONE,
        listeners: Vec::new(),
        accepted: Vec::new(),
        received: [0; CONNECTIONS],
    };
    for _ in 0..STEPS_MAX {
        if from.is_empty() {
            break;
        }
        server.happen(from)?;
        server.check();
    }
    Ok(())
}

impl Server {
    fn happen(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let sockets = &mut self.run.sockets;
        match from.int_in_range(0..=15_u8)? {
            0..=6 => self.admit(from)?,
            7 | 8 => {
                let calls = from.int_in_range(1..=4)?;
                for _ in 0..calls {
                    if !self.run.call(ThreadId(0), from.arbitrary()?, from.arbitrary()?) {
                        break;
                    }
                }
            }
            9 => {
                let bound = endpoint(from)?;
                let (v6only, shared) = (from.arbitrary()?, from.arbitrary()?);
                let (bound, backlog) =
                    (Bound { at: bound, v6only, shared }, from.int_in_range(0..=3)?);
                if !sockets.is_taken(&bound) {
                    self.listeners.extend(sockets.listen(bound, backlog));
                }
            }
            10 if !self.listeners.is_empty() && from.ratio(1, 4)? => {
                let place = from.choose_index(self.listeners.len())?;
                let listener = self.listeners.swap_remove(place);
                let mut closed = 0;
                let waiting = sockets.acceptable(listener);
                sockets.unlisten(listener, |_| closed += 1);
                assert_eq!(closed, waiting);
            }
            10 | 11 if !self.listeners.is_empty() => {
                let listener = *from.choose(&self.listeners)?;
                let waiting = sockets.acceptable(listener);
                let conn = sockets.accept(listener);
                assert_eq!(conn.is_some(), waiting > 0);
                self.accepted.extend(conn);
            }
            12 if !self.accepted.is_empty() => {
                let place = from.choose_index(self.accepted.len())?;
                sockets.close(self.accepted.swap_remove(place));
            }
            13 if !self.accepted.is_empty() => {
                let conn = sockets.conn_mut(*from.choose(&self.accepted)?);
                let count = from.int_in_range(0..=conn.readable())?;
                conn.consume(count);
            }
            14 if !self.accepted.is_empty() => {
                let conn = sockets.conn_mut(*from.choose(&self.accepted)?);
                let count = from.int_in_range(0..=conn.room())?;
                conn.produce(count);
            }
            // The only thread waits until a time, so that the server is quiescent.
            15 => {
                self.run.turn.wait(WaitKey(1), number(from)?);
                self.run.gate.drop_grant();
                while self.run.pass().is_none() {
                    if from.is_empty() {
                        self.run.turn.wake(WaitKey(1), 1);
                    } else {
                        self.admit(from)?;
                        self.run.gate.drop_grant();
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Admits an entry with any timestamp, ops and grant.
    fn admit(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let count = from.int_in_range(0..=4_usize)?;
        let mut ops = Vec::new();
        for _ in 0..count {
            let bytes = vec![from.arbitrary()?; from.int_in_range(0..=600)?];
            let op = self.op(from, &bytes)?;
            ops.push(encoded_op(&op));
        }
        let (timestamp, grant) = (number(from)?, number(from)? as u32);
        // An op that the log cannot hold is not in the script.
        let ops = ops.iter().filter_map(|bytes| Some(Op::decode(bytes).ok()?.0));
        self.slot = Slot(self.slot.0 + 1 + u64::from(from.ratio(1, 8)?));
        self.run.gate.drop_grant();
        let before = self.run.gate.agreed();
        let received = &mut self.received;
        let mark =
            self.run.admit(self.slot, timestamp, ops, grant, |run, admitted| match admitted {
                Admitted::Data { conn, at, bytes } => {
                    let state = run.sockets.conn(conn);
                    let next = &mut received[usize::from(conn.0)];
                    if at == 0 {
                        *next = 0;
                    }
                    assert_eq!(at, *next, "bytes are admitted twice or out of order");
                    *next += bytes.len() as u64;
                    assert_eq!((state.received, bytes.is_empty()), (*next, false));
                }
                Admitted::Retired(node) => {
                    let mut resets = 0;
                    while run.sockets.retired(node, None).is_some() {
                        resets += 1;
                    }
                    assert!(resets <= CONNECTIONS);
                }
                Admitted::Nothing
                | Admitted::Acceptable(_)
                | Admitted::Refused(..)
                | Admitted::Ended(_)
                | Admitted::Reset(_)
                | Admitted::Room(_)
                | Admitted::Restarted(_)
                | Admitted::Signalled(_) => {}
            });
        assert_eq!(mark.slot, self.slot);
        assert!(self.run.gate.agreed() >= before, "agreed time went back");
        Ok(())
    }

    /// Returns an op, mostly of a connection that exists.
    fn op<'a>(&self, from: &mut Unstructured<'_>, bytes: &'a [u8]) -> Result<Op<'a>> {
        let node = NodeId::new(from.int_in_range(1..=2)?).expect("at most 7");
        let mut conn = ConnId {
            entry: node,
            generation: Generation(from.int_in_range(0..=3)?),
            number: from.int_in_range(0..=6)?,
        };
        let mut known = 0;
        if !self.accepted.is_empty() && from.ratio(3, 4)? {
            let state = self.run.sockets.conn(*from.choose(&self.accepted)?);
            conn = state.id;
            known = state.received;
        }
        if from.ratio(1, 32)? {
            conn.number = number(from)?;
            conn.generation = Generation(number(from)?);
        }
        let near = if from.ratio(7, 8)? {
            (known + from.int_in_range(0..=4)?).saturating_sub(2)
        } else {
            number(from)?
        };
        Ok(match from.int_in_range(0..=11_u8)? {
            0..=3 => Op::Connect { conn, local: endpoint(from)?, peer: endpoint(from)? },
            4..=7 => Op::Send { conn, offset: near, bytes },
            8 => Op::Shut { conn, total: near },
            9 => Op::Reset { conn },
            10 => Op::Drained { conn, total: number(from)? },
            _ if from.ratio(1, 2)? => Op::Time,
            _ if from.ratio(1, 4)? => Op::Restart {
                incarnation: Incarnation(from.int_in_range(1..=3)?),
                reason: RestartReason::Ordered,
            },
            _ => Op::Retire { node, generation: conn.generation },
        })
    }

    fn check(&self) {
        for conn in &self.accepted {
            let state = self.run.sockets.conn(*conn);
            assert!(state.consumed <= state.received && state.drained <= state.sent);
            assert!(state.received - state.consumed <= RECEIVE_WINDOW as u64);
            assert!(state.sent - state.drained <= SEND_WINDOW as u64);
            assert!(state.readable() <= RECEIVE_WINDOW && state.room() <= SEND_WINDOW);
        }
        let waiting: u32 =
            self.listeners.iter().map(|listener| self.run.sockets.acceptable(*listener)).sum();
        assert_eq!(self.run.sockets.open(), self.accepted.len() + waiting as usize);
    }
}

/// Returns a number: a small one, a very large one, or any.
fn number(from: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match from.int_in_range(0..=7_u8)? {
        0..=5 => from.int_in_range(0..=2000)?,
        6 => u64::MAX - from.int_in_range(0..=2)?,
        _ => from.arbitrary()?,
    })
}

fn endpoint(from: &mut Unstructured<'_>) -> Result<Endpoint> {
    let port = from.int_in_range(80..=82)?;
    let ipv4 = Endpoint::from_ipv4([127, 0, 0, 1], port);
    Ok(if from.ratio(3, 4)? { ipv4 } else { Endpoint { address: [1; 16], port } })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::node::seeds()
}
