//! Signals that tell of a descriptor's readiness (`O_ASYNC`: SIGIO, or that of `F_SETSIG`).
//!
//! For the objects that the library handles it keeps the program's wish, which the kernel never
//! hears: that would send the signal when the bytes come through its own pipe, at a time of one
//! host's. The signal is posted in the turn of the thread that writes, reads or closes, or at the
//! admission of an op. Owner and signal are the kernel's as well, which checks them.

use crane_core::execution::turn::ThreadId;
use libc::{c_int, pid_t};

use crate::descriptors::{DescriptionKind, TableEntry};
use crate::execution::On;
use crate::membership;
use crate::objects::{Notice, NoticeReason, PROCESS, THREAD, Teller};
use crate::posting::{self, Target};
use crate::processes::group_of;
use crate::signals;
use crate::world::World;

/// Returns whether the library tells of an object of this kind.
pub(crate) fn are_of(kind: DescriptionKind) -> bool {
    matches!(
        kind,
        DescriptionKind::Channel { .. }
            | DescriptionKind::Conn(_)
            | DescriptionKind::Listener(_)
            | DescriptionKind::Socket
    )
}

/// A signal that is due behind a change of a channel, whose waiters come first: a call that waits
/// for the change is answered, and not interrupted.
#[must_use]
pub(crate) struct DueNotice(Option<(TableEntry, NoticeReason)>);

impl DueNotice {
    /// Returns that of a write to the other end of a channel.
    #[inline]
    pub(crate) fn by_write(world: &World, peer: TableEntry) -> Self {
        Self::of(world, peer, |_| Some(NoticeReason::In))
    }

    /// Returns that of a read at the other end: the writers of a pipe hear of it.
    #[inline]
    pub(crate) fn by_read(world: &World, peer: TableEntry) -> Self {
        Self::of(world, peer, |teller| (teller == Teller::Writer).then_some(NoticeReason::Out))
    }

    /// Returns that of the end of the other end.
    pub(crate) fn by_close(world: &World, peer: TableEntry) -> Self {
        Self::of(world, peer, |teller| {
            Some(match teller {
                Teller::Socket => NoticeReason::HangUp,
                Teller::Reader => NoticeReason::In,
                Teller::Writer => NoticeReason::Out,
            })
        })
    }

    /// Returns that of a socket whose other end is shut down in this way (shutdown(2)).
    pub(crate) fn by_shutdown(world: &World, peer: TableEntry, how: c_int) -> Self {
        Self::of(world, peer, |_| match how {
            libc::SHUT_WR => Some(NoticeReason::In),
            libc::SHUT_RDWR => Some(NoticeReason::HangUp),
            _ => None,
        })
    }

    #[inline]
    fn of(
        world: &World,
        place: TableEntry,
        reason: impl FnOnce(Teller) -> Option<NoticeReason>,
    ) -> Self {
        let on = world.descriptors.description(place).notice.on;
        let reason = on.and_then(|(_, teller)| reason(teller).map(|reason| (teller, reason)));
        let is_heard = |(teller, reason): &(Teller, NoticeReason)| {
            *reason == NoticeReason::Out || *teller != Teller::Socket || !is_awaited(world, place)
        };
        Self(reason.filter(is_heard).map(|(_, reason)| (place, reason)))
    }

    /// Sends it.
    #[inline]
    pub(crate) fn send(self, world: &mut World) {
        if let Some((place, reason)) = self.0 {
            send_signal(world, membership::number(), place, reason);
        }
    }
}

/// Returns whether a thread waits to read at a description.
fn is_awaited(world: &World, place: TableEntry) -> bool {
    world.run.turn.waiter(On::Read(place).key(), None).is_some()
}

/// Sends the signal of a description, if its owner wishes it. `caller` is the thread whose call is
/// the reason, if one is.
// specs: S17
pub(crate) fn send_signal(
    world: &mut World,
    caller: Option<ThreadId>,
    place: TableEntry,
    reason: NoticeReason,
) {
    let Notice { on: Some((descriptor, _)), kind, owner, signal } =
        world.descriptors.description(place).notice
    else {
        return;
    };
    if owner == 0 {
        return;
    }
    let (code, band) = reason.code_and_band();
    let info = match signal {
        0 => signals::sent_by_kernel(libc::SIGIO),
        _ => signals::of_descriptor(signal, code, band, descriptor),
    };
    match kind {
        THREAD => {
            if let Some(thread) = posting::find_by_tid(world, owner) {
                posting::send_in_call(world, caller, Target::Thread(thread), &info);
            }
        }
        PROCESS => {
            if let Some(process) = world.processes.find(owner) {
                posting::send_in_call(world, caller, Target::Process(process), &info);
            }
        }
        _ => send_to_group(world, caller, owner, &info),
    }
}

/// Sends a signal to each process of a group.
fn send_to_group(
    world: &mut World,
    caller: Option<ThreadId>,
    group: pid_t,
    info: &libc::siginfo_t,
) {
    let mut next = 0;
    loop {
        let member = world
            .processes
            .running()
            .find(|(id, it)| id.0 >= next && it.number() != 0 && group_of(it.number()) == group);
        let Some(process) = member.map(|(id, _)| id) else { return };
        next = process.0 + 1;
        posting::send_in_call(world, caller, Target::Process(process), info);
    }
}
