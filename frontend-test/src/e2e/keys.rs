//! The keys of a group, as `crane-linux keys` makes them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binary::crane_linux;

/// A directory with an authority and the key files of hosts.
#[derive(Clone, Debug)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    /// Makes the keys of a new group in a directory, unless it has keys already.
    ///
    /// # Panics
    ///
    /// Panics if the command fails.
    #[must_use]
    pub fn make(directory: PathBuf, addresses: &[IpAddr]) -> Self {
        if directory.exists() {
            return Self { directory };
        }
        Self::make_with(directory, addresses, &[])
    }

    /// Does the same as [`Keys::make`], with more options of the command.
    ///
    /// # Panics
    ///
    /// Panics if the command fails.
    #[must_use]
    pub fn make_with(directory: PathBuf, addresses: &[IpAddr], options: &[&str]) -> Self {
        let output = Command::new(crane_linux())
            .args(["keys", "init"])
            .args(addresses.iter().map(ToString::to_string))
            .arg("--dir")
            .arg(&directory)
            .args(options)
            .output()
            .expect("crane-linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { directory }
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the key file of a host.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> PathBuf {
        self.directory.join(format!("{address}.keys"))
    }

    /// Returns the key file of operators.
    #[must_use]
    pub fn operator(&self) -> PathBuf {
        self.directory.join("operator.keys")
    }
}
