//! The files of examples/, and the unit for systemd.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::path::{Path, PathBuf};

use frcnn_camera::config::Config;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn examples_are_valid() {
    let files: Vec<PathBuf> =
        std::fs::read_dir(here("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        let config = Config::open(&file).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.cameras.iter().all(|camera| camera.objects), "{}", file.display());
    }
}

/// README's TOML is a file that is read, too.
#[test]
fn readmes_files_are_valid() {
    let readme = std::fs::read_to_string(here("README.md")).unwrap();
    let files: Vec<&str> =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!files.is_empty());
    for file in files {
        Config::parse(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    }
}

fn rows(table: &str) -> Vec<&str> {
    table.lines().filter(|line| line.starts_with("| ")).skip(1).collect()
}

/// The tables of README.md, of doors.md and of the small program in C name tests that there are.
#[test]
fn every_row_of_the_tables_has_its_test() {
    let table = |file: &str, title: &str| {
        let text = std::fs::read_to_string(here(file)).unwrap();
        text.split(title).nth(1).unwrap().split("\n## ").next().unwrap().to_owned()
    };
    let readmes = table("README.md", "## What it does when");
    let doors = table("doors.md", "## What they do when");
    let mini = table("../../targets/camera-daemon/README.md", "## What it does when");
    let folders = [
        "src",
        "src/source",
        "src/worker",
        "src/mqtt",
        "src/http",
        "tests",
        "tests/doors",
        "../../targets/camera-daemon/tests",
        "../tracks/src",
        "../tracks/tests",
    ];
    let mut texts = String::new();
    for folder in folders {
        // Some are another's, who may have none.
        for entry in std::fs::read_dir(here(folder)).into_iter().flatten().flatten() {
            texts += &std::fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    let (readmes, doors, mini) = (rows(&readmes), rows(&doors), rows(&mini));
    assert!(readmes.len() > 15 && doors.len() > 8 && mini.len() > 12);
    for row in [readmes, doors, mini].concat() {
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let forms =
                [format!("def test_{test}("), format!("fn {test}("), format!("static void {test}(void)")];
            assert!(forms.iter().any(|form| texts.contains(form)), "there is no test `{test}`");
        }
    }
}

/// Each end that nobody asked for is a failure, after which systemd starts the daemon again.
#[test]
fn the_unit_starts_it_again() {
    let unit = std::fs::read_to_string(here("frcnn-camera.service")).unwrap();
    for line in [
        "Type=notify",
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
        "WatchdogSec=30",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|one| one == line), "{line}");
    }
}
