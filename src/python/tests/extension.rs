//! The extension module as Cargo builds it, without an interpreter: it is one that Python finds, and its wheel is packed of it.
//! What it does is tested in Python: see `ci`. Cargo builds the module for this test's sake.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

/// Beside this program, where `cargo test` puts it.
fn module() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let name = format!("{}frcnn_python{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    program.with_file_name(name)
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn python_finds_the_module_and_needs_no_library_of_one_version() {
    let bytes = fs::read(module()).unwrap();
    assert!(has(&bytes, "PyInit__frcnn"), "{}: no PyInit__frcnn", module().display());
    // Symbols of the interpreter come from the program that loads the module.
    assert!(!has(&bytes, "libpython"), "{}: needs libpython", module().display());
}
