//! `frcnn detect --shard`, `--run` and `frcnn detect merge`: the parts of a run are one run.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, json_lines, stderr, stdout, succeed, text};

/// Seven images, the third of which is none.
fn photos(folder: &Path) -> PathBuf {
    let photos = folder.join("photos");
    fs::create_dir(&photos).unwrap();
    for n in 0..7u8 {
        let path = photos.join(format!("{n}.png"));
        let shades = |x: u32, y: u32| image::Rgb([(x as u8).wrapping_mul(n + 1), y as u8 * 2, 30 * n]);
        RgbImage::from_fn(110 + u32::from(n), 90, shades).save(path).unwrap();
    }
    fs::write(photos.join("2.png"), "no picture").unwrap();
    photos
}

/// What is printed but for the times, as text: the order of fields counts.
fn lines(output: &std::process::Output) -> Vec<String> {
    let without_times = |line: &str| line.split(",\"timing_ms\":").next().unwrap().to_string();
    let lines: Vec<String> = stdout(output).lines().map(without_times).collect();
    assert!(json_lines(output).iter().all(|line| line["timing_ms"]["trunk"].as_f64().unwrap() > 0.0));
    lines
}

#[test]
fn shards_together_are_one_run() {
    let fixture = Fixture::get();
    let folder = tempfile::tempdir().unwrap();
    let (photos, bundle) = (photos(folder.path()), fixture.path("model.frcnn"));
    let part = |name: &str| text(&folder.path().join(name)).to_string();
    let detect = |more: &[&str]| {
        let options =
            ["detect", &bundle, text(&photos), "--proposals-from", "grid", "--score-threshold", "0.1"];
        frcnn(&[&options[..], more].concat())
    };
    let whole = detect(&["--json"]);
    fails(&whole, 1, &["2.png", "1 of 7 images failed"]);
    let whole = lines(&whole);
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().all(|line| line.contains("\"class\":")), "{whole:?}");

    // The third shard has the image that is none.
    let parts: Vec<String> = (1..=3).map(|shard| part(&format!("{shard}.jsonl"))).collect();
    for (shard, file, images, code) in
        [("1/3", &parts[0], 3, 0), ("2/3", &parts[1], 2, 0), ("3/3", &parts[2], 1, 1)]
    {
        let output = detect(&["--shard", shard, "--run", file]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let noun = if images == 1 { "image" } else { "images" };
        assert!(stdout(&output).contains(&format!(".jsonl: {images} {noun};")), "{}", stdout(&output));
    }
    // In whatever order they are named, and though one is named twice.
    let merge = |parts: &[&String]| {
        let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        frcnn(&[&["detect", "merge"], &parts[..]].concat())
    };
    let merged = merge(&[&parts[2], &parts[0], &parts[1], &parts[0]]);
    fails(&merged, 1, &["1 of the run's 7 images are in no part, number 3 first"]);
    assert_eq!(lines(&merged), whole);

    // What was lost is named, and what stopped in a line goes on before it.
    fails(&merge(&[&parts[0], &parts[2]]), 1, &["3 of the run's 7 images are in no part, number 2 first"]);
    let bytes = fs::read(&parts[0]).unwrap();
    fs::write(&parts[0], &bytes[..bytes.len() - 9]).unwrap();
    assert!(detect(&["--shard", "1/3", "--run", &parts[0]]).status.success());
    fs::copy(photos.join("1.png"), photos.join("2.png")).unwrap();
    assert!(detect(&["--shard", "3/3", "--run", &parts[2]]).status.success());
    let merged = merge(&[&parts[0], &parts[1], &parts[2]]);
    assert_eq!((merged.status.code(), lines(&merged)), (Some(0), lines(&detect(&["--json"]))));
    // A run that is whole and is started again has nothing left to do.
    let again = detect(&["--shard", "2/3", "--run", &parts[1]]);
    assert!(again.status.success() && stdout(&again).contains("2 images"), "{}", stderr(&again));

    // Files of another run are not mixed in: other images, other options.
    fs::copy(photos.join("1.png"), photos.join("9.png")).unwrap();
    fails(&detect(&["--shard", "2/3", "--run", &parts[1]]), 1, &["is of another run", "images"]);
    let other = part("other.jsonl");
    assert!(detect(&["--run", &other]).status.success());
    fails(&merge(&[&parts[0], &other]), 1, &["other.jsonl: is of another run than the first file"]);
    fs::remove_file(photos.join("9.png")).unwrap();
    fails(
        &detect(&["--shard", "2/3", "--run", &parts[1], "--nms-iou", "0.2"]),
        1,
        &["is of another run: --nms-iou `0.2` and `not given`"],
    );
    // Two files that say different things of an image.
    let tampered = part("tampered.jsonl");
    fs::write(&tampered, fs::read_to_string(&parts[0]).unwrap().replace("\"width\":110", "\"width\":111"))
        .unwrap();
    fails(&merge(&[&parts[0], &tampered]), 1, &["other detections for `1. ", "0.png` than a file before it"]);
}

#[test]
fn what_cannot_be_sharded_is_refused() {
    let fixture = Fixture::get();
    let photos = fixture.path("photos");
    let folder = tempfile::tempdir().unwrap();
    let run = text(&folder.path().join("run.jsonl")).to_string();
    fails(&fixture.detect(&[&photos, "--shard", "1/2"]), 2, &["--run"]);
    fails(&fixture.detect(&[&photos, "--shard", "3/2", "--run", &run]), 2, &["--shard", "such as 1/4"]);
    fails(&fixture.detect(&[&photos, "--json", "--run", &run]), 2, &["--json"]);
    fails(
        &fixture.detect(&[&photos, "--run", &run, "--proposals-from", "motion"]),
        2,
        &["has to see every frame before one"],
    );
    assert!(!Path::new(&run).exists());
    fails(&frcnn(&["detect"]), 2, &["BUNDLE"]);
    fails(&frcnn(&["detect", "merge"]), 2, &["PART"]);
    fails(&frcnn(&["detect", "merge", &fixture.path("small.json")]), 1, &["not a file of `--run`"]);
    // Pictures are drawn by the shard that has the image.
    let drawn = folder.path().join("drawn");
    succeed(&[
        "detect",
        &fixture.path("model.frcnn"),
        &photos,
        "--shard",
        "2/2",
        "--run",
        &run,
        "--out",
        text(&drawn),
    ]);
    assert!(!drawn.join("a.png").exists() && drawn.join("b.png").exists());
    let header: Value =
        serde_json::from_str(fs::read_to_string(&run).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(header["settings"]["number of images"], "2");
}
