//! Streams of JPEGs through the camera daemon's splitter.
#![no_main]
#![allow(unsafe_code, reason = "a binding to the camera daemon's splitter")]

use frcnn_fuzz::seed;
use image::codecs::jpeg::JpegEncoder;
use libfuzzer_sys::fuzz_target;

unsafe extern "C" {
    fn fuzz_split(bytes: *const u8, size: usize) -> usize;
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut jpeg = Vec::new();
    let pixels: Vec<u8> = (0..16 * 8 * 3u32).map(|i| (i * i / 5) as u8).collect();
    JpegEncoder::new_with_quality(&mut jpeg, 60)
        .encode(&pixels, 16, 8, image::ExtendedColorType::Rgb8)
        .unwrap();
    let boundary = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 600\r\n\r\n";
    vec![
        ("one".into(), jpeg.clone()),
        ("two".into(), [&jpeg[..], &jpeg].concat()),
        ("multipart".into(), [&boundary[..], &jpeg, boundary, &jpeg, boundary].concat()),
        ("padded".into(), [&jpeg[..], &[0; 24], &jpeg, b"\xff\xd9"].concat()),
        ("cut".into(), [&jpeg[..jpeg.len() / 2], &jpeg[..]].concat()),
    ]
}

fuzz_target!(
    init: { seed(seeds); },
    |stream: &[u8]| {
        // SAFETY: the slice's own bytes.
        unsafe { fuzz_split(stream.as_ptr(), stream.len()) };
    }
);
