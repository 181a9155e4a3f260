//! 5,000 images of 80 classes are scored while one waits.
#![allow(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use frcnn_eval::{Dataset, Detection, Image, Region, Truth, coco};

/// As COCO val2017: 5,000 images, 80 classes, 7 objects and 100 detections an image.
fn like_coco() -> (Dataset, Vec<Detection>) {
    let mut state = 7u64;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let mut dataset = Dataset { classes: (0..80).map(|c| c.to_string()).collect(), ..Dataset::default() };
    let mut detections = Vec::new();
    for image in 0..5000 {
        dataset.images.push(Image {
            stem: image.to_string(),
            id: Some((image as i64).into()),
            path: PathBuf::new(),
            size: None,
        });
        let classes: Vec<usize> = (0..3).map(|_| (unit() * 80.0) as usize).collect();
        let mut region = || {
            let (width, height) = (8.0 + unit() * 200.0, 8.0 + unit() * 200.0);
            Region { x: unit() * 400.0, y: unit() * 300.0, width, height }
        };
        for object in 0..7 {
            let region = region();
            let class = classes[object % 3];
            dataset.truths.push(Truth {
                image,
                class,
                region,
                area: region.area(),
                ignore: false,
                crowd: false,
            });
            for near in 0..8 {
                let moved = Region { x: region.x + f64::from(near) * 3.0, ..region };
                detections.push(Detection { image, class, score: 0.9 / f64::from(near + 1), region: moved });
            }
        }
        for other in 0..44 {
            let class = classes[other % 3];
            detections.push(Detection { image, class, score: 0.01 * other as f64, region: region() });
        }
    }
    (dataset, detections)
}

#[test]
fn five_thousand_images() {
    if cfg!(debug_assertions) {
        return;
    }
    let (dataset, detections) = like_coco();
    assert_eq!(detections.len(), 500_000);
    let start = Instant::now();
    let summary = coco(&dataset, &detections).summary;
    let took = start.elapsed();
    assert!(summary.ap.unwrap() > 0.1 && summary.ar100.unwrap() > summary.ar1.unwrap());
    // The requirement; it takes a tenth of that on two idle cores.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
