//! Asks the dynamic linker to run this library's constructor before all others, and links what the
//! standard library needs of the compiler's own into it.
//!
//! An allocator that is loaded as a library sets itself up in its own constructor, by the clock:
//! what it is told there must be agreed already.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    // As a program, which starts one that is linked statically, it begins there.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-e,crane_program_entry");
    link_unwinder_statically();
}

/// Has the linker take the archive in the place of `libgcc_s.so.1`, which rustc asks for by name.
/// Each program of the server would load that library, and it examines the processor when it is
/// loaded, by instructions that take tens of microseconds in a virtual machine.
fn link_unwinder_statically() {
    let place = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    // A linker script (ld's manual, Implicit Linker Scripts).
    fs::write(place.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n").expect("a file in OUT_DIR");
    println!("cargo:rustc-link-search=native={}", place.display());
}
