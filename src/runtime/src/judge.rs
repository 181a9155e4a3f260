//! The cascade's first judge: drops regions that are plainly background before the head runs.
//!
//! ```text
//! maps ─┬─ pool all RoIs ── judge ── foreground below the threshold? drop : keep
//!       └─ pool those that stay ── head ── predictions
//! ```
//!
//! It only drops. Which rows the head computes beside a row changes no bit of that row, so what stays gets what it would
//! get without a judge. A score that is NaN is below no threshold, and where a map has a value that is not finite, which
//! pooling would pass over, nothing is dropped.

use frcnn_bundle::{Cascade, Scores, Shape};
use frcnn_core::NO_ROI;
use frcnn_kernels::Step;

use crate::head::{Head, HeadInput};
use crate::ops::Resources;
use crate::pooling::{MapRegion, MapRegions};
use crate::rois::Rois;
use crate::{Error, FeatureMap, HeadOutput};

/// The judge of one detector.
#[derive(Debug)]
pub(crate) struct Judge {
    head: Head,
    keep: f32,
    kind: Scores,
}

impl Judge {
    /// None where the bundle has no cascade.
    pub(crate) fn new(region: Shape, resources: &Resources) -> Result<Option<Judge>, Error> {
        let contents = &resources.network.contents;
        let Some(Cascade { judge, keep, .. }) = &contents.cascade else { return Ok(None) };
        let head = Head::new("judge", judge, region, resources)?;
        Ok(Some(Judge { head, keep: *keep, kind: contents.manifest.scores }))
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Whether every value of the maps is finite: what is not, pooling might pass over.
    pub(crate) fn can_judge(maps: &[FeatureMap]) -> Result<bool, Error> {
        for map in maps {
            if !is_finite(map.data()?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends the judge's scores of `rois` to `scores`. `after` is called after each step of the work.
    pub(crate) fn scores(
        &self,
        regions: MapRegions<'_>,
        scores: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<(), Error> {
        self.head.run(HeadInput::Maps(regions), scores, after)
    }

    /// How much each of so many RoIs looks like an object, by its scores.
    pub(crate) fn foreground(&self, scores: &HeadOutput, rois: usize) -> Vec<f32> {
        let classes = scores.cls_prob.len() / rois.max(1);
        let rows = scores.cls_prob.chunks_exact(classes.max(1));
        rows.map(|row| Cascade::foreground(self.kind, row)).collect()
    }

    /// Drops those of `rois` that are background, by the scores of each.
    pub(crate) fn drop_below<R>(&self, rois: &mut Rois<R>, scores: &HeadOutput) -> usize {
        let foreground = self.foreground(scores, rois.rois.len());
        rois.drop_below(&foreground, self.keep)
    }

    /// Judges `rois` and drops those that are background; gives how many.
    pub(crate) fn drop_background<R: MapRegion>(
        &self,
        maps: &[FeatureMap],
        rois: &mut Rois<R>,
        scores: &mut HeadOutput,
        after: &mut dyn FnMut(Step),
    ) -> Result<usize, Error> {
        if !Judge::can_judge(maps)? {
            return Ok(0);
        }
        scores.cls_prob.clear();
        self.scores(R::on_maps(maps, &rois.rois), scores, after)?;
        let dropped = self.drop_below(rois, scores);
        after(Step::Multiply);
        Ok(dropped)
    }
}

impl<R> Rois<R> {
    /// Drops the RoIs whose value is below `least`: boxes that had one have [`NO_ROI`]. `values` are those of each RoI; one that
    /// is NaN, or that there is not, drops none. Gives the number of RoIs that were dropped.
    pub fn drop_below(&mut self, values: &[f32], least: f32) -> usize {
        let before = self.rois.len();
        let mut stays = 0;
        let moved: Vec<u32> = (0..before)
            .map(|position| {
                if values.get(position).is_some_and(|&value| value < least) {
                    return NO_ROI;
                }
                stays += 1;
                stays - 1
            })
            .collect();
        let mut places = moved.iter();
        self.rois.retain(|_| places.next().is_none_or(|&place| place != NO_ROI));
        for index in &mut self.index {
            *index = moved.get(*index as usize).copied().unwrap_or(NO_ROI);
        }
        before - self.rois.len()
    }
}

fn is_finite(map: &[f32]) -> bool {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    // Whole chunks, so that the loop over one is a vector's.
    map.chunks(4096)
        .all(|values| values.iter().fold(0, |most, value| most.max(value.to_bits() & !(1 << 31))) < INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProjectedRois;
    use frcnn_core::Roi;

    fn roi(x1: i32) -> Roi {
        Roi { x1, ..Roi::default() }
    }

    #[test]
    fn boxes_of_dropped_rois_have_none_and_others_keep_theirs() {
        let mut rois =
            ProjectedRois { rois: (0..5).map(roi).collect(), index: vec![4, 0, NO_ROI, 1, 1, 2, 3, 0] };
        let dropped = rois.drop_below(&[0.5, 0.1, f32::NAN, 0.2, 0.3], 0.3);
        assert_eq!(dropped, 2);
        assert_eq!(rois.rois, [roi(0), roi(2), roi(4)]);
        assert_eq!(rois.index, [2, 0, NO_ROI, NO_ROI, NO_ROI, 1, NO_ROI, 0]);
        // Values that are missing drop nothing; a threshold that is NaN neither.
        assert_eq!(rois.clone().drop_below(&[0.0], 1.0), 1);
        assert_eq!(rois.drop_below(&[0.0; 3], f32::NAN), 0);
        assert_eq!(rois.drop_below(&[0.0; 3], 1.0), 3);
        assert!(rois.rois.is_empty() && rois.index.iter().all(|&index| index == NO_ROI));
    }

    #[test]
    fn maps_with_values_that_are_not_finite_are_found() {
        let mut map = vec![-1.0; 10100];
        assert!(is_finite(&map));
        for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 4096, 10099] {
                let before = std::mem::replace(&mut map[place], odd);
                assert!(!is_finite(&map), "{odd} at {place}");
                map[place] = before;
            }
        }
        map[7] = f32::MAX;
        assert!(is_finite(&map));
    }
}
