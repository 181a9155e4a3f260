//! The conformance test in C, built as a user builds: with the installed header and library, found by pkg-config.
//!
//! It runs as it is, under AddressSanitizer, and under valgrind. `FRCNN_CC` names
//! the compiler (default `cc`), and `FRCNN_RUNNER` a command that programs are run by, such as `qemu-aarch64-static`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/colours/bundle.rs"]
mod bundle;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bundle::Variant;
use frcnn_testkit::{emulated, need, program, skip};

/// The library installed in a folder of its own, with what the test program reads.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new() -> Installed {
        let folder = tempfile::tempdir().unwrap();
        // Cargo builds the libraries that tests need beside them.
        let program = std::env::current_exe().unwrap();
        let build = program.parent().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install");
        succeed(Command::new("sh").arg(script).arg(folder.path()).arg(build));
        for (name, deltas) in [("colours", Variant::PLAIN.deltas), ("diverged", f32::MAX)] {
            bundle::colours(64, &Variant { deltas, ..Variant::PLAIN })
                .unwrap()
                .write(folder.path().join(format!("{name}.frcnn")))
                .unwrap();
        }
        Installed { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles the test with `flags`; `None` where the compiler does not take them.
    fn compile(&self, flags: &[&str]) -> Option<PathBuf> {
        let pkg_config = |arguments: &[&str]| {
            let mut command = Command::new("pkg-config");
            command.env("PKG_CONFIG_PATH", self.path("lib/pkgconfig")).args(arguments).arg("frcnn");
            let output = succeed(&mut command);
            String::from_utf8(output.stdout).unwrap().split_whitespace().map(String::from).collect::<Vec<_>>()
        };
        let program = self.path("conformance");
        let mut command = Command::new(compiler());
        command.args([
            "-std=c11",
            "-D_DEFAULT_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-g",
            "-O1",
            "-pthread",
        ]);
        command.args(flags).args(pkg_config(&["--cflags"]));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/conformance.c"));
        command.arg("-o").arg(&program).args(pkg_config(&["--libs"])).arg("-lm");
        let output = command.output().unwrap();
        if !output.status.success() && flags.is_empty() {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success().then_some(program)
    }

    fn run(&self, wrapper: &[&str], program: &Path, arguments: &[&str]) -> String {
        let runner = std::env::var("FRCNN_RUNNER").unwrap_or_default();
        let mut words: Vec<&str> = wrapper.iter().copied().chain(runner.split_whitespace()).collect();
        words.push(program.to_str().unwrap());
        let mut command = Command::new(words[0]);
        // ffmpeg -f lavfi -i color=black:size=96x64,format=rgb24,drawbox=24:16:32:32:red:fill -frames:v 1
        let jpeg = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/red_square.jpg");
        command.args(&words[1..]).args([self.path("colours.frcnn"), self.path("diverged.frcnn")]);
        command.arg(jpeg).args(arguments);
        let output = succeed(command.env("LD_LIBRARY_PATH", self.path("lib")));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    output
}

/// Whether programs in C can be built.
fn compiles() -> bool {
    let runs = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    need("cc", (runs(&compiler()) && runs("pkg-config")).then_some(())).is_some()
}

fn compiler() -> String {
    std::env::var("FRCNN_CC").unwrap_or_else(|_| "cc".into())
}

#[test]
fn conforms_and_memory_stays_flat() {
    if !compiles() {
        return;
    }
    let installed = Installed::new();
    let program = installed.compile(&[]).unwrap();
    let frames = if emulated() { "1000" } else { "10000" };
    let said = installed.run(&[], &program, &[frames, "memory"]);
    assert!(said.contains("all entry points conform"), "{said}");
}

#[test]
fn conforms_under_address_sanitizer() {
    if emulated() {
        return skip("sanitizers", "programs are emulated");
    }
    if !compiles() {
        return;
    }
    let installed = Installed::new();
    let program = installed.compile(&["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    let Some(program) = need("sanitizers", program) else { return };
    assert!(installed.run(&[], &program, &["500"]).contains("conform"));
}

#[test]
fn conforms_under_valgrind() {
    if emulated() {
        return skip("valgrind", "programs are emulated");
    }
    if !compiles() || program("valgrind", "valgrind").is_none() {
        return;
    }
    let installed = Installed::new();
    let program = installed.compile(&[]).unwrap();
    let valgrind = [
        "valgrind",
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
    ];
    assert!(installed.run(&valgrind, &program, &["20"]).contains("conform"));
}
