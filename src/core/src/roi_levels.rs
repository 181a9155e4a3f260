//! Which map of a feature pyramid suits a region.
//!
//! ```
//! use frcnn_core::{BBox, RoiLevels};
//! let levels = RoiLevels { canonical_size: 224.0, canonical_level: 4, finest_level: 2, count: 4 };
//! assert_eq!(levels.level_of(&BBox::new(0.0, 0.0, 224.0, 224.0)), Some(2));
//! assert_eq!(levels.level_of(&BBox::new(0.0, 0.0, 20.0, 20.0)), Some(0));
//! ```

use crate::BBox;

/// The levels of a feature pyramid, each map with half the rows and columns of the one before it.
///
/// A square of `canonical_size` pixels belongs to `canonical_level`, one of twice the side to the next level: equation 1 of
/// Lin et al., *Feature Pyramid Networks for Object Detection*, CVPR 2017.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiLevels {
    /// In network pixels: 224.
    pub canonical_size: f32,
    /// 4.
    pub canonical_level: u32,
    /// The level of the first map: 2 where that has a quarter of the image's rows.
    pub finest_level: u32,
    /// How many maps there are.
    pub count: usize,
}

impl RoiLevels {
    /// The position of the map that suits a region in network pixels, continuous corners:
    /// `floor(canonical_level + log2(sqrt(width * height) / canonical_size) + 1e-6)`, moved to the nearest level that there is.
    ///
    /// In f32, as torchvision computes it. A region without an area belongs to the finest map. None where the area is NaN or
    /// there is no map; a side below 0 is NaN, too, unless both are.
    #[must_use]
    pub fn level_of(&self, roi: &BBox) -> Option<usize> {
        let side = libm::sqrtf(roi.area(0.0));
        let level = self.canonical_level as f32 + libm::log2f(side / self.canonical_size) + 1e-6;
        let last = self.count.checked_sub(1)?;
        // Infinities are the first and the last level.
        let position = libm::floorf(level) - self.finest_level as f32;
        (!position.is_nan()).then(|| (position.max(0.0) as usize).min(last))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    const FPN: RoiLevels = RoiLevels { canonical_size: 224.0, canonical_level: 4, finest_level: 2, count: 4 };

    fn level(width: f32, height: f32) -> Option<usize> {
        FPN.level_of(&BBox::new(10.0, 20.0, 10.0 + width, 20.0 + height))
    }

    #[test]
    fn each_doubling_is_a_level() {
        for (width, height, expected) in [
            (224.0, 224.0, 2),
            (223.0, 224.0, 1),
            (112.0, 112.0, 1),
            (111.0, 112.0, 0),
            (1.0, 1.0, 0),
            (447.0, 448.0, 2),
            (448.0, 448.0, 3),
            // Beyond the last map.
            (1000.0, 2000.0, 3),
            // 448 x 112 has the area of the canonical square.
            (448.0, 112.0, 2),
            (0.0, 50.0, 0),
        ] {
            assert_eq!(level(width, height), Some(expected), "{width} x {height}");
        }
        // 1e-6 of a level: 224 (1 - 2^-24) belongs to 224.
        assert_eq!(FPN.level_of(&BBox::new(0.0, 0.0, 223.999_98, 224.0)), Some(2));
        assert_eq!(FPN.level_of(&BBox::new(0.0, 0.0, 223.99, 224.0)), Some(1));
    }

    #[test]
    fn pyramids_begin_anywhere() {
        let one = RoiLevels { finest_level: 5, count: 1, ..FPN };
        let levels: Vec<_> =
            [1.0, 300.0, 5000.0].map(|side| one.level_of(&BBox::new(0.0, 0.0, side, side))).into();
        assert_eq!(levels, [Some(0); 3]);
        let two = RoiLevels { finest_level: 3, count: 2, ..FPN };
        assert_eq!(two.level_of(&BBox::new(0.0, 0.0, 223.0, 223.0)), Some(0));
        assert_eq!(two.level_of(&BBox::new(0.0, 0.0, 225.0, 225.0)), Some(1));
        assert_eq!(RoiLevels { count: 0, ..FPN }.level_of(&BBox::new(0.0, 0.0, 9.0, 9.0)), None);
    }

    #[test]
    fn what_is_not_a_number_has_no_level() {
        assert_eq!(level(f32::NAN, 5.0), None);
        assert_eq!(level(-5.0, 5.0), None);
        assert_eq!(level(f32::INFINITY, 5.0), Some(3));
        assert_eq!(
            RoiLevels { canonical_size: f32::NAN, ..FPN }.level_of(&BBox::new(0.0, 0.0, 9.0, 9.0)),
            None
        );
    }
}
