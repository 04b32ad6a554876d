//! Questions about a replica's state, and orders: one question, one answer in JSON, by the peer
//! port or the control socket.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{self, Decoder, FrameKind};

/// The time limit for an answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The time limit for a connection's first frame.
pub(crate) const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);

/// A question, or an order for the primary. The answer to an order is an object. Its `error`, if
/// present, says why the order was not carried out, and `retry` whether it is worth repeating.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Asks for the state of the replica, as JSON.
    Status {
        /// The slot at which hashes are wanted; 0 for none.
        hash_slot: u64,
    },
    /// Transfers the primary's role to a member.
    Move {
        /// The member's number.
        to: u8,
    },
    /// Adds a new member as a learner. The answer has its `id`.
    Add {
        /// The new member's address.
        address: String,
        /// Whether the new member keeps the log and runs no server.
        witness: bool,
    },
    /// Turns a learner into a voter.
    Promote {
        /// The member's number.
        node: u8,
    },
    /// Takes a checkpoint of the replica's server. `status` shows the outcome.
    Checkpoint,
    /// Removes a member.
    Remove {
        /// The member's number.
        node: u8,
        /// Whether its data is lost.
        lost: bool,
    },
    /// Restarts the server on all replicas. The answer has the `incarnation` that begins.
    Restart,
    /// Sends the server's program a signal, on all replicas. The answer has the `slot` of its op.
    Signal {
        /// The signal's number.
        number: u8,
    },
    /// Has the replica look at the base of another program of the server.
    Look {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Asks what the replica has found of the last such program. The answer has its `command`, and
    /// its `base` or how that has `failed`, once the replica has looked.
    Seen,
    /// Restarts the server with another program, which the replica has looked at. The answer has
    /// the `incarnation` that begins.
    Upgrade {
        /// The program and its arguments.
        command: Vec<String>,
        /// The digest of its base.
        base: [u8; 32],
    },
}

/// Sends a question by a new stream, and returns the answer.
///
/// # Errors
/// Returns the stream's error, `TimedOut`, or `InvalidData` if the answer is malformed.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    query: Query,
) -> io::Result<serde_json::Value> {
    timeout(ANSWER_WITHIN, ask_patiently(stream, query)).await?
}

async fn ask_patiently<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    query: Query,
) -> io::Result<serde_json::Value> {
    let question = postcard::to_allocvec(&query).map_err(io::Error::other)?;
    let mut space = Vec::new();
    frame::encode(FrameKind::Query, &[&question], &mut space);
    stream.write_all(&space).await?;
    let mut decoder = Decoder::default();
    let mut space = vec![0; 64 * 1024];
    loop {
        let invalid = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        };
        if let Some((kind, body)) = decoder.take().map_err(|error| invalid(&error))? {
            if kind != FrameKind::Answer {
                return Err(invalid(&"the replica closed the connection without an answer"));
            }
            return serde_json::from_slice(body).map_err(|error| invalid(&error));
        }
        let length = stream.read(&mut space).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.feed(&space[..length]);
    }
}
