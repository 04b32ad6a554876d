//! Builds the preload library, which the command carries inside.
//!
//! It must be a package of its own (hooks that are linked into the daemon would hook the daemon),
//! and it gets a target directory of its own, because cargo holds the lock of the one that it works
//! in.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where we are"));
    let target =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo gives us a place")).join("preload");
    let frontend = here.parent().expect("the package lies in frontend-linux");
    let root = frontend.parent().expect("frontend-linux lies in the workspace");
    for watched in [
        frontend.join("crane-preload"),
        frontend.join("crane-shm"),
        root.join("core-nostd/src"),
        root.join("core-nostd/Cargo.toml"),
        root.join("Cargo.lock"),
        root.join("Cargo.toml"),
    ] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }

    // Fuzz targets and the simulation start no server, and the library could not be built with the
    // flags that they need.
    let unused = ["CARGO_CFG_FUZZING", "CARGO_FEATURE_SIMULATION"];
    if unused.into_iter().any(|name| env::var_os(name).is_some()) {
        let none = target.with_extension("none");
        std::fs::write(&none, b"").expect("our place can be written to");
        println!("cargo:rustc-env=CRANE_PRELOAD={}", none.display());
        return;
    }

    let given = env::var("RUSTFLAGS").unwrap_or_default();
    let flags = format!("{given} -C force-frame-pointers=yes");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo says how it is called"));
    cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(frontend.join("crane-preload/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // A thread that ends (pthread_exit, cancellation) is unwound by libc through the hook that
        // it is in. Built like this, frames of ours have nothing to do then, and do not stand in
        // the way.
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // The library finds the program's call by its own frames (caller.rs).
        .env("RUSTFLAGS", flags);
    if env::var_os("CARGO_FEATURE_ARRIVAL").is_some() {
        cargo.args(["--features", "arrival"]);
    }
    // Variables that cargo, or clippy in its place, set for this package must not reach the other.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        let ours = name_text.starts_with("CARGO_FEATURE_")
            || name_text.starts_with("CARGO_CFG_")
            || matches!(
                &*name_text,
                "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CLIPPY_ARGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "CARGO_BUILD_TARGET"
                    | "CARGO_TARGET_DIR"
                    | "CARGO_MAKEFLAGS"
                    | "MAKEFLAGS"
            );
        if ours {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the preload library does not build: {status}");
    let library = target.join("release/libcrane_preload.so");
    assert!(library.is_file(), "{} was not built", library.display());
    println!("cargo:rustc-env=CRANE_PRELOAD={}", library.display());
}
