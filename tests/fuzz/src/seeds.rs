//! Inputs to begin with.

use std::fs;
use std::path::Path;

/// Writes `seeds` into the folder that `FRCNN_FUZZ_SEEDS` names and ends the process; does nothing where it is not set.
///
/// Only the targets themselves can do it: what is built with coverage links with libFuzzer alone.
pub fn seed(seeds: impl FnOnce() -> Vec<(String, Vec<u8>)>) {
    let Some(folder) = std::env::var_os("FRCNN_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).expect("the folder for seeds can be made");
    for (name, bytes) in seeds() {
        fs::write(folder.join(name), bytes).expect("a seed can be written");
    }
    std::process::exit(0);
}

/// Lets the code under test catch a panic; one that it does not catch ends the run as before. libFuzzer's own hook would
/// abort at either.
pub fn caught_panics_are_no_findings() {
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
}
