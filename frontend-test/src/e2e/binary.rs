//! The command under test: its path, and its runs that end by themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use super::wait::{START, within};

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

/// Runs `crane-linux` with arguments that it must not accept, and waits for its end.
///
/// # Panics
///
/// Panics if it runs for longer than [`START`].
#[must_use]
pub fn run_bounded(arguments: &[String], folder: &Path) -> Output {
    let mut child = Command::new(crane_linux())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("crane-linux");
    if within(START, || child.try_wait().expect("wait").ok_or(())).is_err() {
        let _ = child.kill();
        let output = child.wait_with_output().expect("its output");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("not refused: {}\n{text}", arguments.join(" "));
    }
    child.wait_with_output().expect("its output")
}

/// Runs `crane-linux` with these arguments, and returns its output.
///
/// # Errors
///
/// Returns the error text of a failure.
pub fn told(arguments: &[String], folder: &Path) -> Result<String, String> {
    let output = run_bounded(arguments, folder);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
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
