//! A server program that runs without crane, for tests of the clients and for comparison of costs.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::group::kill;
use super::idle::tree_of;
use super::machine::Machine;
use super::program::Program;
use super::wait::{START, eventually};

/// A running program, killed when dropped.
pub struct Native {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Native {
    /// Starts the program in a copy of its folder and waits until it accepts connections.
    ///
    /// # Panics
    ///
    /// Panics if the program does not accept connections.
    #[must_use]
    pub fn start(machine: &Machine, program: &Program) -> Self {
        let folder = machine.folder().join(format!("native-{}", program.name));
        let _ = std::fs::remove_dir_all(&folder);
        let copied = Command::new("cp")
            .args(["-r", "--"])
            .args([&program.base, &folder])
            .status()
            .expect("cp");
        assert!(copied.success(), "{} is not copied", program.base.display());
        let log = File::create(folder.join("output.txt")).expect("the program's output");
        let child = Command::new(&program.command[0])
            .args(&program.command[1..])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second name for the output"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.command[0]));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, program.port));
        eventually(program.name, START, || TcpStream::connect(address));
        Self { child, address, folder }
    }

    /// Returns the program's working directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the program's pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address at which the program listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // The first one makes others in the place of those that end.
        let others = tree_of(self.child.id()).into_iter().skip(1);
        let others: Vec<u32> = others.collect();
        let _ = self.child.kill();
        for process in others {
            let _ = kill(process);
        }
        let _ = self.child.wait();
    }
}
