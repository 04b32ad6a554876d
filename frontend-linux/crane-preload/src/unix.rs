//! The Unix sockets by which the server listens at a path.
//!
//! The kernel's socket is bound and listens in the cell, so that path, names and errors are as
//! without us, and threads of the server connect to it as before. Clients from outside come by the
//! script: to them a listener is a number, which is equal on all replicas because calls are in one
//! order; the path stays here and with the daemon.

use crane_core::wire::Endpoint;
use libc::{sockaddr, socklen_t};

/// Names that are kept: those of all listeners, and of as many that listen no more.
const NAMES: usize = 128;

/// The place of the path in a `sockaddr_un`.
pub(crate) const PATH_AT: usize = size_of::<libc::sa_family_t>();

/// The name of a bound socket, as the kernel gives it.
#[derive(Clone, Copy)]
pub(crate) struct UnixName {
    address: [u8; size_of::<libc::sockaddr_un>()],
    length: usize,
}

impl UnixName {
    /// The name of a socket without one.
    pub(crate) const NONE: Self = {
        let mut address = [0; size_of::<libc::sockaddr_un>()];
        [address[0], address[1]] = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
        Self { address, length: PATH_AT }
    };

    /// Reads the name that the kernel has for a socket.
    pub(crate) fn of(
        ask: impl FnOnce(*mut sockaddr, *mut socklen_t) -> Result<usize, i32>,
    ) -> Result<Self, i32> {
        let mut name = Self::NONE;
        let mut length = name.address.len() as socklen_t;
        ask(name.address.as_mut_ptr().cast(), &raw mut length)?;
        // The zero byte behind a longest path is counted as well.
        name.length = (length as usize).clamp(PATH_AT, name.address.len());
        Ok(name)
    }

    /// The whole address.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.address[..self.length]
    }

    /// The path; `None` for an abstract name, or none.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        let path = self.bytes()[PATH_AT..].split(|byte| *byte == 0).next()?;
        (!path.is_empty()).then_some(path)
    }
}

/// A bound socket.
#[derive(Clone, Copy)]
struct UnixSocket {
    /// 0: a free place.
    number: u64,
    name: UnixName,
    /// It is a listener: its name is kept.
    listens: bool,
}

/// The bound sockets, and the last of those before.
pub(crate) struct UnixSockets {
    /// The number of the socket that was bound last.
    pub last: u64,
    sockets: [UnixSocket; NAMES],
}

impl UnixSockets {
    /// None yet.
    pub(crate) const fn new() -> Self {
        let free = UnixSocket { number: 0, name: UnixName::NONE, listens: false };
        Self { last: 0, sockets: [free; NAMES] }
    }

    /// Notes that a socket was bound, and returns its end. The oldest name of those that do not
    /// listen is forgotten where no place is left.
    // specs: E11
    pub(crate) fn bind(&mut self, name: UnixName) -> Endpoint {
        self.last += 1;
        let idle = self.sockets.iter_mut().filter(|socket| !socket.listens);
        let oldest = idle.min_by_key(|socket| socket.number).expect("fewer listeners than names");
        *oldest = UnixSocket { number: self.last, name, listens: false };
        Endpoint::from_unix_listener(self.last)
    }

    /// Notes whether a socket listens.
    pub(crate) fn set_listening(&mut self, at: &Endpoint, listens: bool) {
        if let Some(socket) =
            self.sockets.iter_mut().find(|socket| at.is_unix_number(socket.number))
        {
            socket.listens = listens;
        }
    }

    /// Returns the name of a socket, unless it was forgotten.
    pub(crate) fn name(&self, at: &Endpoint) -> Option<&UnixName> {
        self.sockets.iter().find(|socket| at.is_unix_number(socket.number)).map(|it| &it.name)
    }
}

const _: () = assert!(NAMES > crate::capacities::LISTENERS);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &[u8]) -> UnixName {
        UnixName::of(|address, length| {
            // SAFETY: room for a `sockaddr_un`, and its length.
            unsafe {
                address.cast::<u8>().add(PATH_AT).copy_from(path.as_ptr(), path.len());
                *length = (PATH_AT + path.len() + 1) as socklen_t;
            }
            Ok(0)
        })
        .unwrap()
    }

    #[test]
    fn a_path_ends_at_its_zero_byte_and_an_abstract_name_has_none() {
        assert_eq!(name(b"/run/a").path(), Some(&b"/run/a"[..]));
        assert_eq!((name(b"\0a").path(), UnixName::NONE.path()), (None, None));
        assert_eq!(UnixName::NONE.bytes(), (libc::AF_UNIX as u16).to_ne_bytes());
    }

    #[test]
    fn a_path_that_is_bound_again_is_another_socket() {
        let mut sockets = UnixSockets { last: 7, ..UnixSockets::new() };
        let ends = [(); 2].map(|()| sockets.bind(name(b"a")));
        assert_eq!(ends, [8, 9].map(Endpoint::from_unix_listener));
        let paths = ends.map(|end| sockets.name(&end).and_then(UnixName::path));
        assert_eq!(paths, [Some(&b"a"[..]); 2]);
    }

    #[test]
    fn names_of_listeners_are_never_forgotten() {
        let mut sockets = UnixSockets::new();
        let first = sockets.bind(name(b"first"));
        sockets.set_listening(&first, true);
        let second = sockets.bind(name(b"second"));
        for _ in 0..NAMES {
            sockets.bind(name(b"more"));
        }
        assert!(sockets.name(&first).is_some() && sockets.name(&second).is_none());
    }
}
