//! Unknown numbers, which lead to a file or to an object at which threads wait.

use super::parts::flags_of;
use crate::descriptors::DescriptionKind;
use crate::file_kind;
use crate::membership::takes_part;
use crate::notes::uncovered;
use crate::numbers::{is_unknown, set_plain};
use crate::turn::enter;
use crate::world::World;

/// Follows a number of which nothing is known, if a thread may wait at what it leads to.
pub(super) fn follow(descriptor: i32) {
    if !is_unknown(descriptor) || !takes_part() {
        return;
    }
    if is_file(descriptor) {
        set_plain(descriptor);
    } else if let Some(mut held) = enter() {
        follow_in_turn(held.world(), descriptor);
        held.leave();
    }
}

/// Does the same as [`follow`], for an object at which threads wait.
pub(super) fn follow_in_turn(world: &mut World, descriptor: i32) {
    if !is_unknown(descriptor) {
        return;
    }
    let Some(flags) = flags_of(descriptor) else { return };
    let nonblocking = flags & libc::O_NONBLOCK != 0;
    if world.descriptors.open(descriptor, DescriptionKind::Kernel, nonblocking).is_none() {
        uncovered(world, "an object of the kernel's beyond the descriptors that are followed");
    }
}

/// Returns whether a number leads to a file or a directory: no thread waits at these. A number that
/// leads nowhere counts as a file until the kernel gives it.
fn is_file(descriptor: i32) -> bool {
    let kinds = [libc::S_IFREG, libc::S_IFDIR, libc::S_IFBLK];
    file_kind::of(descriptor).is_some_and(|kind| kinds.contains(&kind))
}
