//! Convolutions that a concatenation alone reads, each once, write their channels of its map.

use frcnn_bundle::Op;

use super::{Planner, Step};

impl Planner<'_> {
    pub(super) fn fuse_concat(&mut self, layer: usize) {
        if !matches!(self.uses.op(layer), Some(Op::Concat)) {
            return;
        }
        let makers = self.uses.makers(layer);
        let branches: Option<Vec<usize>> = makers.map(|end| self.branch(layer, end?)).collect();
        match branches {
            Some(branches) => {
                for &branch in &branches {
                    self.steps[branch] = Step::Within(layer);
                }
                self.steps[layer] = Step::Concat(branches);
            }
            None => self.reasons[layer] = Some("not all its inputs are convolutions that it alone reads"),
        }
    }

    /// The convolution that makes what `end` gives, maybe with its ReLU, if that is for the layer `concat` alone.
    fn branch(&self, concat: usize, end: usize) -> Option<usize> {
        let start = self.operator_of(end);
        // A pooled map has no room among others' channels: the kernels that pool write whole maps.
        let is_branch = self.uses.conv(start).is_some()
            && self.epilogues[start].pool.is_none()
            && self.uses.only_reader(end) == Some(concat);
        is_branch.then_some(start)
    }
}
