//! `Upsample`: a map in the size of another, each cell from the nearest one above and to the left; and the sum that it is mostly
//! made for.

use frcnn_kernels::{add_upsampled_in_place, upsample_into};
use tract_core::internal::*;

use super::{Resources, nhwc, values};

/// `[N, h, w, C]` and `[N, H, W, D]` to `[N, H, W, C]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpsampleOp {
    pub(crate) resources: Resources,
}

impl Op for UpsampleOp {
    fn name(&self) -> StaticName {
        "FrcnnUpsample".into()
    }

    op_as_typed_op!();
}

impl EvalOp for UpsampleOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (map, like) = args_2!(inputs);
        let [batch, from_height, from_width, channels] = nhwc(map.shape())?;
        let [_, height, width, _] = nhwc(like.shape())?;
        let made = self.resources.make(&[batch, height, width, channels], |output: &mut [f32]| {
            let (from, threads) = (values(&map)?, self.resources.threads);
            let from_size = [from_height, from_width];
            upsample_into(from, from_size, [batch, channels], [height, width], threads, output)?;
            Ok(())
        });
        Ok(tvec!(made?))
    }
}

impl TypedOp for UpsampleOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes = inputs.iter().map(|fact| fact.shape.to_tvec()).collect::<TVec<_>>();
        let [map, like] = &shapes[..] else { bail!("expected two maps") };
        let ([batch, _, _, channels], [_, height, width, _]) = (&map[..], &like[..]) else {
            bail!("expected [N, H, W, C] tensors")
        };
        Ok(tvec!(f32::fact([batch, height, width, channels].map(Clone::clone))))
    }
}

/// A map, and a smaller one that is added to it as [`UpsampleOp`] would make it: `[N, H, W, C]` and `[N, h, w, C]` to `[N, H, W, C]`.
/// Written over the map where nobody else reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddUpsampledOp {
    /// Whether the smaller map comes second.
    pub(crate) is_second: bool,
    pub(crate) resources: Resources,
}

impl Op for AddUpsampledOp {
    fn name(&self) -> StaticName {
        "FrcnnAddUpsampled".into()
    }

    op_as_typed_op!();
}

impl EvalOp for AddUpsampledOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let (map, from) = if self.is_second { (a, b) } else { (b, a) };
        let [batch, height, width, channels] = nhwc(map.shape())?;
        let [_, from_height, from_width, _] = nhwc(from.shape())?;
        let made = self.resources.rewrite(map, |map| {
            let (values, threads) = (values(&from)?, self.resources.threads);
            let from_size = [from_height, from_width];
            add_upsampled_in_place(values, from_size, [batch, channels], [height, width], threads, map)?;
            Ok(())
        });
        Ok(tvec!(made?))
    }
}

impl TypedOp for AddUpsampledOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [a, b] = inputs else { bail!("expected two maps") };
        let map = if self.is_second { a } else { b };
        Ok(tvec!(f32::fact(map.shape.to_tvec())))
    }
}
