//! Reading from a socket that never waits.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads the bytes that have arrived. Returns `None` if there are none, 0 at the end of the stream.
///
/// A read that leaves room in `space` has emptied the socket, so the stream counts as not readable
/// from then on, without the second read that would only say so. (The runtime watches sockets
/// edge-triggered: bytes that come later, and the end of the stream, raise a new event; epoll(7).)
///
/// # Errors
/// Returns the stream's error.
pub(crate) fn read_available(stream: &TcpStream, space: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.try_read(space) {
        Ok(length) => {
            if length > 0 && length < space.len() {
                let emptied = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = stream.try_io(Interest::READABLE, emptied);
            }
            Ok(Some(length))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    async fn is_readable(stream: &TcpStream) -> bool {
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, stream.readable()).await.is_ok()
    }

    #[test]
    fn a_short_read_ends_readiness_until_more_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, far) = pair().await;
            far.try_write(b"12345").unwrap();
            near.readable().await.unwrap();
            let mut space = [0; 4];
            // A full read does not show whether bytes are left.
            assert_eq!(read_available(&near, &mut space).unwrap(), Some(4));
            assert!(is_readable(&near).await);
            assert_eq!(read_available(&near, &mut space).unwrap(), Some(1));
            assert!(!is_readable(&near).await, "an emptied stream counts as readable");
            far.try_write(b"6").unwrap();
            assert!(is_readable(&near).await);
            assert_eq!(read_available(&near, &mut space).unwrap(), Some(1));
            drop(far);
            assert!(is_readable(&near).await, "the end of the stream is missed");
            assert_eq!(read_available(&near, &mut space).unwrap(), Some(0));
        });
    }
}
