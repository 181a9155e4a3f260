//! `frcnn proposals`, and `frcnn detect` that makes its own.

use std::fs;
use std::process::Output;

use image::RgbImage;
use serde_json::Value;

use crate::fixture::{Fixture, fails, frcnn, json_lines, stderr, stdout, succeed, text};

/// A dark square on a light ground.
fn square(x: u32, y: u32, side: u32) -> RgbImage {
    RgbImage::from_fn(160, 120, |px, py| {
        let inside = (x..x + side).contains(&px) && (y..y + side).contains(&py);
        image::Rgb(if inside { [40, 50, 160] } else { [220, 200, 190] })
    })
}

/// Two photos with a square each, and their annotations.
fn voc(fixture: &Fixture, name: &str) -> std::path::PathBuf {
    let data = fixture.fresh(name);
    for folder in ["JPEGImages", "Annotations", "ImageSets", "ImageSets/Main"] {
        fs::create_dir(data.join(folder)).unwrap();
    }
    for (stem, x, y, side) in [("one", 20, 30, 40), ("two", 70, 20, 60)] {
        square(x, y, side).save(data.join(format!("JPEGImages/{stem}.png"))).unwrap();
        let corners = [("xmin", x + 1), ("ymin", y + 1), ("xmax", x + side), ("ymax", y + side)]
            .map(|(name, value)| format!("<{name}>{value}</{name}>"))
            .concat();
        let xml = format!(
            "<annotation><object><name>square</name><bndbox>{corners}</bndbox></object></annotation>"
        );
        fs::write(data.join(format!("Annotations/{stem}.xml")), xml).unwrap();
    }
    fs::write(data.join("ImageSets/Main/test.txt"), "one\ntwo\n").unwrap();
    data
}

#[test]
fn boxes_are_made_kept_and_measured() {
    let fixture = Fixture::get();
    let data = voc(&fixture, "voc");
    let (photos, boxes, png) = (data.join("JPEGImages"), data.join("b.safetensors"), data.join("r.png"));
    let make = |more: &[&str]| frcnn(&[&["proposals", text(&photos), "-o", text(&boxes)], more].concat());
    let output = make(&[]);
    assert!(stdout(&output).contains("2 images, 2 of them new"), "{}{}", stdout(&output), stderr(&output));
    let first = fs::read(&boxes).unwrap();
    assert!(stdout(&make(&["--threads", "1"])).contains("2 images, 0 of them new"));
    assert_eq!(fs::read(&boxes).unwrap(), first, "nothing to do, and the file changed");
    assert!(stdout(&make(&["--force", "--threads", "1"])).contains("2 of them new"));
    assert_eq!(fs::read(&boxes).unwrap(), first, "the number of threads changed the boxes");
    fails(
        &make(&["--seed", "1"]),
        1,
        &["b.safetensors: has boxes of selective-search fast, seed 0, ", "--force"],
    );
    fails(&make(&["--from", "grid", "--mode", "quality"]), 2, &["--mode"]);
    fails(&make(&["--mode", "published"]), 1, &["not of selective-search published"]);

    let recall = ["proposals", "recall", "--data", text(&data), "--split", "test", text(&boxes)];
    let output = succeed(&[&recall[..], &["--plot", text(&png)]].concat());
    for words in ["square", "recall@0.5", "MABO", "first boxes"] {
        assert!(stdout(&output).contains(words), "{}", stdout(&output));
    }
    assert!(image::open(&png).is_ok());
    let json: Value = serde_json::from_str(&stdout(&succeed(&[&recall[..], &["--json"]].concat()))).unwrap();
    // A square on a plain ground is a region: its box is exact.
    assert_eq!(json["classes"][0]["recall"], serde_json::json!([1.0, 1.0, 1.0]));
    assert_eq!(json["images"], 2);

    let split = ["proposals", "recall", "--data", text(&data), "--split", "val", text(&boxes)];
    fails(&frcnn(&split), 1, &["val.txt: "]);
    fs::write(data.join("ImageSets/Main/val.txt"), "three\n").unwrap();
    fails(&frcnn(&split), 1, &["three.xml: "]);
}

#[test]
fn a_photo_that_fails_does_not_stop_the_rest_and_can_be_made_good() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("proposals-errors");
    let boxes = folder.join("b.safetensors");
    square(10, 10, 40).save(folder.join("good.png")).unwrap();
    fs::write(folder.join("bad.png"), "no photo").unwrap();
    let make = || frcnn(&["proposals", text(&folder), "-o", text(&boxes)]);
    let bad = folder.join("bad.png");
    fails(
        &frcnn(&["proposals", text(&bad), "-o", text(&boxes)]),
        1,
        &["bad.png: ", "1 of 1 images failed; nothing was written"],
    );
    assert!(!boxes.exists(), "an output of nothing");
    let output = make();
    fails(&output, 1, &["bad.png: ", "1 of 2 images failed"]);
    assert!(stdout(&output).contains("1 image, 1 of them new"), "{}", stdout(&output));
    let good = fs::read(&boxes).unwrap();
    let again = frcnn(&["proposals", text(&bad), "-o", text(&boxes), "--force"]);
    fails(&again, 1, &["nothing was written"]);
    assert_eq!(fs::read(&boxes).unwrap(), good, "boxes were lost to nothing");
    square(20, 20, 40).save(folder.join("bad.png")).unwrap();
    assert!(stdout(&make()).contains("2 images, 1 of them new"));

    fs::create_dir(folder.join("more")).unwrap();
    square(20, 20, 40).save(folder.join("more/good.png")).unwrap();
    let more = folder.join("more");
    let both = ["proposals", text(&folder), text(&more), "-o", text(&boxes)];
    fails(&frcnn(&both), 1, &["good.png: has the same stem as"]);
    fails(&frcnn(&["proposals", text(&folder), "-o", "x.json"]), 1, &["x.json: ", ".safetensors"]);
    fails(&frcnn(&["proposals", text(&folder)]), 2, &["--out"]);
}

#[test]
fn detect_makes_its_own_boxes() {
    let fixture = Fixture::get();
    let folder = fixture.fresh("frames");
    // The camera learns an empty view, then a square walks through it.
    for frame in 0..14u32 {
        let side = if frame < 12 { 0 } else { 40 };
        square(20 + frame, 30, side).save(folder.join(format!("{frame:02}.png"))).unwrap();
    }
    let detect = |more: &[&str]| {
        let usual = [text(&folder), "--json", "--score-threshold", "0"];
        fixture.detect(&[&usual[..], more].concat())
    };
    let output = detect(&["--proposals-from", "motion"]);
    assert!(stderr(&output).contains("00.png: motion: still learning the background"), "{}", stderr(&output));
    let found = |output: &Output| -> Vec<usize> {
        json_lines(output).iter().map(|line| line["detections"].as_array().unwrap().len()).collect()
    };
    let counts = found(&output);
    assert!(counts[..12].iter().all(|&n| n == 0) && counts[12..].iter().all(|&n| n > 0), "{counts:?}");

    // One box, so at most one detection of each class.
    for method in ["selective-search", "grid"] {
        let counts = found(&detect(&["--proposals-from", method, "--max-proposals", "1"]));
        assert!(counts.iter().all(|n| (1..=3).contains(n)), "{method}: {counts:?}");
    }
    fails(&detect(&["--proposals", "b.json", "--proposals-from", "grid"]), 2, &["cannot be used with"]);
    fails(&detect(&["--proposals-from", "guess"]), 2, &["selective-search", "motion", "grid"]);
}
