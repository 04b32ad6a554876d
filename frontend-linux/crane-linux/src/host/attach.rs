//! The way back from the hold point: a held server gets its region and its wake pipe at a socket in
//! its own network namespace, which no file system and no process number leads to.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crane_shm::{HOLD_SOCKET, SERVICE_PLACE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::IoSlice;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, recv, sendmsg, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cell::unwatch::children_of;

/// Gives the server in the network namespace of a process the two descriptors, and the memory that
/// its processes share. Waits until it asks,
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
    let [region, wake] = descriptors.each_ref().map(AsFd::as_fd);
    let service = shared_memory(process)?;
    let descriptors = [region, wake, service.as_fd()];
    let kind = SocketType::SEQPACKET;
    let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrUnix::new_abstract_name(HOLD_SOCKET)?)?;
    listen(&listener, 64)?;
    // The first process says how many others there are.
    let mut left = 1;
    let mut is_first = true;
    while left > 0 {
        let others = give_one(&listener, &descriptors, limit)?;
        left = if is_first { others } else { left - 1 };
        is_first = false;
    }
    Ok(())
}

/// Opens the memory that the processes of a server share, as one of those below `process` has it
/// mapped.
fn shared_memory(process: u32) -> io::Result<File> {
    let start = format!("{SERVICE_PLACE:x}-");
    let mut left = vec![process];
    while let Some(process) = left.pop() {
        left.extend(children_of(process));
        let mut mappings = fs::read_dir(format!("/proc/{process}/map_files"))?.flatten();
        if let Some(found) =
            mappings.find(|item| item.file_name().to_string_lossy().starts_with(&start))
        {
            return File::options().read(true).write(true).open(found.path());
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no process has the memory that they share"))
}

/// Gives the descriptors to one process, and returns how many it says will ask behind it.
fn give_one(
    listener: &OwnedFd,
    descriptors: &[BorrowedFd<'_>; 3],
    limit: Duration,
) -> io::Result<u32> {
    let limit =
        Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: limit.subsec_nanos().into() };
    let await_readable =
        |socket: &OwnedFd| match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "it has not asked in time")),
            _ => Ok(()),
        };
    await_readable(listener)?;
    let asking = accept(listener)?;
    await_readable(&asking)?;
    let mut others = [0; 4];
    rustix::io::retry_on_intr(|| recv(&asking, &mut others, RecvFlags::empty()))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "the space is for three");
    sendmsg(&asking, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(u32::from_le_bytes(others))
}
