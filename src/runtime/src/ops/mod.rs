//! The layers that run on kernels of our own, as tract operators over channels-last tensors.
//!
//! An operator names its weights and holds none of them, so the plans for different blob sizes share one packed copy.

mod average;
mod binary;
mod buffer_pool;
mod choice;
mod conv;
mod conv_plan;
mod int8;
mod linear;
mod lrn;
mod map;
mod pack;
mod pointwise;
mod pool;
mod ptr_eq;
mod softmax;
mod strips;
mod upsample;
mod windowed;

use std::sync::Arc;

use frcnn_bundle::SectionId;
use tract_core::internal::*;

use crate::network::Network;
use ptr_eq::PtrEq;

pub(crate) use average::GlobalAverageOp;
pub(crate) use binary::{BinaryOp, Combine};
pub(crate) use buffer_pool::{BufferPool, Shelf, Taken};
pub(crate) use choice::choose;
pub(crate) use conv::{ConcatConvsOp, ConvOp, PackedConvs, UnpackedConv, conv_shape};
pub(crate) use conv_plan::{ConvPlan, ConvPlans};
pub(crate) use linear::{LinearOp, PackedLinears, UnpackedLinear};
pub(crate) use lrn::LrnOp;
pub(crate) use map::{Readers, Recycled, Value, buffer_len, cut, paste, values};

pub(crate) use pack::{PackedWeights, UnpackedWeights};
pub(crate) use pointwise::{PointwiseOp, pointwise_of};
pub(crate) use pool::{PoolKind, PoolOp, pool_shape};
pub(crate) use softmax::SoftmaxOp;
pub(crate) use strips::{StripLayer, StripsOp};
pub(crate) use upsample::{AddUpsampledOp, UpsampleOp};
pub(crate) use windowed::{Windowed, windowed};

/// What all operators of a graph work with. Cloning is cheap and gives the same.
pub(crate) type Resources = PtrEq<ResourcesInner>;

#[derive(Debug)]
pub(crate) struct ResourcesInner {
    pub(crate) threads: usize,
    pub(crate) network: Arc<Network>,
    pub(crate) weights: Arc<PackedWeights>,
    pub(crate) buffers: Arc<BufferPool>,
    /// Of what the operator gives that has these.
    readers: Readers,
    recycled: Arc<Recycled>,
}

impl Resources {
    pub(crate) fn new(threads: usize, network: Network, weights: PackedWeights) -> Resources {
        PtrEq::from(ResourcesInner {
            threads,
            network: Arc::new(network),
            weights: Arc::new(weights),
            buffers: Arc::default(),
            readers: Readers::Kernels,
            recycled: Arc::default(),
        })
    }

    /// The same for an operator that gives what these read.
    pub(crate) fn read_by(&self, readers: Readers) -> Resources {
        PtrEq::from(ResourcesInner {
            threads: self.threads,
            network: self.network.clone(),
            weights: self.weights.clone(),
            buffers: self.buffers.clone(),
            readers,
            recycled: self.recycled.clone(),
        })
    }

    /// The same for a stream, whose tensors it takes from `recycled`.
    pub(crate) fn of_stream(&self, recycled: Arc<Recycled>) -> Resources {
        PtrEq::from(ResourcesInner {
            threads: self.threads,
            network: self.network.clone(),
            weights: self.weights.clone(),
            buffers: self.buffers.clone(),
            readers: self.readers,
            recycled,
        })
    }

    /// A tensor of `shape`, which `fill` writes; it may hold anything before.
    pub(crate) fn make<T: Value>(
        &self,
        shape: &[usize],
        fill: impl FnOnce(&mut [T]) -> TractResult<()>,
    ) -> TractResult<TValue> {
        map::make((&self.buffers, &self.recycled), self.readers, shape, fill)
    }

    /// The tensor that is `value` after `change`, in place where nobody else holds `value`.
    pub(crate) fn rewrite(
        &self,
        value: TValue,
        change: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> TractResult<TValue> {
        map::rewrite((&self.buffers, &self.recycled), self.readers, value, change)
    }

    /// Who reads what the operator gives that has these.
    pub(crate) fn readers(&self) -> Readers {
        self.readers
    }

    /// The values of a layer's bias.
    pub(crate) fn bias(&self, section: Option<SectionId>) -> Option<&[f32]> {
        section.map(|section| self.network.values(section))
    }

    /// Runs `kernel` from a whole f32 tensor into one of `shape` that may hold anything.
    fn map_tensor(
        &self,
        input: &Tensor,
        shape: &[usize],
        kernel: impl FnOnce(&[f32], &mut [f32]) -> TractResult<()>,
    ) -> TractResult<TVec<TValue>> {
        let input = values(input)?;
        Ok(tvec!(self.make(shape, |output| kernel(input, output))?))
    }

    /// Runs `work` with a buffer of at least `len` values, which it may let grow.
    pub(crate) fn with_scratch<T>(
        &self,
        len: usize,
        work: impl FnOnce(&mut Vec<f32>) -> TractResult<T>,
    ) -> TractResult<T> {
        work(&mut *self.buffers.take(len, false)?)
    }
}

/// Sizes of a channels-last batch of maps.
fn nhwc(shape: &[usize]) -> TractResult<[usize; 4]> {
    shape.try_into().map_err(|_| format_err!("expected a [N, H, W, C] tensor, got {shape:?}"))
}
