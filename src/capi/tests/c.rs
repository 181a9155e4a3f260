//! The conformance test in C, built as a user builds: with the installed header and library, found by pkg-config.
//!
//! It runs as it is, under AddressSanitizer, and under valgrind. `FRCNN_CC` names
//! the compiler (default `cc`), and `FRCNN_RUNNER` a command that programs are run by, such as `qemu-aarch64-static`. The
//! wrapper for C++ is tested so, too: found by CMake, with the shared library and with the static one.
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

/// The installed folder is moved first: nothing in it may know where it was made.
#[test]
fn the_wrapper_for_cpp_conforms() {
    if emulated() {
        return skip("cmake", "programs are emulated");
    }
    let runs = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if need("cmake", (runs("cmake") && runs("c++") && runs("readelf")).then_some(())).is_none() {
        return;
    }
    let installed = Installed::new();
    let (moved, build) = (installed.path("moved"), installed.path("build"));
    std::fs::create_dir(&moved).unwrap();
    for part in ["include", "lib"] {
        std::fs::rename(installed.path(part), moved.join(part)).unwrap();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let configure = |prefix: &Path| {
        let mut command = Command::new("cmake");
        command.arg("-S").arg(here.join("tests/cpp")).arg("-B").arg(&build);
        command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
        command
    };
    succeed(&mut configure(&moved));
    succeed(Command::new("cmake").arg("--build").arg(&build));
    for kind in ["shared", "static"] {
        let program = build.join(format!("wrapper_{kind}"));
        let mut command = Command::new(&program);
        command.arg(installed.path("colours.frcnn")).arg(here.join("tests/golden/red_square.jpg"));
        let said = String::from_utf8(succeed(&mut command).stdout).unwrap();
        assert!(said.contains("the wrapper conforms"), "{kind}: {said}");
        // One object without a note of its stack would make that of the whole program executable.
        let headers = succeed(Command::new("readelf").arg("-lW").arg(&program)).stdout;
        let headers = String::from_utf8(headers).unwrap();
        let stack = headers.lines().find(|line| line.contains("GNU_STACK")).expect("every program has one");
        assert!(stack.contains(" RW ") && !stack.contains("RWE"), "{kind}: {stack}");
    }
    let needed = succeed(Command::new("readelf").arg("-dW").arg(build.join("wrapper_static"))).stdout;
    assert!(
        !String::from_utf8(needed).unwrap().contains("libfrcnn"),
        "the static one needs the shared library"
    );
}

/// What is asked for and not there is refused by its version, by CMake and pkg-config.
#[test]
fn packages_know_their_version() {
    if emulated() {
        return skip("cmake", "programs are emulated");
    }
    let runs = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if need("cmake", (runs("cmake") && runs("pkg-config")).then_some(())).is_none() {
        return;
    }
    let installed = Installed::new();
    let has = env!("CARGO_PKG_VERSION");
    for (wanted, fits) in [(has, true), ("0.0.9", false), ("0.99", false), ("1.0", false)] {
        let project = installed.path(wanted);
        std::fs::create_dir(&project).unwrap();
        let text = format!(
            "cmake_minimum_required(VERSION 3.16)\nproject(p C)\nfind_package(frcnn {wanted} CONFIG REQUIRED)\n"
        );
        std::fs::write(project.join("CMakeLists.txt"), text).unwrap();
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(&project).arg("-B").arg(project.join("build"));
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", installed.path("").display()));
        assert_eq!(cmake.output().unwrap().status.success(), fits, "cmake, {wanted}");
    }
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", installed.path("lib/pkgconfig")).args(["--modversion", "frcnn"]);
    assert_eq!(String::from_utf8(succeed(&mut command).stdout).unwrap().trim(), has);
}

/// The example in the first comment of a header: its lines that stand four columns in.
fn example(header: &str) -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include").join(header)).unwrap();
    let comment = text.split("/*").nth(1).unwrap().split("*/").next().unwrap();
    let lines: Vec<&str> = comment.lines().filter_map(|line| line.strip_prefix(" *     ")).collect();
    assert!(lines.len() >= 4, "{header} shows no example");
    lines.join("\n")
}

/// What the headers show, put into a program, and the example file: compiled as a reader would, and run.
#[test]
fn documented_programs_run() {
    if !compiles() {
        return;
    }
    let installed = Installed::new();
    std::fs::rename(installed.path("colours.frcnn"), installed.path("cells.frcnn")).unwrap();
    let flags = |command: &mut Command| {
        let output = succeed(command.env("PKG_CONFIG_PATH", installed.path("lib/pkgconfig")));
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let pkg_config = flags(Command::new("pkg-config").args(["--cflags", "--libs", "frcnn"]));
    let c = format!(
        "#include <stdio.h>\n#include <frcnn.h>\nint main(void) {{\nstatic uint8_t pixels[640 * 480 * 3];\n{}\n\
         printf(\"%zu found\\n\", count);\nreturn 0;\n}}\n",
        example("frcnn.h")
    );
    let cpp = format!(
        "#include <iostream>\n#include <frcnn.hpp>\nint main() {{\nstatic std::uint8_t pixels[640 * 480 * 3];\n\
         const std::size_t size = sizeof pixels;\n{}\nstd::cout << \"found\\n\";\n}}\n",
        example("frcnn.hpp")
    );
    std::fs::write(installed.path("shown.c"), c).unwrap();
    std::fs::write(installed.path("shown.cpp"), cpp).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let square = here.join("tests/golden/red_square.jpg");
    let photo = [installed.path("cells.frcnn"), square];
    let cases: [(PathBuf, &str, &[PathBuf], &str); 3] = [
        (installed.path("shown.c"), "-std=c11", &[], "found"),
        (installed.path("shown.cpp"), "-std=c++17", &[], "found"),
        (here.join("examples/photo.c"), "-std=c11", &photo, "red "),
    ];
    for (source, standard, arguments, expected) in cases {
        let compiler = match source.extension().and_then(|e| e.to_str()) {
            Some("cpp") if compiler() == "cc" => "c++".to_string(),
            // No name of another compiler's is known.
            Some("cpp") => continue,
            _ => compiler(),
        };
        let program = installed.path("shown");
        let mut command = Command::new(compiler);
        command
            .args([standard, "-Wall", "-Wextra", "-Werror"])
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .args(&pkg_config);
        succeed(&mut command);
        let runner = std::env::var("FRCNN_RUNNER").unwrap_or_default();
        let mut words: Vec<&str> = runner.split_whitespace().collect();
        words.push(program.to_str().unwrap());
        let run = |arguments: &[PathBuf]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).args(arguments).current_dir(installed.path(""));
            command.env("LD_LIBRARY_PATH", installed.path("lib"));
            command
        };
        let output = succeed(&mut run(arguments));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(expected), "{}: {said}", source.display());
        // Of two files the error names the one that is wrong.
        if let [model, photo] = arguments {
            for files in [[model, &source], [&source, photo]] {
                let output = run(&files.map(Clone::clone)).output().unwrap();
                let said = String::from_utf8(output.stderr).unwrap();
                assert!(!output.status.success() && said.contains("photo.c"), "{said}");
                assert!(!said.contains(model.to_str().unwrap()), "{said}");
            }
        }
    }
}
