//! Compiles the camera daemon's splitter; undefined behaviour in it ends the run as a panic does.

fn main() {
    #[cfg(feature = "mjpeg")]
    splitter();
}

#[cfg(feature = "mjpeg")]
fn splitter() {
    let daemon = "../../targets/camera-daemon/src";
    println!("cargo:rerun-if-changed={daemon}");
    println!("cargo:rerun-if-changed=src/splitter.c");
    cc::Build::new()
        .file("src/splitter.c")
        .file(format!("{daemon}/source_mjpeg.c"))
        .include(daemon)
        .include("../../src/capi/include")
        .flag_if_supported("-fsanitize=undefined")
        .flag_if_supported("-fsanitize-undefined-trap-on-error")
        .compile("splitter");
}
