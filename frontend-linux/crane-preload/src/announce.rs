//! Reports about the server to the daemon, when they change and when another daemon has to know.

use crane_core::execution::socket::Bound;
use crane_shm::sys;

use crate::unix::UnixName;
use crate::world::World;

/// The longest path of a working directory.
const DIRECTORY_BYTES: usize = libc::PATH_MAX as usize;

/// Reports that the server listens: a Unix socket with its path, from the root.
pub(crate) fn listener(world: &mut World, bound: &Bound) {
    if !bound.at.is_unix() {
        return world.output.listen(bound, &[]);
    }
    let mut path = [0; DIRECTORY_BYTES + size_of::<libc::sockaddr_un>()];
    let mut length = 0;
    let given = world.unix.name(&bound.at).and_then(UnixName::path).unwrap_or_default();
    if !given.starts_with(b"/") {
        let place = [path.as_mut_ptr() as usize, DIRECTORY_BYTES, 0, 0, 0, 0];
        // SAFETY: a place of this length.
        let asked = sys::checked(unsafe { sys::syscall(libc::SYS_getcwd, place) });
        // The zero byte at its end is counted.
        length = asked.unwrap_or(1).saturating_sub(1);
        path[length] = b'/';
        length += 1;
    }
    path[length..length + given.len()].copy_from_slice(given);
    world.output.listen(bound, &path[..length + given.len()]);
}

/// Publishes the first deadline and the number of connections.
pub(crate) fn totals(world: &mut World) {
    let region = world.region;
    region.set_deadline(world.run.turn.first_deadline());
    region.set_connections(world.run.sockets.open() as u64);
}
