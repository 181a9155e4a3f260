//! `Add` and `Mul` of two maps of one shape, or of a map and one of a single cell, which is spread over the other.

use frcnn_kernels::{add_in_place, scale_channels_in_place};
use tract_core::broadcast::multi_broadcast;
use tract_core::internal::*;

use super::{Resources, values};

/// What becomes of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Their sum, and with `relu` what is positive of it.
    Add {
        relu: bool,
    },
    Mul,
}

/// Written over the first map, or over the second, where nobody else reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BinaryOp {
    pub(crate) combine: Combine,
    pub(crate) resources: Resources,
}

impl Op for BinaryOp {
    fn name(&self) -> StaticName {
        "FrcnnBinary".into()
    }

    op_as_typed_op!();
}

impl EvalOp for BinaryOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        // Both are commutative: NaN aside, whose bits differ then, and nothing depends on them.
        let (map, other) = match a.len().cmp(&b.len()) {
            std::cmp::Ordering::Less => (b, a),
            std::cmp::Ordering::Equal if !a.is_exclusive() => (b, a),
            _ => (a, b),
        };
        let batch = map.shape().first().copied().unwrap_or(1);
        let made = self.resources.rewrite(map, |map| self.combine(map, values(&other)?, batch));
        Ok(tvec!(made?))
    }
}

impl BinaryOp {
    /// `map` with `other`, which is as long or has one cell for each of `batch` maps.
    fn combine(&self, map: &mut [f32], other: &[f32], batch: usize) -> TractResult<()> {
        let threads = self.resources.threads;
        // A product of two maps is one of as many channels.
        let batch = if map.len() == other.len() { 1 } else { batch.max(1) };
        match self.combine {
            Combine::Add { relu } if map.len() == other.len() => add_in_place(other, relu, threads, map)?,
            Combine::Add { relu } => {
                let channels = (other.len() / batch).max(1);
                let maps = map.chunks_mut((map.len() / batch).max(1));
                for (map, other) in maps.zip(other.chunks(channels)) {
                    for cell in map.chunks_mut(channels) {
                        add_in_place(other, relu, 1, cell)?;
                    }
                }
            }
            Combine::Mul => scale_channels_in_place(other, [batch, other.len() / batch], threads, map)?,
        }
        Ok(())
    }
}

impl TypedOp for BinaryOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes: TVec<_> = inputs.iter().map(|fact| fact.shape.to_tvec()).collect();
        Ok(tvec!(f32::fact(multi_broadcast(&shapes)?)))
    }
}
