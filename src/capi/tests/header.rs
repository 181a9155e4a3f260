//! `include/frcnn.h` is what the source says, and every entry point stands behind the macro that guards the border.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

/// `FRCNN_UPDATE_HEADER=1 cargo test -p frcnn-capi --test header` writes the header anew.
#[test]
fn the_header_follows_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(folder).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = without_safety_sections(&String::from_utf8(made).unwrap());

    let path = folder.join("include/frcnn.h");
    if std::env::var_os("FRCNN_UPDATE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "include/frcnn.h is not what src/ says: run this test with FRCNN_UPDATE_HEADER=1"
    );
}

/// What Rust's `# Safety` asks, C takes for granted.
fn without_safety_sections(header: &str) -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in header.lines() {
        if line.trim() == "# Safety" {
            inside = true;
            // The empty line before it.
            lines.pop();
        }
        inside &= line.trim() != "*/";
        if !inside {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_entry_point_is_guarded() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut entry_points = 0;
    for file in fs::read_dir(source).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            // Tests, which are no entry points.
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for function in text.split("#[unsafe(no_mangle)]").skip(1) {
            entry_points += 1;
            let name = function.split_once("fn ").unwrap().1.split('(').next().unwrap();
            let body = function.split_once("{\n").unwrap().1.split("\n}\n").next().unwrap();
            assert!(name.starts_with("frcnn_"), "{name}");
            assert!(body.contains("guard!("), "{name} in {} is not behind guard!", path.display());
        }
    }
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/frcnn.h")).unwrap();
    let declared = header.split(';').filter(|part| part.contains(" frcnn_") && part.ends_with(')')).count();
    assert!(
        entry_points >= 20 && entry_points <= declared,
        "{entry_points} entry points, {declared} declared"
    );
}
