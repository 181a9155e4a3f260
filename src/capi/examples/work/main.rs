//! `work roi_pool|detect TIMES`: does a fixed piece of work so many times on one thread, for targets/instructions to
//! count what one more time costs.

#[path = "../colours/bundle.rs"]
mod bundle;

use frcnn::{BBox, Detector, Frame, Options, Roi};
use frcnn_kernels::{FeatureMap, roi_pool_into};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, times] = &arguments[..] else { return Err("usage: work roi_pool|detect TIMES".into()) };
    let times = times.parse()?;
    match work.as_str() {
        "roi_pool" => roi_pool(times),
        "detect" => detect(times),
        _ => Err(format!("{work}: neither roi_pool nor detect").into()),
    }
}

/// 64 RoIs of all sizes from a map as large as VGG16's for a 600 x 800 image, of an eighth of its channels.
fn roi_pool(times: usize) -> Result<(), Box<dyn std::error::Error>> {
    let (height, width, channels) = (38, 50, 64);
    let map: Vec<f32> = (0..height * width * channels).map(|i| (i * 7919 % 251) as f32 - 50.0).collect();
    let map = FeatureMap::new(&map, height, width, channels)?;
    let rois: Vec<Roi> = (0..64i32)
        .map(|i| {
            let (x, y) = (i * 37 % 40, i * 23 % 30);
            Roi { level: 0, x1: x, y1: y, x2: (x + i % 17).min(49), y2: (y + i % 13).min(37) }
        })
        .collect();
    let mut out = vec![0.0; rois.len() * 49 * channels];
    for _ in 0..times {
        roi_pool_into(map, &rois, &[[7, 7]], 1, &mut out)?;
    }
    // Whoever computes is looked at, or the compiler need not compute.
    println!("{}", out.iter().sum::<f32>());
    Ok(())
}

/// A 320 x 240 image with 500 boxes through the detector of colours.
fn detect(times: usize) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options { threads: Some(1), ..Options::default() };
    let detector = Detector::new(bundle::colours(240, &bundle::Variant::PLAIN)?, &options)?;
    let pixels: Vec<u8> = (0..320u32 * 240)
        .flat_map(|i| [(i % 320 / 80 % 2 * 250) as u8, (i % 41) as u8, (i % 31) as u8])
        .collect();
    let frame = Frame::rgb8(&pixels, 320, 240)?;
    let corner = |i: u16| (f32::from(i * 37 % 240), f32::from(i * 23 % 180));
    let boxes: Vec<BBox> = (0..500)
        .map(|i| {
            let ((x, y), side) = (corner(i), f32::from(20 + i % 40));
            BBox::new(x, y, x + side, y + side)
        })
        .collect();
    let mut session = detector.session();
    for _ in 0..times {
        println!("{}", session.detect(&frame, &boxes)?.len());
    }
    Ok(())
}
