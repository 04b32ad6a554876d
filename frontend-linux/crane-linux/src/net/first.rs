//! The first frames of a connection: a hello, or a question.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{self, Decoder, FrameKind};
use super::handshake::Hello;
use super::query::{FIRST_FRAME_WITHIN, Query};
use super::wire::Wire;

const READ_BYTES: usize = 16 * 1024;

/// Sends this replica's hello.
///
/// # Errors
/// Returns the stream's error, or why the hello does not fit into a frame.
pub(super) async fn send_hello(wire: &mut Wire, hello: &Hello) -> io::Result<()> {
    let text = postcard::to_allocvec(hello).map_err(io::Error::other)?;
    if text.len() >= frame::BODY_BYTES_MAX {
        return Err(invalid(
            "the base has too many parts for a hello; keep fewer files below the working directory",
        ));
    }
    let mut space = Vec::new();
    frame::encode(FrameKind::Hello, &[&text], &mut space);
    wire.write_all(&space).await?;
    wire.flush().await
}

/// Reads the first frame, and returns the bytes after it as well. `None` if the stream was closed
/// without a byte. The caller limits the time.
///
/// # Errors
/// Returns the stream's error, or `InvalidData` if the bytes are no frame.
pub(super) async fn first_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<Option<(FrameKind, Vec<u8>, Decoder)>> {
    let mut decoder = Decoder::default();
    let mut space = vec![0; READ_BYTES];
    let mut any = false;
    loop {
        if let Some((kind, body)) = decoder.take().map_err(|error| invalid(&error))? {
            let body = body.to_vec();
            return Ok(Some((kind, body, decoder)));
        }
        match stream.read(&mut space).await? {
            0 if any => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(None),
            length => decoder.feed(&space[..length]),
        }
        any = true;
    }
}

/// Reads a question from a stream of any kind, as its first frame.
///
/// # Errors
/// Returns the stream's error, `TimedOut`, or `InvalidData` if the bytes are no question.
pub async fn question<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Query> {
    match timeout(FIRST_FRAME_WITHIN, first_frame(stream)).await?? {
        Some((FrameKind::Query, body, _)) => read_question(&body),
        Some(_) => Err(invalid("its first frame is not a question")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads the body of a question.
///
/// # Errors
/// Returns `InvalidData` if the bytes are malformed. It never panics.
pub(super) fn read_question(body: &[u8]) -> io::Result<Query> {
    match postcard::take_from_bytes(body) {
        Ok((query, [])) => Ok(query),
        _ => Err(invalid("malformed question")),
    }
}

/// Reads the body of a hello.
///
/// # Errors
/// Returns `InvalidData` if the bytes are malformed. It never panics.
pub fn read_hello(body: &[u8]) -> io::Result<Hello> {
    postcard::from_bytes(body)
        .map_err(|_| invalid("malformed hello; use the same version of crane-linux everywhere"))
}

/// Returns an error for bytes that do not belong here.
pub(super) fn invalid(why: &(impl std::fmt::Display + ?Sized)) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
