//! Lets the program find libtorch where it was linked, without `LD_LIBRARY_PATH`, and know its version.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = std::env::var_os("LIBTORCH").map(PathBuf::from);
    if let Some(libtorch) = &libtorch {
        let lib = std::path::absolute(libtorch).unwrap_or(libtorch.clone()).join("lib");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    // libtorch's archives say it in this file; a wheel of another origin has none.
    let version = libtorch.and_then(|libtorch| std::fs::read_to_string(libtorch.join("build-version")).ok());
    println!("cargo:rustc-env=FRCNN_LIBTORCH_VERSION={}", version.as_deref().unwrap_or("2.11").trim());
}
