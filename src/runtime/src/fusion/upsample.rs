//! A pyramid's way down: what is upsampled only to be added to the map whose size it gets is added cell by cell, and never a map of
//! its own.

use frcnn_bundle::Op;

use super::{Planner, Step};

impl Planner<'_> {
    pub(super) fn fuse_upsample(&mut self, layer: usize) {
        if !matches!(self.uses.op(layer), Some(Op::Add)) {
            return;
        }
        let makers: Vec<Option<usize>> = self.uses.makers(layer).collect();
        let &[a, b] = &makers[..] else { return };
        let upsampled = [(a, b), (b, a)].into_iter().find_map(|(small, large)| {
            let upsample = small.filter(|&small| matches!(self.uses.op(small), Some(Op::Upsample)))?;
            let is_like = self.uses.makers(upsample).nth(1) == Some(large);
            (is_like && self.uses.only_reader(upsample) == Some(layer)).then_some(upsample)
        });
        if let Some(upsample) = upsampled {
            self.steps[upsample] = Step::Within(layer);
            self.steps[layer] = Step::AddUpsampled(upsample);
        }
    }
}
