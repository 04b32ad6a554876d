//! The control socket of a data directory, by which the owner of a replica asks it.
//!
//! The socket is the owner's: its mode admits nobody else, and the kernel names the user of each
//! connection (unix(7), `SO_PEERCRED`). Processes of the server's cell are refused, whatever their
//! user.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::first::question;
use super::peers::Peers;

/// The number of connections that may be open at the same time.
const OPEN_MAX: usize = 32;
/// How long accepting rests after an error.
const PAUSE: Duration = Duration::from_millis(500);

/// Returns the control socket's path.
pub(crate) fn control_path(directory: &fs::File) -> PathBuf {
    path_in(directory, "control.sock")
}

/// Returns the path of a socket, with its directory named by a descriptor: a socket's path may have
/// only 107 bytes.
pub(crate) fn path_in(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Opens the control socket in a directory, in place of one that was there.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn bind(run: &Path) -> Result<UnixListener, String> {
    let describe = |error: io::Error| format!("{}/control.sock: {error}", run.display());
    crate::cell::upper::remove_file(&run.join("control.sock"))?;
    let directory = fs::File::open(run).map_err(describe)?;
    let path = control_path(&directory);
    let listener = UnixListener::bind(&path).map_err(describe)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(describe)?;
    Ok(listener)
}

/// Answers questions on the control socket; never returns.
// specs: N5
pub(crate) async fn serve(listener: UnixListener, peers: Rc<Peers>) {
    let open = Rc::new(Cell::new(0));
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        if let Err(why) = check_owner(&stream) {
            peers.count(|counters| counters.control_refused += 1);
            peers.complain(&format!("control socket: {why}"));
            continue;
        }
        if open.get() == OPEN_MAX {
            peers.count(|counters| counters.control_refused += 1);
            peers.complain("control socket: too many connections");
            continue;
        }
        open.set(open.get() + 1);
        let (peers, open) = (peers.clone(), open.clone());
        spawn_local(async move {
            let outcome = match question(&mut stream).await {
                Ok(query) => peers.answer(&mut stream, query, None).await,
                Err(error) => {
                    peers.count(|counters| counters.control_malformed += 1);
                    Err(error)
                }
            };
            open.set(open.get() - 1);
            if let Err(error) = outcome {
                peers.complain(&format!("control socket: {error}"));
            }
        });
    }
}

/// Checks that the other side is the owner of this process, or root, outside of the server's cell.
fn check_owner(stream: &UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid().as_raw();
    match peer.uid() {
        user if user == own => {}
        // No process of an unprivileged owner's cell is the host's root.
        0 => return Ok(()),
        user => return Err(format!("user {user} is not the owner of this replica")),
    }
    // A process that this namespace does not show is outside of all that are made in it.
    let Some(pid) = peer.pid().filter(|pid| *pid > 0) else { return Ok(()) };
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid"));
    match (namespace("self"), namespace(&pid.to_string())) {
        (Ok(mine), Ok(theirs)) if mine != theirs => {
            Err(format!("process {pid} is in the server's cell"))
        }
        (Ok(_), Err(error)) => Err(format!("process {pid} does not show where it runs: {error}")),
        _ => Ok(()),
    }
}
