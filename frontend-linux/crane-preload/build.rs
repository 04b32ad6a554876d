//! Asks the dynamic linker to run this library's constructor before all others.
//!
//! An allocator that is loaded as a library sets itself up in its own constructor, by the clock:
//! what it is told there must be agreed already.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    // As a program, which starts one that is linked statically, it begins there.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-e,crane_program_entry");
}
