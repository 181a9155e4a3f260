//! Gives the shared library the name by which programs find it at run time.

/// The number behind `.so`: `FRCNN_ABI_VERSION` of src/lib.rs.
const ABI: &str = "1";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfrcnn.so.{ABI}");
    }
}
