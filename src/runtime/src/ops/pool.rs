//! `MaxPool` and `AveragePool`.

use frcnn_bundle::Pool;
use frcnn_kernels::{FusedLayer, PoolShape, average_pool_into, max_pool_into};
use tract_core::internal::*;

use super::{Resources, nhwc, values};

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
    pool: Pool,
    resources: Resources,
}

impl PoolOp {
    pub(crate) fn new(pool: &Pool, kind: PoolKind, resources: Resources) -> PoolOp {
        PoolOp { kind, pool: *pool, resources }
    }

    pub(super) fn shape(&self, size: [usize; 4]) -> PoolShape {
        pool_shape(&self.pool, size)
    }

    /// Whether a window of the map has the bits of the whole: but for means over what a window hangs over the map in ceil mode,
    /// which count cells otherwise than a window of the map shows them.
    pub(super) fn has_windows(&self) -> bool {
        !(self.pool.ceil_mode && self.kind == PoolKind::Average { count_include_pad: true })
    }

    /// What the layer gives of `input` by `shape`, which is that of the whole map or of a window.
    pub(super) fn give(&self, shape: &PoolShape, input: &Tensor) -> TractResult<TValue> {
        let (height, width) = shape.output_size().context("the window is larger than the map")?;
        let threads = self.resources.threads;
        let input = values(input)?;
        self.resources.make(&[shape.batch, height, width, shape.channels], |output| {
            match self.kind {
                PoolKind::Max => max_pool_into(shape, input, threads, output)?,
                PoolKind::Average { count_include_pad } => {
                    average_pool_into(shape, input, count_include_pad, threads, output)?;
                }
            }
            Ok(())
        })
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

/// A pooling on maps of a batch size, a height, a width and channels.
pub(crate) fn pool_shape(pool: &Pool, [batch, height, width, channels]: [usize; 4]) -> PoolShape {
    let [kernel, stride] = [pool.kernel, pool.stride].map(|pair| pair.map(|v| v as usize));
    let (pads, ceil_mode) = (pool.pads.map(|p| p as usize), pool.ceil_mode);
    PoolShape { batch, height, width, channels, kernel, stride, dilation: [1, 1], pads, ceil_mode }
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
        Ok(tvec!(self.give(&self.shape(nhwc(input.shape())?), &input)?))
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
