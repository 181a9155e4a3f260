//! Image scales: how far an image is resized before the trunk sees it, and which pyramid level serves a box.
//!
//! ```
//! use frcnn_core::{blob_size, im_scale};
//! let s = im_scale(480, 640, 600, 1000);
//! assert_eq!(s, 1.25);
//! assert_eq!(blob_size(480, 640, s), (600, 800));
//! ```

use crate::BBox;

/// The side of the square whose area a pyramid brings every RoI nearest to, in network pixels: what the trunks saw
/// when they were trained on ImageNet.
pub const CANONICAL_SIDE: f64 = 224.0;

/// Network pixels per image pixel.
///
/// `short_side / min(height, width)`, unless the long side would then be more than `max_long_side` pixels (rounded
/// half to even): `max_long_side / max(height, width)`. An image without pixels gives 0.
#[must_use]
pub fn im_scale(height: u32, width: u32, short_side: u32, max_long_side: u32) -> f64 {
    let (short, long) = (f64::from(height.min(width)), f64::from(height.max(width)));
    if short == 0.0 {
        return 0.0;
    }
    let scale = f64::from(short_side) / short;
    if libm::rint(scale * long) > f64::from(max_long_side) { f64::from(max_long_side) / long } else { scale }
}

/// `(height, width)` in network pixels of an image resized by `im_scale`: each product rounded half to even, at least 1.
#[must_use]
pub fn blob_size(height: u32, width: u32, im_scale: f64) -> (usize, usize) {
    let side = |pixels: u32| (libm::rint(f64::from(pixels) * im_scale) as usize).max(1);
    (side(height), side(width))
}

/// Network pixels per image pixel as torchvision's detectors have it: the smaller of `short_side / min(height, width)` and
/// `long_side / max(height, width)`. An image without pixels gives 0.
#[must_use]
pub fn min_scale(height: u32, width: u32, short_side: u32, long_side: u32) -> f64 {
    let (short, long) = (f64::from(height.min(width)), f64::from(height.max(width)));
    if short == 0.0 {
        return 0.0;
    }
    (f64::from(short_side) / short).min(f64::from(long_side) / long)
}

/// `[height, width]` in network pixels of an image resized by `scale` as torchvision does it: each product rounded down, at
/// least 1.
#[must_use]
pub fn floor_size(height: u32, width: u32, scale: f64) -> [usize; 2] {
    [height, width].map(|pixels| ((f64::from(pixels) * scale) as usize).max(1))
}

/// `[height, width]` in network pixels of an image as detectron2's `ResizeShortestEdge` resizes it: the short side becomes
/// `short_side`, unless the long one would be more than `long_side`; sides are rounded to the nearest, half up, at least 1.
#[must_use]
pub fn shortest_edge_size(height: u32, width: u32, short_side: u32, long_side: u32) -> [usize; 2] {
    let (short, long) = (f64::from(height.min(width)).max(1.0), f64::from(height.max(width)).max(1.0));
    let scale = f64::from(short_side) / short;
    let (mut sides, limit) = ([f64::from(short_side), scale * long], f64::from(long_side));
    if sides[0].max(sides[1]) > limit {
        let less = limit / sides[0].max(sides[1]);
        sides = sides.map(|side| side * less);
    }
    let [short, long] = sides.map(|side| ((side + 0.5) as usize).max(1));
    if height < width { [short, long] } else { [long, short] }
}

/// The index in `im_scales` at which the scaled area of `bbox` is nearest 224 x 224; the first of equals.
///
/// 0 when `im_scales` is empty or the area is NaN.
#[must_use]
pub fn nearest_level(bbox: &BBox, im_scales: &[f64], width_offset: f32) -> usize {
    let area = f64::from(bbox.width(width_offset)) * f64::from(bbox.height(width_offset));
    let mut nearest = (0, f64::INFINITY);
    for (level, scale) in im_scales.iter().enumerate() {
        let distance = (area * scale * scale - CANONICAL_SIDE * CANONICAL_SIDE).abs();
        if distance < nearest.1 {
            nearest = (level, distance);
        }
    }
    nearest.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_by_the_short_side() {
        assert_eq!(im_scale(375, 500, 600, 1000), 1.6);
        assert_eq!(im_scale(500, 375, 600, 1000), 1.6);
    }

    #[test]
    fn scale_by_the_long_side() {
        // 600 / 300 would make 700 pixels 1400.
        assert_eq!(im_scale(300, 700, 600, 1000), 1000.0 / 700.0);
        assert_eq!(im_scale(700, 300, 600, 1000), 1000.0 / 700.0);
    }

    #[test]
    fn long_side_is_rounded_half_to_even_before_the_limit() {
        // 2 x 5 at s = 200: 1000 exactly, kept.
        assert_eq!(im_scale(2, 5, 400, 1000), 200.0);
        // 4 x 667 at s = 1.5: 1000.5, rounds to the even 1000 and is kept; rounding half up would go over.
        assert_eq!(im_scale(4, 667, 6, 1000), 1.5);
        // 4 x 669 at s = 1.5: 1003.5 rounds to 1004.
        assert_eq!(im_scale(4, 669, 6, 1003), 1003.0 / 669.0);
    }

    #[test]
    fn the_smaller_scale_and_whole_pixels() {
        assert_eq!(min_scale(480, 640, 800, 1333), 800.0 / 480.0);
        assert_eq!(min_scale(640, 480, 320, 640), 320.0 / 480.0);
        // 800 / 300 would make 900 pixels 2400.
        assert_eq!(min_scale(300, 900, 800, 1333), 1333.0 / 900.0);
        // 640 * 1.8735 = 1199.06 and 300 * 1.4811 = 444.33; 5 * 0.39 = 1.95.
        assert_eq!(floor_size(427, 640, 800.0 / 427.0), [800, 1199]);
        assert_eq!(floor_size(300, 900, 1333.0 / 900.0), [444, 1333]);
        assert_eq!(floor_size(5, 1, 0.39), [1, 1]);
        assert_eq!((min_scale(0, 7, 800, 1333), floor_size(0, 7, 0.0)), (0.0, [1, 1]));
    }

    #[test]
    fn the_shortest_edge_and_the_nearest_pixel() {
        // 640 * 800 / 480 = 1066.67, and half a pixel goes up.
        assert_eq!(shortest_edge_size(480, 640, 800, 1333), [800, 1067]);
        assert_eq!(shortest_edge_size(640, 480, 800, 1333), [1067, 800]);
        assert_eq!(shortest_edge_size(2, 3, 3, 100), [3, 5]);
        // 2400 becomes 1333, and 800 with it 444.33.
        assert_eq!(shortest_edge_size(300, 900, 800, 1333), [444, 1333]);
        assert_eq!(shortest_edge_size(500, 500, 800, 600), [600, 600]);
        assert_eq!(shortest_edge_size(1, 5000, 800, 1000), [1, 1000]);
        assert_eq!(shortest_edge_size(0, 0, 800, 1333), [800, 800]);
    }

    #[test]
    fn empty_image() {
        assert_eq!(im_scale(0, 10, 600, 1000), 0.0);
        assert_eq!(blob_size(0, 10, 0.0), (1, 1));
    }

    #[test]
    fn blob_sides_round_half_to_even() {
        assert_eq!(blob_size(3, 5, 0.5), (2, 2));
        assert_eq!(blob_size(1, 1000, 0.001), (1, 1));
        assert_eq!(blob_size(375, 500, 1.6), (600, 800));
    }

    #[test]
    fn level_nearest_the_canonical_area() {
        let scales = [0.5, 1.0, 2.0];
        // Inclusive sides 448, 224, 112: each exactly 224 at one level.
        for (side, level) in [(448.0, 0), (224.0, 1), (112.0, 2), (10.0, 2), (2000.0, 0)] {
            let b = BBox::new(0.0, 0.0, side - 1.0, side - 1.0);
            assert_eq!(nearest_level(&b, &scales, 1.0), level, "side {side}");
        }
        let b = BBox::new(0.0, 0.0, 99.0, 99.0);
        assert_eq!(nearest_level(&b, &[2.0, 2.0], 1.0), 0);
        assert_eq!(nearest_level(&b, &[], 1.0), 0);
        assert_eq!(nearest_level(&BBox::new(f32::NAN, 0.0, 1.0, 1.0), &scales, 1.0), 0);
    }
}
