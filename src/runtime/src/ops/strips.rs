//! Layers that run a strip of rows at a time: see [`run_strips`].

use frcnn_kernels::{Cpu, FusedLayer, StripScratch, run_strips, strip_scratch_lens};
use tract_core::internal::*;

use super::buffer_pool::Buffer;
use super::{ConvOp, LrnOp, PoolOp, Resources, nhwc, values};

/// One of the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StripLayer {
    Conv(ConvOp),
    MaxPool(PoolOp),
    Lrn(LrnOp),
}

impl StripLayer {
    fn op(&self) -> &dyn TypedOp {
        match self {
            StripLayer::Conv(op) => op,
            StripLayer::MaxPool(op) => op,
            StripLayer::Lrn(op) => op,
        }
    }
}

/// `[N, H, W, C]` through all layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripsOp {
    pub(crate) layers: Vec<StripLayer>,
    pub(crate) resources: Resources,
}

impl StripsOp {
    /// Runs `work` with a scratch for each thread.
    fn with_scratch<T>(
        &self,
        layers: &[FusedLayer<'_>],
        size: [usize; 3],
        work: impl FnOnce(&mut Vec<StripScratch>) -> TractResult<T>,
    ) -> TractResult<T> {
        let shapes: Vec<_> = layers.iter().map(FusedLayer::shape).collect();
        let lens = strip_scratch_lens(Cpu::detect(), &shapes, size)?;
        let mut rooms = Vec::new();
        for _ in 0..self.resources.threads {
            let [a, b, conv] = lens.map(|len| self.resources.buffers.take(len, false));
            rooms.push([a?, b?, conv?]);
        }
        let lend =
            |room: &mut [Buffer; 3]| room.each_mut().map(|buffer| std::mem::take(&mut **buffer)).into();
        let mut scratch = rooms.iter_mut().map(lend).collect();
        let done = work(&mut scratch);
        for (room, scratch) in rooms.iter_mut().zip(scratch) {
            for (buffer, values) in room.iter_mut().zip(<[Vec<f32>; 3]>::from(scratch)) {
                **buffer = values;
            }
        }
        done
    }
}

impl Op for StripsOp {
    fn name(&self) -> StaticName {
        "FrcnnStrips".into()
    }

    op_as_typed_op!();
}

impl EvalOp for StripsOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [batch, height, width, channels] = nhwc(input.shape())?;
        let (mut shape, size) = ([1, height, width, channels], [height, width, channels]);
        let mut layers = vec![];
        for layer in &self.layers {
            layers.push(match layer {
                StripLayer::Conv(op) => op.fused(&mut shape)?,
                StripLayer::MaxPool(op) => op.fused(&mut shape)?,
                StripLayer::Lrn(op) => op.fused(),
            });
        }
        let [_, out_height, out_width, out_channels] = shape;
        let input = values(&input)?;
        let output = self.resources.make(&[batch, out_height, out_width, out_channels], |output| {
            let image = (height * width * channels).max(1);
            let out_image = (out_height * out_width * out_channels).max(1);
            self.with_scratch(&layers, size, |scratch| {
                for (input, output) in input.chunks(image).zip(output.chunks_mut(out_image)) {
                    run_strips(&layers, size, input, self.resources.threads, scratch, output)?;
                }
                Ok(())
            })
        })?;
        Ok(tvec!(output))
    }
}

impl TypedOp for StripsOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = (*inputs.first().context("no input")?).clone();
        for layer in &self.layers {
            fact = layer.op().output_facts(&[&fact])?.pop().context("a layer without output")?;
        }
        Ok(tvec!(fact))
    }
}
