//! What holds of the detections of every bundle, frame and list of proposals.

use frcnn::{BBox, Detections, Frame};
use frcnn_bundle::{Manifest, Resize};

/// Boxes of every kind that the documentation of `frcnn` speaks of, for an image of 24 x 18 pixels.
pub const PROPOSALS: [BBox; 10] = [
    BBox::new(0.0, 0.0, 23.0, 17.0),
    BBox::new(3.0, 4.0, 11.0, 12.0),
    BBox::new(3.0, 4.0, 11.0, 12.0),
    BBox::new(7.5, 2.25, 7.5, 2.25),
    BBox::new(-40.0, -30.0, 60.0, 50.0),
    BBox::new(100.0, 100.0, 120.0, 110.0),
    BBox::new(9.0, 9.0, 2.0, 2.0),
    BBox::new(f32::NAN, 0.0, 1.0, 1.0),
    BBox::new(f32::NEG_INFINITY, 0.0, f32::INFINITY, 1.0),
    BBox::new(-3e38, -3e38, 3e38, 3e38),
];

/// A picture of 24 x 18 pixels that is not flat.
#[must_use]
pub fn picture() -> Vec<u8> {
    (0..24 * 18 * 3u32).map(|i| (i * i / 7 + i * 13) as u8).collect()
}

/// The frame of [`picture`].
#[must_use]
pub fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::rgb8(pixels, 24, 18).expect("the picture is a frame")
}

/// Every detection is of an object's class and of one of the proposals, has a finite score, and its box is finite, not
/// inverted and inside the image, whose border is where the manifest's [`Resize`] has it.
pub fn hold(detections: &Detections, manifest: &Manifest, proposals: usize) {
    let classes = manifest.classes.len();
    let [right, bottom] = match manifest.resize {
        Resize::Published => [23.0, 17.0],
        Resize::Torchvision | Resize::Detectron2 => [24.0, 18.0],
    };
    for (i, d) in detections.iter().enumerate() {
        let BBox { x1, y1, x2, y2 } = d.bbox;
        assert!(d.score.is_finite(), "score of {d:?}");
        assert!((1..classes).contains(&usize::from(d.class_id)), "class of {d:?}");
        assert!((d.proposal as usize) < proposals, "proposal of {d:?}");
        // NaN fails every comparison.
        assert!(0.0 <= x1 && x1 <= x2 && x2 <= right, "columns of {d:?}");
        assert!(0.0 <= y1 && y1 <= y2 && y2 <= bottom, "rows of {d:?}");
        assert!(i == 0 || detections[i - 1].score >= d.score, "order of {d:?}");
    }
}
