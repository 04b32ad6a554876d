//! Asking a replica for its state, or for a favour: one question, one answer in JSON, by its peer
//! port or its control socket.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{self, Decoder, FrameKind};

/// How long an answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a stranger may take for its first frame.
pub const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);

/// A question, or an order for the primary. The answer to an order is an object; its `error`, if
/// there is one, says why nothing was done, and `retry` whether that may be otherwise soon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The state of the replica, as JSON.
    Status {
        /// With the hashes at this slot; 0: without.
        hash_slot: u64,
    },
    /// Hand the role of the primary to the member of this number.
    Move {
        /// The number.
        to: u8,
    },
    /// Take a new member in, as a learner. The answer has its `id`.
    Add {
        /// Where it will be reached.
        address: String,
        /// Whether it is to keep the log only, and to run no server.
        witness: bool,
    },
    /// Make a voter of the learner of this number.
    Promote {
        /// The number.
        node: u8,
    },
    /// Let the member of this number go.
    Remove {
        /// The number.
        node: u8,
    },
}

/// Asks by a stream that has just been opened.
///
/// # Errors
/// The stream's, or `TimedOut`, or `InvalidData` for an answer that is none.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
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
                return Err(invalid(&"it does not answer"));
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
