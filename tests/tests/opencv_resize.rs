//! Preprocessing against OpenCV's own resize. `golden/opencv_resize.py` made the values.
#![allow(clippy::unwrap_used)]

use frcnn::Frame;
use frcnn_compiler::arch::Arch;
use frcnn_tests::{compile_new, detector};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    width: u32,
    height: u32,
    short_side: u32,
    max_long_side: u32,
    blob: [usize; 2],
    index: Vec<usize>,
    value: Vec<f32>,
}

/// The image that the script makes.
fn image(width: u32, height: u32) -> Vec<u8> {
    let pixel = |y: u32, x: u32, c: u32| ((x * x * 3 + y * y * 5 + x * y * 7 + c * 61) % 256) as u8;
    (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| pixel(y, x, c)))).collect()
}

#[test]
fn resize_equals_opencv() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/opencv_resize.json")).unwrap();
    for case in golden.cases {
        let bundle = compile_new(Arch::SqueezeNet, 3, |manifest| {
            manifest.scales = vec![case.short_side];
            manifest.max_long_side = case.max_long_side;
        });
        let pixels = image(case.width, case.height);
        let frame = Frame::rgb8(&pixels, case.width, case.height).unwrap();
        let blobs = detector(&bundle, 1).session().preprocess(&frame).unwrap();
        let what = format!("{} x {} to {}", case.width, case.height, case.short_side);
        assert_eq!([blobs[0].height, blobs[0].width], case.blob, "{what}");
        for (&index, &value) in case.index.iter().zip(&case.value) {
            let found = blobs[0].data[index];
            assert!((found - value).abs() <= 1e-3, "{what}: value {index} is {found}, OpenCV's {value}");
        }
    }
}
