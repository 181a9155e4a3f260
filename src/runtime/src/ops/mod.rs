//! The layers that run on kernels of our own, as tract operators over channels-last tensors.
//!
//! An operator names its weights and holds none of them, so the plans for different blob sizes share one packed copy.

mod buffers;
mod choice;
mod conv;
mod linear;
mod lrn;
mod pack;
mod pointwise;
mod pool;
mod ptr_eq;
mod strips;
mod tensor_pool;

use std::sync::Arc;

use frcnn_bundle::SectionId;
use frcnn_kernels::StripScratch;
use tract_core::internal::*;

use crate::network::Network;
use buffers::Buffers;
use ptr_eq::PtrEq;

pub(crate) use choice::choose;
pub(crate) use conv::{ConcatConvsOp, ConvOp, PackedConvs, UnpackedConv, conv_shape};
pub(crate) use linear::{LinearOp, PackedLinears, UnpackedLinear};
pub(crate) use lrn::LrnOp;
pub(crate) use pack::{PackedWeights, UnpackedWeights};
pub(crate) use pointwise::pointwise;
pub(crate) use pool::{PoolKind, PoolOp};
pub(crate) use strips::{StripLayer, StripsOp};
pub(crate) use tensor_pool::TensorPool;

/// What all operators of a graph work with. Cloning is cheap and gives the same.
pub(crate) type Resources = PtrEq<ResourcesInner>;

#[derive(Debug)]
pub(crate) struct ResourcesInner {
    pub(crate) threads: usize,
    pub(crate) network: Arc<Network>,
    pub(crate) weights: Arc<PackedWeights>,
    pub(crate) tensors: TensorPool,
    scratch: Arc<Buffers<Vec<f32>>>,
    strip_scratch: Arc<Buffers<Vec<StripScratch>>>,
}

impl Resources {
    pub(crate) fn new(threads: usize, network: Network, weights: PackedWeights) -> Resources {
        PtrEq::from(ResourcesInner {
            threads,
            network: Arc::new(network),
            weights: Arc::new(weights),
            tensors: TensorPool::default(),
            scratch: Arc::default(),
            strip_scratch: Arc::default(),
        })
    }

    /// The same with tensors of its own, for a graph whose runs alternate with another's.
    pub(crate) fn with_own_tensors(&self) -> Resources {
        PtrEq::from(ResourcesInner {
            threads: self.threads,
            network: self.network.clone(),
            weights: self.weights.clone(),
            tensors: TensorPool::default(),
            scratch: self.scratch.clone(),
            strip_scratch: self.strip_scratch.clone(),
        })
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
        let input = input.try_as_plain_ram()?;
        let input = input.as_slice::<f32>()?;
        let output = self.tensors.make(shape, |output| kernel(input, output))?;
        Ok(tvec!(output.into_tvalue()))
    }

    /// Runs `work` with a buffer that an earlier call may have grown, so that frames do not allocate.
    pub(crate) fn with_scratch<T>(&self, work: impl FnOnce(&mut Vec<f32>) -> T) -> T {
        self.scratch.with(work)
    }

    /// The same with what [`run_strips`](frcnn_kernels::run_strips) asks for.
    fn with_strip_scratch<T>(&self, work: impl FnOnce(&mut Vec<StripScratch>) -> T) -> T {
        self.strip_scratch.with(work)
    }
}

/// Sizes of a channels-last batch of maps.
fn nhwc(shape: &[usize]) -> TractResult<[usize; 4]> {
    shape.try_into().map_err(|_| format_err!("expected a [N, H, W, C] tensor, got {shape:?}"))
}
