//! `MaxPool` and `AveragePool`.

use frcnn_bundle::Pool;
use frcnn_kernels::{FusedLayer, PoolShape, average_pool_into, max_pool_into};
use tract_core::internal::*;

use super::{Resources, nhwc};

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PoolKind {
    Max,
    Average { count_include_pad: bool },
}

/// `[N, H, W, C]` to `[N, Ho, Wo, C]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolOp {
    kind: PoolKind,
    /// Kernel, stride.
    window: [[usize; 2]; 2],
    pads: [usize; 4],
    ceil_mode: bool,
    resources: Resources,
}

impl PoolOp {
    pub(crate) fn new(pool: &Pool, kind: PoolKind, resources: Resources) -> PoolOp {
        let window = [pool.kernel, pool.stride].map(|pair| pair.map(|v| v as usize));
        let pads = pool.pads.map(|p| p as usize);
        PoolOp { kind, window, pads, ceil_mode: pool.ceil_mode, resources }
    }

    fn shape(&self, [batch, height, width, channels]: [usize; 4]) -> PoolShape {
        let [kernel, stride] = self.window;
        let (pads, ceil_mode) = (self.pads, self.ceil_mode);
        PoolShape { batch, height, width, channels, kernel, stride, dilation: [1, 1], pads, ceil_mode }
    }

    /// Max pooling of one map of `shape`, which becomes that of its output.
    pub(super) fn fused(&self, shape: &mut [usize; 4]) -> TractResult<FusedLayer<'static>> {
        ensure!(self.kind == PoolKind::Max, "strips are max pooled");
        let pool = self.shape(*shape);
        let (height, width) = pool.output_size().context("the window is larger than the map")?;
        *shape = [1, height, width, pool.channels];
        Ok(FusedLayer::MaxPool(pool))
    }
}

impl Op for PoolOp {
    fn name(&self) -> StaticName {
        "FrcnnPool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PoolOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = self.shape(nhwc(input.shape())?);
        let (height, width) = shape.output_size().context("the window is larger than the map")?;
        let threads = self.resources.threads;
        self.resources.map_tensor(&input, &[shape.batch, height, width, shape.channels], |input, output| {
            match self.kind {
                PoolKind::Max => max_pool_into(&shape, input, threads, output)?,
                PoolKind::Average { count_include_pad } => {
                    average_pool_into(&shape, input, count_include_pad, threads, output)?;
                }
            }
            Ok(())
        })
    }
}

impl TypedOp for PoolOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, height, width, channels] = &*inputs[0].shape.to_tvec() else {
            bail!("expected a [N, H, W, C] tensor")
        };
        let shape = self.shape([1, height.to_usize()?, width.to_usize()?, channels.to_usize()?]);
        let (height, width) = shape.output_size().context("the window is larger than the map")?;
        Ok(tvec!(f32::fact([batch.clone(), height.to_dim(), width.to_dim(), channels.clone()])))
    }
}
