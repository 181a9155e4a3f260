//! Where the CPU does not compute in f16, that is how weights are kept, and not how they are multiplied: a network of f16
//! weights gives the bits that a network of f32 weights of the same values gives. Where it does, scores and boxes are near.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use frcnn::{Detections, Detector, F32Products, Options};
use frcnn_bundle::{Bundle, BundleWriter, Precision, Weights};
use frcnn_fuzz::bundle::seeds;
use frcnn_kernels::F16Isa;
use frcnn_tests::{Photo, boxes, untrained};

/// A bundle with weights made of those of each section.
fn with_weights(bundle: &Bundle, weights: impl Fn(u32, &[f32]) -> Weights) -> Arc<Bundle> {
    let contents = bundle.contents();
    let mut writer = BundleWriter::new();
    for (id, section) in (0..).zip(&contents.sections) {
        let shape: Vec<usize> = section.shape.iter().map(|&extent| extent as usize).collect();
        writer.add_weights(section.name.clone(), &shape, weights(id, &bundle.weights_as_f32(id)));
    }
    Arc::new(writer.finish(contents.clone()).unwrap())
}

/// All weights that may be f16 are: those of the layer that reads the image, too.
fn rounded(bundle: &Bundle) -> Arc<Bundle> {
    let contents = bundle.contents();
    let layers = contents.trunk.layers.iter().chain(&contents.head.layers);
    let reducible: Vec<u32> = layers.filter_map(|layer| layer.op.reducible_weight()).collect();
    assert!(!reducible.is_empty());
    with_weights(bundle, |id, values| {
        let precision = if reducible.contains(&id) { Precision::F16 } else { Precision::F32 };
        Weights::rounded(values, precision)
    })
}

fn widened(bundle: &Bundle) -> Arc<Bundle> {
    with_weights(bundle, |_, values| Weights::rounded(values, Precision::F32))
}

fn detections(bundle: &Arc<Bundle>, threads: usize, f32_products: F32Products) -> Vec<Detections> {
    let score_threshold = Some(0.0);
    let options = Options { threads: Some(threads), f32_products, score_threshold, ..Options::default() };
    let mut session = Detector::new(bundle.clone(), &options).unwrap().session();
    // Few and many regions: few rows of a fully connected layer are multiplied otherwise.
    let photos = [(Photo::synthetic(200, 150), 3), (Photo::synthetic(150, 210), 90)];
    let found = photos.iter().map(|(photo, count)| {
        let (width, height) = (photo.rgb.width() as f32, photo.rgb.height() as f32);
        session.detect(&photo.frame(), &boxes(*count, width, height, 3)).unwrap()
    });
    found.collect()
}

fn best_score(detections: &Detections) -> f32 {
    detections.iter().map(|detection| detection.score).max_by(f32::total_cmp).unwrap_or(0.0)
}

#[test]
fn f16_weights_give_the_bits_of_f32_ones_of_the_same_values() {
    let seeds = seeds().into_iter().map(|(_, file)| Arc::new(Bundle::from_bytes(&file).unwrap()));
    // Layers of int8 weights round what they read, too.
    let seeds = seeds.filter(|bundle| bundle.contents().precision() != Precision::Int8);
    let mut moved = 0;
    for bundle in seeds.chain([untrained()]) {
        let half = rounded(&bundle);
        let same = widened(&half);
        for products in [F32Products::Exact, F32Products::Bf16x3] {
            let expected = detections(&same, 1, products);
            for threads in [1, 2] {
                let found = detections(&half, threads, products);
                if F16Isa::detect().is_some() {
                    let best = |all: &[Detections]| all.iter().map(best_score).collect::<Vec<_>>();
                    let scores = best(&found).into_iter().zip(best(&expected));
                    for (found, expected) in scores {
                        // Margins of an SVM may be hundreds.
                        let most = 0.02 * expected.abs().max(1.0);
                        assert!((found - expected).abs() <= most, "{found} for {expected}");
                    }
                } else {
                    assert_eq!(found, expected, "{threads} threads, {products:?}");
                }
            }
            moved += usize::from(detections(&bundle, 1, products) != expected);
        }
    }
    assert!(moved > 0, "rounding changes nothing, and nothing was tested");
}
