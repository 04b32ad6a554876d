fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The program is linked alone: without start files, libc and a dynamic loader.
    for argument in ["-nostartfiles", "-nodefaultlibs", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
