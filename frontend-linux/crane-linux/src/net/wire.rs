//! A stream to another replica or a questioner, with TLS or, by `--insecure-peers`, without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::keys::subject::Subject;

use super::explain::explained;

/// A stream after the handshake.
pub(crate) struct Wire {
    stream: Stream,
    /// The subject of the other side's certificate; `None` without TLS.
    subject: Option<Subject>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Wraps a stream without TLS.
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), subject: None }
    }

    /// Wraps a stream whose handshake is done.
    ///
    /// # Errors
    /// Returns why the other side's certificate is not one of crane's.
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> io::Result<Self> {
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or_else(|| refused("it shows no certificate"))?;
        let subject = Some(Subject::of(shown).map_err(|why| refused(&why))?);
        Ok(Self { stream: Stream::Tls(Box::new(stream)), subject })
    }

    /// Returns whom the other side's certificate names; `None` without TLS.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Takes the stream apart: the socket, and the state of TLS.
    pub(super) fn into_parts(self) -> (TcpStream, Option<Connection>, Option<Subject>) {
        let (stream, connection) = match self.stream {
            Stream::Plain(stream) => (stream, None),
            Stream::Tls(tls) => match *tls {
                TlsStream::Client(client) => {
                    let (stream, connection) = client.into_inner();
                    (stream, Some(connection.into()))
                }
                TlsStream::Server(server) => {
                    let (stream, connection) = server.into_inner();
                    (stream, Some(connection.into()))
                }
            },
        };
        (stream, connection, self.subject)
    }

    /// Returns the socket.
    pub(super) fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_string())
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, space),
            Stream::Tls(stream) => {
                Pin::new(&mut **stream).poll_read(context, space).map_err(explained)
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
