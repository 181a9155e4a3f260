//! A detector's results on this machine equal those that were noted on x86-64, to 0.01 pixels and 1e-4 of a score.
//!
//! The tolerances are far above what another order of sums does to f32, and far below what a wrong kernel does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/colours/bundle.rs"]
mod bundle;

use std::fmt::Write;
use std::path::Path;

use frcnn::{BBox, Detector, Frame, Options};
use frcnn_core::largest_difference;

/// `FRCNN_UPDATE_GOLDEN=1` notes the results anew.
#[test]
fn equal_those_of_x86_64() {
    let mut found = String::new();
    // Sides that leave rests in every block of every kernel, and enough to choose Winograd.
    for (width, height, short_side) in [(161, 121, 121), (320, 240, 187), (97, 210, 240)] {
        let bundle = bundle::colours(short_side, &bundle::Variant::PLAIN).unwrap();
        let options = Options { score_threshold: Some(0.001), nms_iou: Some(0.8), ..Options::default() };
        let detector = Detector::new(bundle, &options).unwrap();
        let pixels = picture(width, height);
        let frame = Frame::rgb8(&pixels, width, height).unwrap();
        for d in &detector.detect(&frame, &boxes(width, height)).unwrap() {
            let BBox { x1, y1, x2, y2 } = d.bbox;
            writeln!(
                found,
                "{width} {} {} {:.6} {x1:.4} {y1:.4} {x2:.4} {y2:.4}",
                d.proposal, d.class_id, d.score
            )
            .unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/detections.txt");
    if std::env::var_os("FRCNN_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let noted = std::fs::read_to_string(&path).unwrap();
    assert!(noted.lines().count() >= 20, "too few detections to mean anything");
    let [mut found, mut noted] = [found, noted].map(|text| text.lines().map(numbers).collect::<Vec<_>>());
    // Two of nearly the same score may change places.
    found.sort_by(|a, b| a[..3].partial_cmp(&b[..3]).unwrap());
    noted.sort_by(|a, b| a[..3].partial_cmp(&b[..3]).unwrap());
    assert_eq!(found.len(), noted.len());
    for (found, noted) in found.iter().zip(&noted) {
        assert_eq!(found[..3], noted[..3]);
        assert!((found[3] - noted[3]).abs() < 1e-4, "{found:?}, noted {noted:?}");
        assert!(largest_difference(&found[4..], &noted[4..]) <= 0.01, "{found:?}, noted {noted:?}");
    }
}

fn numbers(line: &str) -> Vec<f64> {
    line.split(' ').map(|number| number.parse().unwrap()).collect()
}

/// Coloured discs on a ground that is nowhere flat.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let pixel = |i: u32| {
        let (x, y) = (i % width, i / width);
        let ground = [(x * 7 + y * 3) % 61, (x * 5 + y * 11) % 53, (x + y * 13) % 47].map(|v| v as u8);
        let within =
            |cx: u32, cy: u32| x.abs_diff(width * cx / 8).pow(2) + y.abs_diff(height * cy / 8).pow(2) < 400;
        match (within(2, 2), within(6, 3), within(3, 6)) {
            (true, _, _) => [230, ground[1], ground[2]],
            (_, true, _) => [ground[0], 210, ground[2]],
            (_, _, true) => [ground[0], ground[1], 250],
            _ => ground,
        }
    };
    (0..width * height).flat_map(pixel).collect()
}

/// Around the discs, and all over.
fn boxes(width: u32, height: u32) -> Vec<BBox> {
    let (width, height) = (width as f32, height as f32);
    let mut boxes = Vec::new();
    for (cx, cy) in [(2.0, 2.0), (6.0, 3.0), (3.0, 6.0), (5.0, 5.0)] {
        for size in [16.0, 18.5, 20.0, 26.0] {
            let (x, y) = (width * cx / 8.0, height * cy / 8.0);
            boxes.push(BBox::new(x - size, y - size, x + size, y + size * 0.9));
            boxes.push(BBox::new(x - size * 1.5, y - size / 2.0, x + size / 2.0, y + size));
        }
    }
    boxes
}
