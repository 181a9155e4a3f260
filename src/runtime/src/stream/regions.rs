//! What the head gave for the RoIs of the frame before.

use frcnn_core::Roi;
use frcnn_files::try_resize;

use crate::area::Area;
use crate::{Error, HeadOutput};

/// RoIs of the last frame, in ascending order, and their predictions.
#[derive(Debug, Default)]
pub(super) struct RegionCache {
    rois: Vec<Roi>,
    output: HeadOutput,
    /// Of the frame at hand, while it is put together.
    next: HeadOutput,
    /// RoIs that the head runs on, and what it gives for them.
    fresh: (Vec<Roi>, HeadOutput),
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
        let outputs = [&self.output, &self.next, &self.fresh.1];
        let values: usize = outputs.iter().map(|o| o.cls_prob.capacity() + o.bbox_pred.capacity()).sum();
        4 * values + size_of::<Roi>() * (self.rois.capacity() + self.fresh.0.capacity())
    }

    /// Takes over `rois`, distinct and in ascending order: those of before that have not changed keep their predictions, `run`
    /// appends those of the others: so many scores and box deltas each. Gives how many kept them. Where rows are not kept `apart`, all do or none.
    pub(super) fn update(
        &mut self,
        rois: &[Roi],
        ([scores, deltas], apart): ([usize; 2], bool),
        has_changed: impl Fn(&Roi) -> bool,
        run: impl FnOnce(&[Roi], &mut HeadOutput) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let (fresh, output) = &mut self.fresh;
        fresh.clear();
        output.cls_prob.clear();
        output.bbox_pred.clear();
        self.rows.clear();
        let memory = Error::memory("RoIs");
        self.rows.try_reserve(rois.len()).map_err(|_| memory(no_memory(rois.len())))?;
        fresh.try_reserve(rois.len()).map_err(|_| memory(no_memory(rois.len())))?;
        let mut old = 0;
        for roi in rois {
            while self.rois.get(old).is_some_and(|known| known < roi) {
                old += 1;
            }
            let known = self.rois.get(old) == Some(roi) && !has_changed(roi);
            self.rows.push(known.then_some(old));
            if !known {
                fresh.push(*roi);
            }
        }
        if !apart && (!fresh.is_empty() || self.rois.len() != rois.len()) {
            self.rows.fill(None);
            fresh.clear();
            fresh.extend_from_slice(rois);
        }
        if !fresh.is_empty() {
            run(fresh, output)?;
        }
        let reused = rois.len() - fresh.len();
        let same_places = reused == rois.len() && self.rois.len() == rois.len();
        if same_places {
            return Ok(reused);
        }
        for (next, values) in [(&mut self.next.cls_prob, scores), (&mut self.next.bbox_pred, deltas)] {
            try_resize(next, rois.len().saturating_mul(values), 0.0).map_err(Error::memory("predictions"))?;
        }
        for (values, next, known, fresh) in [
            (scores, &mut self.next.cls_prob, &self.output.cls_prob, &self.fresh.1.cls_prob),
            (deltas, &mut self.next.bbox_pred, &self.output.bbox_pred, &self.fresh.1.bbox_pred),
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
        try_resize(&mut self.rois, rois.len(), Roi::default()).map_err(Error::memory("RoIs"))?;
        self.rois.copy_from_slice(rois);
        Ok(reused)
    }
}

fn no_memory(rois: usize) -> frcnn_files::NoMemory {
    frcnn_files::NoMemory { bytes: rois.saturating_mul(size_of::<Roi>()) }
}

/// The cells of a map that an RoI sees, or some more, and so many around them.
pub(super) fn cells(roi: &Roi, around: i32) -> Area {
    let axis = |first: i32, last: i32| {
        let cell = |cell: i32| usize::try_from(cell).unwrap_or(0);
        cell(first.min(last) - around)..cell(first.max(last) + 1 + around)
    };
    Area::new(axis(roi.y1, roi.y2), axis(roi.x1, roi.x2))
}
