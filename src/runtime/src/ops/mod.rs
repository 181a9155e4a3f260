//! The layers that run on kernels of our own, as tract operators over channels-last tensors.
//!
//! Each holds its weights as a reference into the bundle, so the plans for different blob sizes share
//! one copy of them.

mod conv;
mod linear;
mod lrn;
mod pool;
mod strips;
mod tensors;

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_bundle::{Bundle, SectionId};
use frcnn_kernels::StripScratch;
use tract_core::internal::*;

pub(crate) use conv::{ConcatConvsOp, ConvOp, PreparedConvs};
pub(crate) use linear::{LinearOp, PreparedLinears};
pub(crate) use lrn::LrnOp;
pub(crate) use pool::{PoolKind, PoolOp};
pub(crate) use strips::{StripLayer, StripsOp};
pub(crate) use tensors::Tensors;

/// A section of the bundle that stays where it is.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) section: SectionId,
}

impl Weights {
    pub(crate) fn get(&self) -> &[f32] {
        self.bundle.weights(self.section)
    }

    fn bf16(&self) -> &[u16] {
        self.bundle.bf16_weights(self.section)
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bundle, &other.bundle) && self.section == other.section
    }
}

impl Eq for Weights {}

impl Hash for Weights {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.section.hash(state);
    }
}

/// What all operators of a detector work with.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    pub(crate) threads: usize,
    pub(crate) convs: Arc<PreparedConvs>,
    pub(crate) linears: Arc<PreparedLinears>,
    pub(crate) tensors: Arc<Tensors>,
    scratch: Shelf<Vec<f32>>,
    strip_scratch: Shelf<Vec<StripScratch>>,
}

/// Buffers that nobody uses just now.
type Shelf<T> = Arc<Mutex<Vec<T>>>;

impl Workshop {
    pub(crate) fn new(threads: usize, convs: PreparedConvs, linears: PreparedLinears) -> Workshop {
        Workshop {
            threads,
            convs: Arc::new(convs),
            linears: Arc::new(linears),
            tensors: Arc::default(),
            scratch: Arc::default(),
            strip_scratch: Arc::default(),
        }
    }

    /// This workshop with tensors of its own, for a graph whose runs alternate with another's.
    pub(crate) fn with_own_tensors(&self) -> Workshop {
        Workshop { tensors: Arc::default(), ..self.clone() }
    }

    /// Runs `kernel` from a whole f32 tensor into one of `shape` that may hold anything.
    fn map_tensor<E: std::error::Error + Send + Sync + 'static>(
        &self,
        input: &Tensor,
        shape: &[usize],
        kernel: impl FnOnce(&[f32], &mut [f32]) -> Result<(), E>,
    ) -> TractResult<TVec<TValue>> {
        let input = input.try_as_plain_ram()?;
        let input = input.as_slice::<f32>()?;
        let output = self.tensors.make(shape, |output| Ok(kernel(input, output)?))?;
        Ok(tvec!(output.into_tvalue()))
    }

    /// Runs `work` with a buffer that an earlier call may have grown, so that frames do not allocate.
    pub(crate) fn with_scratch<T>(&self, work: impl FnOnce(&mut Vec<f32>) -> T) -> T {
        with_one_of(&self.scratch, work)
    }

    /// The same with what [`run_strips`](frcnn_kernels::run_strips) asks for.
    fn with_strip_scratch<T>(&self, work: impl FnOnce(&mut Vec<StripScratch>) -> T) -> T {
        with_one_of(&self.strip_scratch, work)
    }
}

fn with_one_of<S: Default, T>(shelf: &Mutex<Vec<S>>, work: impl FnOnce(&mut S) -> T) -> T {
    let lock = || shelf.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = lock().pop();
    let mut buffer = taken.unwrap_or_default();
    let result = work(&mut buffer);
    lock().push(buffer);
    result
}

/// All workshops are alike to tract, which compares operators.
impl PartialEq for Workshop {
    fn eq(&self, other: &Self) -> bool {
        self.threads == other.threads
    }
}

impl Eq for Workshop {}

impl Hash for Workshop {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.threads.hash(state);
    }
}

/// Sizes of a channels-last batch of maps.
fn nhwc(shape: &[usize]) -> TractResult<[usize; 4]> {
    shape.try_into().map_err(|_| format_err!("expected a [N, H, W, C] tensor, got {shape:?}"))
}
