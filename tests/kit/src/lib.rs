//! What tests need beyond a Rust toolchain, and what happens where it is missing.
//!
//! A test that needs something asks for it here, and ends where there is none:
//!
//! ```text
//! let Some(shared) = frcnn_testkit::shared() else { return };
//! ```
//!
//! The skip is written to the terminal, past the test runner, which captures what `eprintln` prints; and once more in a
//! list of all skips by the last test of `cargo test --workspace` ([`report`]). The environment variable `FRCNN_REQUIRE`
//! makes failures of skips: words of the file `needs` with commas between them, or `all`.
#![allow(clippy::panic, clippy::expect_used, reason = "test support: a failure here is a test's failure")]

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const NEEDS: &str = include_str!("../needs");

/// Every word of `FRCNN_REQUIRE`, and what it stands for.
pub fn needs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = NEEDS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').map_or((line, ""), |(word, what)| (word, what.trim())))
}

/// `found`, if there is something. The calling test is to end where there is nothing: it is skipped.
///
/// # Panics
/// Nothing is found and `FRCNN_REQUIRE` names `word`; or `needs` does not know one of the words.
pub fn need<T>(word: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        skip(word, what(word));
    }
    found
}

/// Says that the calling test is skipped, and why. It is to end then.
///
/// # Panics
/// `FRCNN_REQUIRE` names `word`; or `needs` does not know one of the words.
pub fn skip(word: &str, why: &str) {
    what(word);
    let required = env::var("FRCNN_REQUIRE").unwrap_or_default();
    assert!(!names(&required, word), "{word} is required (FRCNN_REQUIRE={required}) and missing: {why}");
    let line = format!("{}: no {word}: {why}", test());
    say(&format!("skipped: {line}"));
    if let Some(record) = record() {
        let file = fs::OpenOptions::new().create(true).append(true).open(&record);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", record.display()));
    }
}

/// Prints to the terminal, past the test runner, which captures what `eprintln` prints.
pub fn say(line: &str) {
    // Where there is no terminal, nobody reads.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints what all test programs of this run of Cargo skipped: for the last of them.
pub fn report() {
    let Some(record) = record() else { return };
    let Ok(skipped) = fs::read_to_string(&record) else { return };
    let count = skipped.lines().count();
    say(&format!("\nSKIPPED, {count} in all (FRCNN_REQUIRE=all makes failures of them):\n{skipped}"));
    fs::remove_file(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
}

/// The folder of reference data.
///
/// # Panics
/// As [`need`].
pub fn shared() -> Option<PathBuf> {
    let beside = || root().join("../shared");
    let folder = env::var_os("FRCNN_SHARED").map_or_else(beside, PathBuf::from);
    need("shared", folder.join("models/bccd-squeezenet/model.onnx").is_file().then_some(folder))
}

/// A Python that has `modules`, which `word` stands for: that of the virtual environment `target/referee`, or else
/// `python3`.
///
/// # Panics
/// As [`need`].
pub fn python(word: &str, modules: &str) -> Option<PathBuf> {
    let candidates = [root().join("target/referee/bin/python3"), PathBuf::from("python3")];
    let has = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", &format!("import {modules}")]).output();
        output.is_ok_and(|output| output.status.success())
    };
    need(word, candidates.into_iter().find(has))
}

/// A program, which `word` stands for, found as a shell finds it or where daemons are.
///
/// # Panics
/// As [`need`].
pub fn program(word: &str, name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    need(word, folders.map(|folder| folder.join(name)).find(|program| program.is_file()))
}

/// Whether programs are emulated, some tens of times slower than the machine: `FRCNN_RUNNER` then is the command that
/// they are run by, such as `qemu-aarch64-static`.
#[must_use]
pub fn emulated() -> bool {
    env::var_os("FRCNN_RUNNER").is_some()
}

/// On how many random cases to hold a property that deserves `full` of them: an eighth where they are emulated, but at
/// least four.
#[must_use]
pub fn cases(full: u32) -> u32 {
    if emulated() { full.div_ceil(8).max(4).min(full) } else { full }
}

fn root() -> &'static Path {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).expect("the kit lies two folders below the root")
}

fn what(word: &str) -> &'static str {
    let known = needs().find(|(known, _)| *known == word);
    known.unwrap_or_else(|| panic!("tests/kit/needs does not know `{word}`")).1
}

/// Whether a list of words, which is checked, has `word`.
fn names(required: &str, word: &str) -> bool {
    let words = required.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.fold(false, |named, one| {
        let all = one == "all";
        if !all {
            what(one);
        }
        named || all || one == word
    })
}

/// The calling test's program and its path in that: the runner names threads by tests.
fn test() -> String {
    let program = env::current_exe().unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // What Cargo names by crate and hash.
    let program = program.rsplit_once('-').map_or(program.as_str(), |(name, _)| name).to_owned();
    match std::thread::current().name() {
        Some(test) if test != "main" => format!("{program}: {test}"),
        _ => program,
    }
}

/// Where the test programs that one run of Cargo starts keep what they skip: they have one parent.
fn record() -> Option<PathBuf> {
    #[cfg(unix)]
    return Some(
        env::current_exe().ok()?.with_file_name(format!("skipped-{}", std::os::unix::process::parent_id())),
    );
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        assert!(needs().count() > 5 && needs().all(|(word, what)| !word.is_empty() && !what.is_empty()));
        assert!(!names("", "qemu") && !names("shared, ffmpeg", "qemu"));
        assert!(names("shared, qemu,", "qemu") && names("all", "qemu"));
    }

    #[test]
    #[should_panic(expected = "does not know `qmeu`")]
    fn a_word_that_nothing_is_known_by_is_an_error() {
        names("qemu,qmeu", "qemu");
    }

    #[test]
    fn what_is_found_is_handed_on() {
        assert_eq!(need("procfs", Some(3)), Some(3));
    }

    #[test]
    fn tests_are_named() {
        assert!(test().starts_with("frcnn_testkit: tests::tests_are_named") || test() == "frcnn_testkit");
    }
}
