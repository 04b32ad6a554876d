fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Nothing but the program itself: no start files, no libc, no dynamic loader.
    for argument in ["-nostartfiles", "-nodefaultlibs", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
