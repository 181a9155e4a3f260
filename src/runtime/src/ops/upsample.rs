//! `Upsample`: a map in the size of another, each cell from the nearest one above and to the left.

use frcnn_kernels::upsample_into;
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
