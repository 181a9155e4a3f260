//! Streams on a video of a fixed camera: `data/video/highway.avi`, leaves in the wind, compressed as a camera does.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use frcnn::{BBox, Frame, StreamOptions, Tolerance};
use frcnn_proposals::{Grid, Propose};
use frcnn_testkit::{program, say, shared};
use frcnn_tests::{bccd, detector};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
const FRAMES: usize = 24;
/// The noise is learned in the first of them.
const LEARNED: usize = 10;

/// A road; the network, one of blood cells, finds what it takes for some.
fn video() -> Option<Vec<Vec<u8>>> {
    let path = shared()?.join("data/video/highway.avi");
    let ffmpeg = program("ffmpeg", "ffmpeg")?;
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-ss", "4", "-i"])
        .arg(path)
        .args(["-frames:v", &FRAMES.to_string(), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frames: Vec<Vec<u8>> =
        output.stdout.chunks_exact((WIDTH * HEIGHT * 3) as usize).map(<[u8]>::to_vec).collect();
    assert_eq!(frames.len(), FRAMES);
    Some(frames)
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::rgb8(pixels, WIDTH, HEIGHT).unwrap()
}

fn boxes() -> Vec<BBox> {
    Grid.propose(&frame(&vec![0; (WIDTH * HEIGHT * 3) as usize]), 300).boxes
}

/// The largest mean difference of two blocks of 4 x 4 pixels, in grey levels.
fn apart(a: &[u8], b: &[u8]) -> f32 {
    let row = WIDTH as usize * 3;
    let blocks = (0..HEIGHT as usize).step_by(4).flat_map(|y| (0..row).step_by(12).map(move |x| (y, x)));
    let sums = blocks.map(|(y, x)| {
        let rows = (y..y + 4).map(|y| y * row + x);
        rows.flat_map(|start| a[start..start + 12].iter().zip(&b[start..start + 12]))
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum::<u32>()
    });
    sums.max().unwrap() as f32 / 48.0
}

/// With a tolerance of 0 a frame's detections are those of the frame; by default, those of a picture that is not further from it
/// than the tolerance, which stays small though leaves stir.
#[test]
fn a_video_is_detected_as_its_frames_are() {
    let (Some(shared), Some(frames)) = (shared(), video()) else { return };
    let detector = detector(&bccd(&shared), 2);
    let (mut session, boxes) = (detector.session(), boxes());
    let exact = StreamOptions { tolerance: Tolerance::Fixed(0.0), ..StreamOptions::default() };
    let mut exact = detector.stream(exact).unwrap();
    let mut stream = detector.stream(StreamOptions::default()).unwrap();
    let (mut detected, mut cells) = (0, 0.0);
    for (number, pixels) in frames.iter().enumerate() {
        let expected = session.detect(&frame(pixels), &boxes).unwrap();
        assert_eq!(exact.detect(&frame(pixels), &boxes).unwrap(), expected, "{number}");
        detected += expected.len();

        let before = stream.reuse().tolerance;
        let detections = stream.detect(&frame(pixels), &boxes).unwrap();
        let held = stream.composite().unwrap().packed().unwrap().to_vec();
        assert_eq!(detections, session.detect(&frame(&held), &boxes).unwrap(), "{number}");
        let reuse = stream.reuse();
        assert!(apart(&held, pixels) <= before.max(reuse.tolerance) + 1e-4, "{number}");
        assert!(reuse.tolerance <= 6.0, "{number}: {}", reuse.tolerance);
        if number >= LEARNED {
            assert!(reuse.tolerance > 1.0, "{number}: {}", reuse.tolerance);
            cells += reuse.cells_changed as f64 / reuse.cells as f64 / (FRAMES - LEARNED) as f64;
        }
    }
    assert!(detected > FRAMES, "the network finds nothing to compare");
    say(&format!(
        "highway.avi: {:.3} of the cells accepted anew, {:.1} grey levels",
        cells,
        stream.reuse().tolerance
    ));
    assert!(cells < 0.4, "{cells}");
}
