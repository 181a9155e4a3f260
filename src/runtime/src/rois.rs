//! The RoIs of a list of boxes, and which of them is whose.

use frcnn_bundle::Regions;
use frcnn_core::{BBox, NO_ROI, Roi, RoiLevels, project_rois, window_rois};
use frcnn_files::try_resize;
use frcnn_kernels::AlignedRoi;

use crate::Error;

/// The RoIs of a list of boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rois<R> {
    /// Those of one level, of the image's pyramid or the feature pyramid, lie together.
    pub rois: Vec<R>,
    /// For each box the position of its RoI, or [`NO_ROI`] where it has none.
    pub index: Vec<u32>,
}

/// The distinct RoIs of a list of boxes, in ascending order: in cells of feature maps, or R-CNN's windows in pixels of the image. A
/// box that is not valid has none.
pub type ProjectedRois = Rois<Roi>;

/// The RoIs of a list of boxes in pixels of the blob, each with the map of the feature pyramid that suits it, by which they are
/// ordered. A box that is not valid has none.
pub type AlignedRois = Rois<AlignedRoi>;

impl<R> Default for Rois<R> {
    fn default() -> Rois<R> {
        Rois { rois: Vec::new(), index: Vec::new() }
    }
}

impl ProjectedRois {
    /// Of regions that are not aligned.
    pub(crate) fn project(
        &mut self,
        proposals: &[BBox],
        scales: &[f64],
        regions: &Regions,
        width_offset: f32,
    ) -> Result<(), Error> {
        try_resize(&mut self.rois, proposals.len(), Roi::default()).map_err(Error::memory("RoIs"))?;
        try_resize(&mut self.index, proposals.len(), 0).map_err(Error::memory("RoIs"))?;
        let (rois, index) = (&mut self.rois, &mut self.index);
        let distinct = match regions {
            Regions::RoiPooling(pooling) => {
                project_rois(proposals, scales, pooling.spatial_scale, width_offset, rois, index)?
            }
            Regions::Warp(warp) => {
                window_rois(proposals, warp.side, warp.context, width_offset, rois, index)?
            }
            Regions::RoiAlign(_) => 0,
        };
        self.rois.truncate(distinct);
        Ok(())
    }
}

impl AlignedRois {
    /// Of boxes in pixels of the blob.
    pub(crate) fn align(&mut self, boxes: &[BBox], levels: &RoiLevels) -> Result<(), Error> {
        let nothing = AlignedRoi { level: 0, bbox: BBox::default() };
        self.rois.clear();
        try_resize(&mut self.rois, boxes.len(), nothing).map_err(Error::memory("RoIs"))?;
        try_resize(&mut self.index, boxes.len(), NO_ROI).map_err(Error::memory("RoIs"))?;
        let level_of = |bbox: &BBox| levels.level_of(bbox).filter(|_| bbox.is_valid());
        // Where the RoIs of each level begin.
        let mut places = vec![0; levels.count + 1];
        for level in boxes.iter().filter_map(level_of) {
            places[level + 1] += 1;
        }
        for level in 0..levels.count {
            places[level + 1] += places[level];
        }
        let count = places[levels.count];
        for (bbox, index) in boxes.iter().zip(&mut self.index) {
            *index = NO_ROI;
            if let Some(level) = level_of(bbox) {
                let place = places[level];
                places[level] += 1;
                self.rois[place] = AlignedRoi { level: level as u16, bbox: *bbox };
                *index = place as u32;
            }
        }
        self.rois.truncate(count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn rois_lie_by_level_and_know_their_boxes() {
        let levels = RoiLevels { canonical_size: 224.0, canonical_level: 4, finest_level: 2, count: 3 };
        let square = |side: f32| BBox::new(1.0, 2.0, 1.0 + side, 2.0 + side);
        let boxes = [
            square(500.0),
            square(20.0),
            BBox::new(f32::NAN, 0.0, 1.0, 1.0),
            square(112.0),
            square(30.0),
            BBox::new(5.0, 5.0, 4.0, 9.0),
            square(20.0),
        ];
        let mut rois = AlignedRois::default();
        // Twice, for what was there must not matter.
        for _ in 0..2 {
            rois.align(&boxes, &levels).unwrap();
            assert_eq!(rois.index, [4, 0, NO_ROI, 3, 1, NO_ROI, 2]);
            let found: Vec<(u16, BBox)> = rois.rois.iter().map(|roi| (roi.level, roi.bbox)).collect();
            let expected = [(0, boxes[1]), (0, boxes[4]), (0, boxes[6]), (1, boxes[3]), (2, boxes[0])];
            assert_eq!(found, expected);
        }
        rois.align(&[], &levels).unwrap();
        assert!(rois.rois.is_empty() && rois.index.is_empty());
    }
}
