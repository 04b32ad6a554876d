//! The command; everything is in the library, where tests and fuzz targets reach it.

fn main() {
    crane_linux::run()
}
