//! A replica that runs without rights.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use super::binary::crane_linux;
use super::group::Group;

/// The number of Debian's user `nobody`, and of its group.
const NOBODY: u32 = 65534;

/// Returns the command that runs a replica as `nobody`, who is given the files that this takes. If
/// this process is not root, it runs as this user.
///
/// # Panics
///
/// Panics if the system refuses.
#[must_use]
pub fn command_of_nobody(group: &Group, id: u8) -> Command {
    let data = group.data(id);
    let program = data.with_file_name("crane");
    fs::create_dir_all(&data).expect("the data directory");
    fs::copy(crane_linux(), &program).expect("a copy of the command");
    let keys = group.keys().expect("a group with keys");
    for (place, mode) in [(&*data, 0o777), (keys.directory(), 0o755)] {
        fs::set_permissions(place, Permissions::from_mode(mode)).expect("a mode");
    }
    let mut command = if rustix::process::geteuid().is_root() {
        let key_file = keys.host(group.peer_address(id).ip());
        chown(key_file, Some(NOBODY), Some(NOBODY)).expect("an owner");
        let nobody = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(group.arguments(id)).current_dir(&group.program().base).stdin(Stdio::null());
    command
}
