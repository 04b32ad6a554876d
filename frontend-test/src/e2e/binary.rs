//! The path of the command under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the `crane-linux` to test: `CRANE_LINUX` if set, else the workspace's release build,
/// which is brought up to date first (a test of a stale command proves nothing).
///
/// # Panics
///
/// Panics if it cannot be built.
#[must_use]
pub fn crane_linux() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("CRANE_LINUX") {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "CRANE_LINUX: no file {}", path.display());
            return path;
        }
        build(&target(), &[])
    })
}

/// Returns the control: a `crane-linux` that admits ops when they arrive, built into
/// `target/arrival`.
///
/// # Panics
///
/// Panics if it cannot be built.
#[must_use]
pub fn crane_linux_on_arrival() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build(&target().join("arrival"), &["--features", "arrival"]))
}

fn build(target: &Path, features: &[&str]) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--package", "crane-linux"])
        .args(features)
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .status()
        .expect("cargo");
    assert!(built.success(), "crane-linux does not build");
    target.join("release/crane-linux")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns the folder of the small server programs of the tests.
#[must_use]
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder")
}
