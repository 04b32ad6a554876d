//! Where clients of this host come in by Unix sockets: the server's `PATH` is `sockets/PATH` in the
//! data directory.
//!
//! A socket there has the mode and the owner of the server's own, which lies in the cell and may
//! get them after it listens. It is taken away when the server unlinks or replaces its own.
//!
//! The files are the disk's, which may hang, so other threads make and watch them, one after the
//! other. A socket accepts no client any more as soon as it is to close.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crane_core::wire::Endpoint;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chmodat, chownat, fstat,
    openat2, renameat, statat, unlinkat,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::sleep;
use tracing::info;

use crate::driver::DriverInput;
use crate::net::control::path_in;
use crate::proxy::{self, ClientEvents, UnixClientListener};

use super::{HostOutcome, Outcomes};

/// How often the server's own socket is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest path that a client can connect to directly (unix(7)).
const PATH_BYTES_MAX: usize = 107;
/// The bits of a mode that say who may connect.
const MODE_BITS: u32 = 0o777;
/// A name under which a socket is bound before it has the path's place.
const NEW: &str = ".crane-new";

/// The sockets for clients, by the ends of the server's.
pub(super) struct UnixListeners {
    /// `sockets` in the data directory.
    directory: PathBuf,
    /// The working directory of a server without namespaces, which has a copy of its own.
    copy: PathBuf,
    wanted: Wanted,
    last_number: u64,
    orders: UnboundedSender<Order>,
}

/// The sockets that are to be open, with the numbers of their orders; those that are.
type Wanted = Rc<RefCell<BTreeMap<Endpoint, (u64, Option<PublicListener>)>>>;

/// An order to the task that makes sockets and takes them away.
enum Order {
    Open {
        at: Endpoint,
        number: u64,
        place: PathBuf,
        /// The path in the cell of the process.
        path: PathBuf,
        process: Option<u32>,
    },
    Remove(Arc<PublicSocket>),
}

impl UnixListeners {
    /// None, of a replica with this data directory. Removes what a former daemon left.
    pub(super) fn new(data: &Path, events: Rc<ClientEvents>, outcomes: Outcomes) -> Self {
        let directory = data.join("sockets");
        // A socket that is left refuses connections, and gives way when the server listens there.
        let _ = std::fs::remove_dir_all(&directory);
        let (orders, received) = unbounded_channel();
        let wanted = Wanted::default();
        spawn_local(carry_out(received, wanted.clone(), events, outcomes));
        Self { directory, copy: data.join("copy"), wanted, last_number: 0, orders }
    }

    /// Lets clients connect to `path`, as it is seen in the cell of `process`, from soon on. If
    /// that is not possible, [`DriverInput::Failed`] says why, with the remedy.
    pub(super) fn open(&mut self, at: Endpoint, path: &Path, process: Option<u32>) {
        self.close(&at);
        self.last_number += 1;
        let (number, path) = (self.last_number, path.to_path_buf());
        let place = place_of(&self.directory, path.strip_prefix(&self.copy).unwrap_or(&path));
        self.wanted.borrow_mut().insert(at, (number, None));
        let _ = self.orders.send(Order::Open { at, number, place, path, process });
    }

    /// Lets no more clients connect. Connections stay.
    pub(super) fn close(&mut self, at: &Endpoint) {
        if let Some((_, Some(open))) = self.wanted.borrow_mut().remove(at) {
            let _ = self.orders.send(Order::Remove(open.socket.clone()));
        }
    }
}

impl Drop for UnixListeners {
    fn drop(&mut self) {
        // The task holds them as well, and gets no more orders.
        self.wanted.borrow_mut().clear();
    }
}

/// Carries out orders one after the other: a later socket takes the place of an earlier one.
async fn carry_out(
    mut orders: UnboundedReceiver<Order>,
    wanted: Wanted,
    events: Rc<ClientEvents>,
    outcomes: Outcomes,
) {
    while let Some(order) = orders.recv().await {
        let (at, number, place, path, process) = match order {
            Order::Open { at, number, place, path, process } => (at, number, place, path, process),
            Order::Remove(socket) => {
                let _ = spawn_blocking(move || drop(socket)).await;
                continue;
            }
        };
        let (public, inside) = (place.clone(), path.clone());
        let binding = spawn_blocking(move || PublicSocket::bind(&public, &inside, process));
        let bound = binding.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let is_wanted = wanted.borrow().get(&at).is_some_and(|(last, _)| *last == number);
        if !is_wanted {
            let _ = spawn_blocking(move || drop(bound)).await;
            continue;
        }
        match bound
            .and_then(|(socket, listener)| PublicListener::new(socket, listener, at, &events))
        {
            Ok(open) => {
                say_where(&path, &place);
                wanted.borrow_mut().insert(at, (number, Some(open)));
            }
            Err(error) => {
                let why = format!(
                    "{}, where the clients of the server's socket {} connect, cannot be opened: \
                     {error}; give the server another path, or the replica another --data-dir",
                    place.display(),
                    path.display()
                );
                let _ = outcomes.send(HostOutcome::Input(DriverInput::Failed(why)));
            }
        }
    }
}

fn say_where(path: &Path, place: &Path) {
    let length = place.as_os_str().len();
    let by_link = match length > PATH_BYTES_MAX {
        true => format!(
            "; that path has {length} bytes, and a client may give {PATH_BYTES_MAX}: let it \
             connect by a symbolic link with a shorter one"
        ),
        false => String::new(),
    };
    let (path, place) = (path.display(), place.display());
    info!("clients of the server's socket {path} connect to {place}{by_link}");
}

/// A socket by which clients come in, and the task that lets it follow the server's.
struct PublicListener {
    socket: Arc<PublicSocket>,
    following: JoinHandle<()>,
    _listener: UnixClientListener,
}

impl PublicListener {
    fn new(
        socket: PublicSocket,
        listener: std::os::unix::net::UnixListener,
        at: Endpoint,
        events: &Rc<ClientEvents>,
    ) -> io::Result<Self> {
        let _listener = proxy::listen_unix(listener, at, events)?;
        let socket = Arc::new(socket);
        let followed = Arc::downgrade(&socket);
        let following = spawn_local(async move {
            loop {
                sleep(LOOK_EVERY).await;
                let Some(followed) = followed.upgrade() else { return };
                // The next look waits for a disk that hangs.
                let _ = spawn_blocking(move || followed.follow()).await;
            }
        });
        Ok(Self { socket, following, _listener })
    }
}

impl Drop for PublicListener {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Returns the place of a socket below `directory`; no path leads out of it.
fn place_of(directory: &Path, path: &Path) -> PathBuf {
    let mut names: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    directory.join(names.into_iter().collect::<PathBuf>())
}

/// A socket of this host that stands for one in the cell. Dropped: it is taken away.
struct PublicSocket {
    directory: File,
    name: OsString,
    own: (u64, u64),
    /// The root of the cell, the path there, and which socket that was at first.
    cell: Option<(File, PathBuf, (u64, u64))>,
}

impl PublicSocket {
    fn bind(
        place: &Path,
        path: &Path,
        process: Option<u32>,
    ) -> io::Result<(Self, std::os::unix::net::UnixListener)> {
        let (parent, name) = (place.parent(), place.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        std::fs::create_dir_all(parent)?;
        let directory = File::open(parent)?;
        // A longer path could not be bound, and a socket that clients find is ready for them.
        let new = path_in(&directory, NEW);
        match unlinkat(&directory, NEW, AtFlags::empty()) {
            Err(error) if error != rustix::io::Errno::NOENT => return Err(error.into()),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(&new)?;
        listener.set_nonblocking(true)?;
        let own = identity(&statat(&directory, NEW, AtFlags::SYMLINK_NOFOLLOW)?);
        let root = process.and_then(|process| File::open(format!("/proc/{process}/root")).ok());
        let cell = root.and_then(|root| {
            let stat = stat_in(&root, path)?;
            Some((root, path.to_path_buf(), identity(&stat)))
        });
        let mut socket = Self { directory, name: NEW.into(), own, cell };
        socket.follow();
        renameat(&socket.directory, NEW, &socket.directory, name)?;
        socket.name = name.to_os_string();
        Ok((socket, listener))
    }

    /// Brings mode and owner up to date; takes the socket away when the server's own is gone.
    fn follow(&self) {
        let Some((root, path, first)) = &self.cell else { return };
        let Some(now) = self.stat() else { return };
        let Some(wanted) = stat_in(root, path).filter(|stat| identity(stat) == *first) else {
            return self.remove();
        };
        let none = AtFlags::empty();
        let (user, group) = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
        // The next look tries again what fails.
        if (now.st_uid, now.st_gid) != (wanted.st_uid, wanted.st_gid) {
            let _ = chownat(&self.directory, &self.name, Some(user), Some(group), none);
        }
        if now.st_mode != wanted.st_mode {
            let mode = Mode::from_raw_mode(wanted.st_mode & MODE_BITS);
            let _ = chmodat(&self.directory, &self.name, mode, none);
        }
    }

    /// Looks at the socket; `None` if the path leads to one that came later, or to none.
    fn stat(&self) -> Option<Stat> {
        let found = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (identity(&found) == self.own).then_some(found)
    }

    fn remove(&self) {
        if self.stat().is_some() {
            // A name that is left refuses connections.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl Drop for PublicSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Tells one file from others.
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Looks at a socket in the cell, whose symbolic links lead nowhere else.
fn stat_in(root: &File, path: &Path) -> Option<Stat> {
    let (flags, resolve) =
        (OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, ResolveFlags::IN_ROOT);
    let found = openat2(root, path.as_os_str().as_bytes(), flags, Mode::empty(), resolve).ok()?;
    let stat = fstat(&found).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use tokio::task::yield_now;

    #[test]
    fn no_path_leads_out_of_the_directory() {
        let place = |path: &str| place_of(Path::new("/d/sockets"), Path::new(path));
        assert_eq!(place("/run/a.sock"), Path::new("/d/sockets/run/a.sock"));
        assert_eq!(place("/run/../../../etc/./b"), Path::new("/d/sockets/etc/b"));
    }

    #[test]
    fn a_public_socket_has_the_mode_of_the_servers_and_goes_with_it() {
        let folder = std::env::temp_dir().join(format!("crane-unix-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let long = "a-directory-with-a-long-name".repeat(4);
        let (inside, outside) = (folder.join("in"), folder.join(long).join("public"));
        std::fs::create_dir_all(&folder).unwrap();
        let _server = UnixListener::bind(&inside).unwrap();
        let me = Some(std::process::id());
        let (socket, listener) = PublicSocket::bind(&outside, &inside, me).unwrap();
        let mode = || std::fs::metadata(&outside).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), std::fs::metadata(&inside).unwrap().permissions().mode() & 0o777);
        std::fs::set_permissions(&inside, PermissionsExt::from_mode(0o640)).unwrap();
        socket.follow();
        assert_eq!(mode(), 0o640);
        let link = folder.join("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        UnixStream::connect(&link).unwrap();
        assert!(listener.accept().is_ok());

        // The server binds its path anew: a second socket takes the public place.
        std::fs::remove_file(&inside).unwrap();
        let _again = UnixListener::bind(&inside).unwrap();
        let (second, _listener) = PublicSocket::bind(&outside, &inside, me).unwrap();
        socket.follow();
        drop(socket);
        assert!(second.stat().is_some(), "the second stays when the first goes");
        std::fs::remove_file(&inside).unwrap();
        second.follow();
        assert!(!outside.exists(), "it goes with the server's own");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn orders_are_carried_out_off_the_loop_and_in_turn() {
        let folder = std::env::temp_dir().join(format!("crane-turns-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let inside = folder.join("in");
        let _server = UnixListener::bind(&inside).unwrap();
        let public = place_of(&folder.join("sockets"), &inside);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (outcomes, mut received) = unbounded_channel();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut sockets =
                UnixListeners::new(&folder, Rc::new(ClientEvents::new()), outcomes.clone());
            let (at, me) = (Endpoint::from_unix_listener(1), Some(std::process::id()));
            sockets.open(at, &inside, me);
            assert!(!public.exists(), "the disk is waited for elsewhere");
            sockets.close(&at);
            sockets.open(at, &inside, me);
            let mut looks = 0;
            while sockets.wanted.borrow()[&at].1.is_none() {
                looks += 1;
                assert!(looks < 3000, "it is not opened");
                sleep(Duration::from_millis(10)).await;
            }
            UnixStream::connect(&public).unwrap();
            sockets.close(&at);
            yield_now().await;
            assert!(UnixStream::connect(&public).is_err(), "it accepts nobody from now on");
            while public.exists() {
                looks += 1;
                assert!(looks < 6000, "it is not taken away");
                sleep(Duration::from_millis(10)).await;
            }
            std::fs::remove_dir_all(folder.join("sockets")).unwrap();
            std::fs::write(folder.join("sockets"), "no directory").unwrap();
            sockets.open(at, &inside, me);
            let failed = received.recv().await;
            let Some(HostOutcome::Input(DriverInput::Failed(why))) = failed else {
                panic!("no failure");
            };
            assert!(why.contains("give the server another path"), "{why}");
        });
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
