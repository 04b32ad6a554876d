//! `O_ASYNC`, and the owners and signals of descriptors: the part of fcntl and ioctl in
//! [`crate::notices`].

use std::ffi::{c_int, c_ulong};

use crane_shm::sys;
use libc::pid_t;

use super::parts::flags_of;
use super::transfer::begin_at;
use crate::descriptors::lookup;
use crate::file_kind;
use crate::fork;
use crate::net;
use crate::notices;
use crate::objects::{GROUP, Notice, PROCESS, Teller};
use crate::turn::{Call, enter};

/// Commands of fcntl(2) for which `libc` has no names.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
/// Requests of ioctl(2).
const FIOSETOWN: c_ulong = 0x8901;
const SIOCSPGRP: c_ulong = 0x8902;

/// Returns the object that tells behind a number, if the library tells for it.
fn teller(descriptor: c_int) -> Option<Teller> {
    if !fork::take_part() {
        return None;
    }
    let place = lookup(descriptor)?;
    let mut held = enter()?;
    let is_ours = notices::are_of(held.world().descriptors.at(place).kind());
    held.leave();
    if !is_ours {
        return None;
    }
    match file_kind::of(descriptor)? {
        libc::S_IFSOCK => Some(Teller::Socket),
        libc::S_IFIFO => match flags_of(descriptor)? & libc::O_ACCMODE {
            libc::O_WRONLY => Some(Teller::Writer),
            _ => Some(Teller::Reader),
        },
        _ => None,
    }
}

/// Changes what a description wishes.
fn change(descriptor: c_int, change: impl FnOnce(&mut Notice)) {
    if let Some((mut held, place)) = begin_at(descriptor, Call::Option) {
        change(&mut held.world().descriptors.at(place).notice);
        held.end();
    }
}

/// Takes `O_ASYNC` out of flags that the program sets (`F_SETFL`), if the library tells in the
/// kernel's stead.
pub(super) fn without_async(descriptor: c_int, flags: usize) -> usize {
    const ASYNC: usize = libc::O_ASYNC as usize;
    let is_on = |held: Option<bool>| held.unwrap_or(false);
    if flags & ASYNC == 0 && !is_on(wishes(descriptor)) {
        return flags;
    }
    let Some(teller) = teller(descriptor) else { return flags };
    let on = (flags & ASYNC != 0).then_some((descriptor, teller));
    change(descriptor, |notice| turn(notice, on));
    flags & !ASYNC
}

/// Turns the wish on or off. One that is on keeps the number by which it was turned on.
fn turn(notice: &mut Notice, on: Option<(c_int, Teller)>) {
    notice.on = match (notice.on, on) {
        (Some(before), Some(_)) => Some(before),
        (_, on) => on,
    };
}

/// Returns whether a description wishes signals.
fn wishes(descriptor: c_int) -> Option<bool> {
    let place = lookup(descriptor)?;
    let mut held = enter()?;
    let is_on = held.world().descriptors.at(place).notice.on.is_some();
    held.leave();
    Some(is_on)
}

/// Adds `O_ASYNC` to flags that the program reads (`F_GETFL`).
pub(super) fn with_async(descriptor: c_int, flags: usize) -> usize {
    let is_on = wishes(descriptor) == Some(true);
    if is_on { flags | libc::O_ASYNC as usize } else { flags }
}

/// Records the owner or the signal that a command of fcntl(2) has set.
pub(super) fn on_command(descriptor: c_int, command: c_int, argument: usize) {
    if teller(descriptor).is_none() {
        return;
    }
    match command {
        libc::F_SETOWN => set_owner(descriptor, argument as c_int),
        F_SETOWN_EX => {
            if let Some([kind, owner]) = net::read::<[c_int; 2]>(argument) {
                change(descriptor, |notice| (notice.kind, notice.owner) = (kind, owner));
            }
        }
        F_SETSIG => change(descriptor, |notice| notice.signal = argument as c_int),
        _ => {}
    }
}

/// Records an owner: a process, or a group as a number below zero.
fn set_owner(descriptor: c_int, owner: pid_t) {
    let kind = if owner < 0 { GROUP } else { PROCESS };
    let owner = owner.checked_abs().unwrap_or(0);
    change(descriptor, |notice| (notice.kind, notice.owner) = (kind, owner));
}

/// Answers ioctl(2) if it is about this, or returns `None` if the real call is due.
pub(super) fn control(
    descriptor: c_int,
    request: c_ulong,
    argument: usize,
) -> Option<Result<usize, c_int>> {
    if ![libc::FIOASYNC, FIOSETOWN, SIOCSPGRP].contains(&request) {
        return None;
    }
    let teller = teller(descriptor)?;
    let Some(value) = net::read::<c_int>(argument) else { return Some(Err(libc::EFAULT)) };
    if request == libc::FIOASYNC {
        let on = (value != 0).then_some((descriptor, teller));
        change(descriptor, |notice| turn(notice, on));
        return Some(Ok(0));
    }
    if teller != Teller::Socket {
        return None;
    }
    let arguments = [descriptor as usize, request as usize, argument, 0, 0, 0];
    // SAFETY: the kernel reads an int, which was there.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_ioctl, arguments) });
    if result.is_ok() {
        set_owner(descriptor, value);
    }
    Some(result)
}
