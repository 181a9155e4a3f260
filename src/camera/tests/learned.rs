//! A camera with a model that proposes by itself: what is kept from frame to frame changes nothing that is found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "it serves other tests")]
#[path = "../../runtime/tests/hostile/build.rs"]
mod build;
#[allow(dead_code, reason = "it serves other tests")]
#[path = "../../runtime/tests/faster/pyramid.rs"]
mod pyramid;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const WIDTH: usize = 150;
const HEIGHT: usize = 100;
const FRAMES: usize = 6;

/// Waves, through which a bar goes in every other frame.
fn video() -> Vec<u8> {
    let value = |x: usize, y: usize, c: usize| {
        let wave = (x as f32 * [0.3, 0.07, 0.19][c]).sin() + (y as f32 * [0.11, 0.23, 0.4][c]).cos();
        (127.0 + 60.0 * wave) as u8
    };
    let frame = |number: usize| {
        let bar = 20 + 15 * (number / 2)..40 + 15 * (number / 2);
        let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
        pixels.flat_map(move |(x, y)| {
            let is_bar = bar.contains(&x) && y > 60;
            [0, 1, 2].map(|c| if is_bar { 250 - 90 * c as u8 } else { value(x, y, c) })
        })
    };
    (0..FRAMES).flat_map(frame).collect()
}

/// What the daemon finds in each frame.
fn found(folder: &Path, more: &[&str]) -> Vec<Value> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let size = format!("{WIDTH}x{HEIGHT}");
    let (model, video) = (path("faster.frcnn"), path("video.rgb"));
    let output = Command::new(env!("CARGO_BIN_EXE_frcnn-camera"))
        .args(["-m", &model, "-i", &video, "-f", "rgb24", "-s", &size, "--threads", "1", "--all"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|mut line| line["detections"].take()).filter(Value::is_array).collect()
}

#[test]
fn a_model_that_proposes_keeps_what_has_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("faster.frcnn"), pyramid::pyramid().to_bytes()).unwrap();
    fs::write(folder.path().join("video.rgb"), video()).unwrap();
    let whole = found(folder.path(), &["--no-reuse"]);
    assert_eq!(whole.len(), FRAMES);
    assert!(
        whole[0] == whole[1] && whole[1] != whole[2] && whole[0].as_array().unwrap().len() > 3,
        "{whole:?}"
    );
    assert_eq!(found(folder.path(), &["--tolerance", "0"]), whole);
    // Nothing is a change: all frames are the first.
    assert_eq!(found(folder.path(), &["--tolerance", "255"]), vec![whole[0].clone(); FRAMES]);
    assert_eq!(found(folder.path(), &[]).len(), FRAMES);
}
