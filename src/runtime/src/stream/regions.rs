//! What the head gave for the RoIs of the frame before.

use frcnn_files::{try_reserve, try_resize};

use crate::pooling::MapRegion;
use crate::{Error, HeadOutput};

/// RoIs of the last frame, and their predictions.
#[derive(Debug, Default)]
pub(super) struct RegionCache {
    /// What each RoI is, and its row, in ascending order.
    known: Vec<([u32; 5], u32)>,
    output: HeadOutput,
    /// Of the frame at hand, while it is put together.
    next: HeadOutput,
    /// What the head gives for the RoIs that it runs on.
    fresh: HeadOutput,
    /// For each RoI its row among the last frame's, if it is reused.
    rows: Vec<Option<usize>>,
}

impl RegionCache {
    /// What is known for the RoIs of the last [`RegionCache::update`].
    pub(super) fn output(&self) -> &HeadOutput {
        &self.output
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        let outputs = [&self.output, &self.next, &self.fresh];
        let values: usize = outputs.iter().map(|o| o.cls_prob.capacity() + o.bbox_pred.capacity()).sum();
        4 * values + size_of::<([u32; 5], u32)>() * self.known.capacity()
    }

    /// Takes over `rois`: those of before that have not changed keep their predictions, `run` appends those of the others: so
    /// many scores and box deltas each. Gives how many kept them. Where rows are not kept `apart`, all do or none.
    pub(super) fn update<R: MapRegion>(
        &mut self,
        rois: &[R],
        ([scores, deltas], apart): ([usize; 2], bool),
        has_changed: impl Fn(&R) -> bool,
        run: impl FnOnce(&[R], &mut HeadOutput) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.fresh.cls_prob.clear();
        self.fresh.bbox_pred.clear();
        self.rows.clear();
        let mut fresh = Vec::new();
        try_reserve(&mut self.rows, rois.len()).map_err(Error::memory("RoIs"))?;
        try_reserve(&mut fresh, rois.len()).map_err(Error::memory("RoIs"))?;
        for roi in rois {
            let known = self.row_of(roi).filter(|_| !has_changed(roi));
            self.rows.push(known);
            if known.is_none() {
                fresh.push(*roi);
            }
        }
        let were = self.known.len();
        let mut places = self.rows.iter().enumerate();
        if rois.len() == were && places.all(|(row, known)| *known == Some(row)) {
            return Ok(were);
        }
        if !apart {
            self.rows.fill(None);
            fresh.clear();
            fresh.extend_from_slice(rois);
        }
        if !fresh.is_empty() {
            run(&fresh, &mut self.fresh)?;
        }
        for (next, values) in [(&mut self.next.cls_prob, scores), (&mut self.next.bbox_pred, deltas)] {
            try_resize(next, rois.len().saturating_mul(values), 0.0).map_err(Error::memory("predictions"))?;
        }
        for (values, next, known, fresh) in [
            (scores, &mut self.next.cls_prob, &self.output.cls_prob, &self.fresh.cls_prob),
            (deltas, &mut self.next.bbox_pred, &self.output.bbox_pred, &self.fresh.bbox_pred),
        ] {
            let mut fresh = fresh.chunks_exact(values.max(1));
            for (row, to) in self.rows.iter().zip(next.chunks_exact_mut(values.max(1))) {
                let from = match row {
                    Some(row) => known.get(row * values..(row + 1) * values),
                    None => fresh.next(),
                };
                to.copy_from_slice(from.unwrap_or_default());
            }
        }
        std::mem::swap(&mut self.output, &mut self.next);
        self.know(rois)?;
        Ok(rois.len() - fresh.len())
    }

    /// The last frame's row of an RoI; of several that are alike any.
    fn row_of(&self, roi: &impl MapRegion) -> Option<usize> {
        let key = roi.key();
        let place = self.known.binary_search_by(|(known, _)| known.cmp(&key)).ok()?;
        self.known.get(place).map(|&(_, row)| row as usize)
    }

    fn know(&mut self, rois: &[impl MapRegion]) -> Result<(), Error> {
        try_resize(&mut self.known, rois.len(), Default::default()).map_err(Error::memory("RoIs"))?;
        for ((known, row), roi) in self.known.iter_mut().zip(0..).zip(rois) {
            *known = (roi.key(), row);
        }
        self.known.sort_unstable();
        Ok(())
    }
}
