//! The published strategies: in which colour space, how coarsely and by what regions are grouped.

use super::colour::ColourSpace::{self, Hsv, Hue, Intensity, Lab, Rgi};
use super::group::Similarity;

/// How many ways of grouping are gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 8: HSV and Lab, k of 50 and 100, two similarities. About 2000 boxes of a photo.
    #[default]
    Fast,
    /// 80: three more colour spaces, k of 150 and 300, two more similarities. About 10,000 boxes of a photo.
    Quality,
    /// 16: HSV, Lab, rgI and intensity, k of 100 and 200, two similarities, and thin boxes too. Nearest to the boxes that
    /// the authors of Fast R-CNN published for their demonstration. About 3000 boxes of a photo.
    Published,
}

const NONE: Similarity = Similarity { colour: false, texture: false, size: false, fill: false };
const ALL: Similarity = Similarity { colour: true, texture: true, size: true, fill: true };
const SIMILARITIES: [Similarity; 4] = [
    ALL,
    Similarity { colour: false, ..ALL },
    Similarity { fill: true, ..NONE },
    Similarity { size: true, ..NONE },
];

impl Mode {
    pub(super) fn spaces(self) -> &'static [ColourSpace] {
        match self {
            Mode::Fast => &[Hsv, Lab],
            Mode::Quality => &[Hsv, Lab, Rgi, Hue, Intensity],
            Mode::Published => &[Hsv, Lab, Rgi, Intensity],
        }
    }

    /// Scale parameters k of the initial segmentation, in grey levels; the minimum size in pixels is the same number.
    pub(super) fn scales(self) -> &'static [f32] {
        match self {
            Mode::Fast => &[50.0, 100.0],
            Mode::Quality => &[50.0, 100.0, 150.0, 300.0],
            Mode::Published => &[100.0, 200.0],
        }
    }

    pub(super) fn similarities(self) -> &'static [Similarity] {
        match self {
            Mode::Fast | Mode::Published => &SIMILARITIES[..2],
            Mode::Quality => &SIMILARITIES,
        }
    }

    /// Boxes with a side under this many working pixels are left out.
    pub(super) fn min_side(self) -> usize {
        match self {
            Mode::Fast | Mode::Quality => 20,
            Mode::Published => 1,
        }
    }
}
