//! Layers that a convolution, a fully connected layer or a sum of maps computes while its sums are in registers: the ReLU behind
//! any of them, another function of one value behind a convolution, and the 2x2 max pooling behind one that has a ReLU or nothing.

use frcnn_bundle::{Op, Pool};

use super::{Planner, READ_BY_OTHERS, Step};
use crate::ops::pointwise_of;

impl Planner<'_> {
    pub(super) fn fuse_activation(&mut self, layer: usize) {
        let Some(function) = self.uses.op(layer).and_then(pointwise_of) else { return };
        let is_relu = matches!(self.uses.op(layer), Some(Op::Relu));
        match if is_relu { self.applies_relu(layer) } else { self.applies_function(layer) } {
            Ok(operator) => {
                let epilogue = &mut self.epilogues[operator];
                if is_relu {
                    epilogue.relu = true
                } else {
                    epilogue.then = Some(function)
                }
                self.take_in(layer, operator);
            }
            Err(reason) => self.reasons[layer] = Some(reason),
        }
    }

    /// The convolution that can apply the function `layer`, or why none can.
    fn applies_function(&self, layer: usize) -> Result<usize, &'static str> {
        let before = self.uses.maker(layer).and_then(|before| Some((before, self.uses.conv(before)?)));
        let (operator, conv) = before.ok_or("not behind a convolution")?;
        if !self.kernels.computes(conv) {
            Err("the convolution does not multiply in f32")
        } else if self.only_reader(operator) != Some(layer) {
            Err(READ_BY_OTHERS)
        } else {
            Ok(operator)
        }
    }

    /// The layer that can apply the ReLU `layer`, or why none can.
    fn applies_relu(&self, layer: usize) -> Result<usize, &'static str> {
        let before = self.uses.maker(layer);
        let has_sums =
            |&before: &usize| matches!(self.uses.op(before), Some(Op::Conv(_) | Op::Gemm(_) | Op::Add));
        let is_plain = |&before: &usize| !matches!(self.steps[before], Step::AddUpsampled(_));
        let operator = before
            .filter(has_sums)
            .filter(is_plain)
            .ok_or("not behind a convolution, a fully connected layer or a sum of maps")?;
        if self.only_reader(operator) == Some(layer) { Ok(operator) } else { Err(READ_BY_OTHERS) }
    }

    pub(super) fn fuse_pool(&mut self, layer: usize) {
        let Some(Op::MaxPool(pool)) = self.uses.op(layer) else { return };
        match self.does_pool(layer, pool) {
            Ok(operator) => {
                self.epilogues[operator].pool = Some(pool.ceil_mode);
                self.take_in(layer, operator);
            }
            Err(reason) => self.reasons[layer] = Some(reason),
        }
    }

    /// The convolution that can do the max pooling `layer`, maybe behind its ReLU, or why none can.
    fn does_pool(&self, layer: usize, pool: &Pool) -> Result<usize, &'static str> {
        const NOT_BEHIND_CONV: &str = "not behind a convolution";
        let before = self.uses.maker(layer).ok_or(NOT_BEHIND_CONV)?;
        let operator = self.operator_of(before);
        let conv = self.uses.conv(operator).ok_or(NOT_BEHIND_CONV)?;
        if (pool.kernel, pool.stride, pool.pads) != ([2, 2], [2, 2], [0; 4]) {
            Err("windows other than 2x2 that move by 2")
        } else if !self.kernels.pools(conv) {
            Err("the convolution's algorithm takes in no pooling")
        } else if self.epilogues[operator].then.is_some() {
            Err("the convolution has taken in a function other than ReLU")
        } else if self.epilogues[operator].pool.is_some() {
            Err("the convolution has taken in a pooling already")
        } else if self.only_reader(operator) != Some(layer) {
            Err(READ_BY_OTHERS)
        } else {
            Ok(operator)
        }
    }
}
