//! read of a timerfd, which returns how often the timer has expired.

use std::ffi::c_int;

use libc::iovec;

use super::parts::{give, length};
use crate::descriptors::TableEntry;
use crate::expirations;
use crate::world::World;

/// The size of a count in bytes.
const COUNT: usize = size_of::<u64>();

/// Reads the count of expirations since the last read, as read(2) at a timerfd does.
pub(super) fn read(world: &mut World, place: TableEntry, spaces: &[iovec]) -> Result<usize, c_int> {
    if length(spaces) < COUNT {
        return Err(libc::EINVAL);
    }
    expirations::expire(world);
    let count = std::mem::take(&mut world.descriptors.at(place).expirations);
    if count == 0 {
        return Err(libc::EAGAIN);
    }
    give(spaces, &count.to_ne_bytes());
    Ok(COUNT)
}
