//! RoIAlign: how regions are sampled from feature maps.

use frcnn_core::RoiLevels;
use serde::{Deserialize, Serialize};

use crate::validate::{MAX_LEVELS, MAX_POOLED};

/// RoIAlign (He et al., *Mask R-CNN*, ICCV 2017) from the maps of a pyramid, or from one map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoiAlign {
    /// Rows and columns of bins.
    pub pooled: [u32; 2],
    /// Points that are sampled along each side of a bin; 0 for as many as the bin has cells along it, rounded up.
    pub sampling_ratio: u32,
    /// Whether a cell's centre lies at half a cell (ONNX `half_pixel`, detectron2's `ROIAlignV2`). If not, it lies at the cell's
    /// corner, and a region is at least one cell wide and high (ONNX `output_half_pixel`, torchvision's detectors).
    pub half_pixel: bool,
    /// Cells per blob pixel of each of the trunk's first outputs, which regions are sampled from, the finest first: 1/4,
    /// 1/8, 1/16 and 1/32 of a ResNet's pyramid.
    pub spatial_scales: Vec<f32>,
    /// Which of these maps a region is sampled from.
    pub level_rule: LevelRule,
}

/// Which map of a pyramid suits a region: equation 1 of Lin et al., *Feature Pyramid Networks for Object Detection*, CVPR 2017.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelRule {
    /// The side of the square, in blob pixels, whose level is `canonical_level`: 224.
    pub canonical_size: f32,
    /// The level of such a square: 4.
    pub canonical_level: u32,
    /// The level of the first map: 2 where that has a quarter of the blob's rows. Those behind follow one by one.
    pub finest_level: u32,
}

/// Points along a side of a bin, at most.
const MAX_SAMPLING_RATIO: u32 = 64;
/// Levels are binary logarithms of sizes.
const MAX_LEVEL: u32 = 64;

impl RoiAlign {
    /// Which map a region is sampled from.
    pub fn levels(&self) -> RoiLevels {
        let LevelRule { canonical_size, canonical_level, finest_level } = self.level_rule;
        RoiLevels { canonical_size, canonical_level, finest_level, count: self.spatial_scales.len() }
    }

    /// Whether every value lies in its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let RoiAlign { pooled, sampling_ratio, spatial_scales, level_rule, .. } = self;
        if !pooled.iter().all(|p| (1..=MAX_POOLED).contains(p)) {
            return Err(format!("pooled shape {pooled:?} is not within 1 to {MAX_POOLED}"));
        }
        if *sampling_ratio > MAX_SAMPLING_RATIO {
            return Err(format!("sampling ratio {sampling_ratio} is not within 0 to {MAX_SAMPLING_RATIO}"));
        }
        if !(1..=MAX_LEVELS).contains(&spatial_scales.len()) {
            let levels = spatial_scales.len();
            return Err(format!("{levels} levels of RoIAlign are not within 1 to {MAX_LEVELS}"));
        }
        if let Some(scale) = spatial_scales.iter().find(|&&scale| !(scale > 0.0 && scale <= 1.0)) {
            return Err(format!("spatial scale {scale} is not in (0, 1]"));
        }
        if !spatial_scales.is_sorted_by(|finer, coarser| finer >= coarser) {
            return Err(format!("spatial scales {spatial_scales:?} are not those of the finest map first"));
        }
        let LevelRule { canonical_size, canonical_level, finest_level } = *level_rule;
        if !(1.0..=1e6).contains(&canonical_size) {
            return Err(format!("a canonical size of {canonical_size} pixels is not within 1 to 1e6"));
        }
        if canonical_level.max(finest_level) > MAX_LEVEL {
            return Err(format!(
                "levels {canonical_level} and {finest_level} are not within 0 to {MAX_LEVEL}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torchvision() -> RoiAlign {
        RoiAlign {
            pooled: [7, 7],
            sampling_ratio: 2,
            half_pixel: false,
            spatial_scales: vec![0.25, 0.125, 0.0625, 0.03125],
            level_rule: LevelRule { canonical_size: 224.0, canonical_level: 4, finest_level: 2 },
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(torchvision().check(), Ok(()));
        type Spoil = fn(&mut RoiAlign);
        let cases: [(Spoil, &str); 13] = [
            (|align| align.pooled = [0, 7], "pooled shape [0, 7]"),
            (|align| align.pooled = [7, 65], "pooled shape [7, 65]"),
            (|align| align.sampling_ratio = 65, "sampling ratio 65"),
            (|align| align.spatial_scales.clear(), "0 levels"),
            (|align| align.spatial_scales = vec![0.5; 17], "17 levels"),
            (|align| align.spatial_scales[3] = 0.0, "spatial scale 0"),
            (|align| align.spatial_scales[0] = 1.5, "spatial scale 1.5"),
            (|align| align.spatial_scales[2] = f32::NAN, "spatial scale NaN"),
            (|align| align.spatial_scales.reverse(), "the finest map first"),
            (|align| align.level_rule.canonical_size = f32::NAN, "size of NaN"),
            (|align| align.level_rule.canonical_size = 0.5, "size of 0.5"),
            (|align| align.level_rule.canonical_level = u32::MAX, "levels 4294967295 and 2"),
            (|align| align.level_rule.finest_level = 65, "levels 4 and 65"),
        ];
        for (spoil, words) in cases {
            let mut align = torchvision();
            spoil(&mut align);
            let problem = align.check().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
