//! The way back from the hold point: a held server gets its region and its wake pipe at a socket in
//! its own network namespace, which no file system and no process number leads to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crane_shm::HOLD_SOCKET;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::IoSlice;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, sendmsg, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Gives the server in the network namespace of a process the two descriptors. Waits until it asks,
/// at most for `limit`.
///
/// # Errors
/// Returns what the system refused, or that the server has not asked.
pub(super) fn attach(
    process: u32,
    descriptors: [OwnedFd; 2],
    limit: Duration,
) -> Result<(), String> {
    // A thread of its own ends in the other namespace, and touches no other.
    let thread = std::thread::spawn(move || give(process, &descriptors, limit));
    match thread.join() {
        Ok(outcome) => outcome.map_err(|error| format!("the held server gets no memory: {error}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn give(process: u32, descriptors: &[OwnedFd; 2], limit: Duration) -> io::Result<()> {
    let space = File::open(format!("/proc/{process}/ns/net"))?;
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
    let kind = SocketType::SEQPACKET;
    let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrUnix::new_abstract_name(HOLD_SOCKET)?)?;
    listen(&listener, 1)?;
    let limit =
        Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    if poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&limit))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it has not asked in time"));
    }
    let asking = accept(&listener)?;
    let given = descriptors.each_ref().map(AsFd::as_fd);
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&given)), "the space is for two");
    sendmsg(&asking, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
