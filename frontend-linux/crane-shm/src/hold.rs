//! The hold point: a server stops behind a slot, leaves the region, and takes one again.
//!
//! A process image is taken of a server that has left its region, so that no image contains the
//! rings. The server asks for a region again at a socket in its network namespace, named
//! [`HOLD_SOCKET`]; it gets the one that it left, or that of another daemon, if it was restored
//! from its image meanwhile. It answers by the nonce of that region.

use core::sync::atomic::Ordering;

use rustix::fd::BorrowedFd;

use crate::{DaemonSide, ServerSide};

/// The abstract name of the socket (unix(7)) at which the processes of a held server ask for their
/// region. Each says in 4 bytes, the lowest first, how many will ask behind it. One message with
/// three descriptors answers: the region, the wake pipe, and the memory that the processes share.
pub const HOLD_SOCKET: &[u8] = b"crane-hold";

/// The address of the region in every process of the server.
pub const REGION_PLACE: usize = 0x29f0_0000_0000;

/// The address of the memory that the server's processes share, in each of them. No program or
/// library is loaded there, and no language that is known reserves the place for itself. An image
/// has the memory, but no descriptor of it: CRIU has no room for one beyond the program's limit.
pub const SERVICE_PLACE: usize = 0x2a00_0000_0000;

impl DaemonSide {
    /// Lets the server stop behind `slot`, or behind the last one that it has consumed if that is a
    /// later one. 0: it shall not stop.
    pub fn hold_behind(self, slot: u64) {
        self.0.region().hold_at.store(slot, Ordering::SeqCst);
        self.ring_script();
    }

    /// Returns the slot behind which the server has stopped, if it has.
    pub fn held(self) -> Option<u64> {
        Some(self.0.region().held.load(Ordering::SeqCst)).filter(|slot| *slot != 0)
    }

    /// Sets the nonce that a server must answer which takes this region. Call it before the server
    /// can.
    pub fn set_nonce(self, nonce: u64) {
        self.0.region().nonce.store(nonce, Ordering::SeqCst);
    }

    /// Returns the server's answer.
    pub fn echo(self) -> u64 {
        self.0.region().echo.load(Ordering::SeqCst)
    }
}

impl ServerSide {
    /// Returns whether the server has to stop behind the last slot that it has consumed.
    #[inline]
    pub fn must_hold(self) -> bool {
        let at = self.0.region().hold_at.load(Ordering::Relaxed);
        at != 0 && self.admitted() >= at
    }

    /// Publishes the logical clock, which a region that was never used does not have.
    pub fn set_clock(self, clock: u64) {
        self.0.region().clock.store(clock, Ordering::Release);
    }

    /// Publishes the slot behind which the server has stopped.
    pub fn set_held(self, slot: u64) {
        self.0.region().held.store(slot, Ordering::SeqCst);
    }

    /// Returns the last slot that the server has published as consumed.
    pub fn admitted(self) -> u64 {
        self.0.region().admitted.load(Ordering::SeqCst)
    }

    /// Leaves the region: until [`ServerSide::take`], nothing that is written here reaches the
    /// daemon, and nothing of it is kept.
    ///
    /// # Errors
    /// Returns the kernel's error number.
    ///
    /// # Safety
    /// All other threads of this process that may use the region are stopped.
    pub unsafe fn leave(self) -> Result<(), i32> {
        // SAFETY: the caller's duty.
        unsafe { self.0.leave_file() }
    }

    /// Takes a region in the place of the one that was left, and answers its nonce.
    ///
    /// # Errors
    /// Returns the error number of what the kernel refused; `EPROTO` for a file of another layout,
    /// or one that is not sealed.
    ///
    /// # Safety
    /// As for [`ServerSide::leave`].
    pub unsafe fn take(self, file: BorrowedFd<'_>) -> Result<(), i32> {
        // SAFETY: the caller's duty.
        unsafe { self.0.take_file(file)? };
        let region = self.0.region();
        region.held.store(0, Ordering::SeqCst);
        region.hold_at.store(0, Ordering::SeqCst);
        region.echo.store(region.nonce.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fd::AsFd;

    use super::*;

    #[test]
    fn a_server_leaves_its_region_and_takes_another() {
        let (daemon, file) = DaemonSide::create(3, 9).unwrap();
        let server = ServerSide::open(file.as_fd()).unwrap();
        server.set_admitted(6);
        daemon.hold_behind(7);
        assert!(!server.must_hold());
        server.set_admitted(8);
        assert!(server.must_hold());
        server.set_held(8);
        assert_eq!(daemon.held(), Some(8));
        // SAFETY: this test has one thread that uses the region.
        unsafe { server.leave() }.unwrap();
        server.set_admitted(99);
        assert_eq!((daemon.admitted(), server.node()), (8, 0));
        // SAFETY: as above.
        unsafe { server.take(file.as_fd()) }.unwrap();
        assert_eq!((server.admitted(), server.node(), daemon.held()), (8, 3, None));
        let (other, other_file) = DaemonSide::create(4, 9).unwrap();
        other.set_nonce(77);
        // SAFETY: as above.
        unsafe { server.leave() }.unwrap();
        // SAFETY: as above.
        unsafe { server.take(other_file.as_fd()) }.unwrap();
        server.set_admitted(9);
        assert_eq!((other.admitted(), other.echo(), daemon.admitted()), (9, 77, 8));
        let unsealed = rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { server.take(unsealed.as_fd()) }, Err(libc::EPROTO));
    }
}
