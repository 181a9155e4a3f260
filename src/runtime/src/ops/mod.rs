//! The layers that run on kernels of our own, as tract operators over channels-last tensors.
//!
//! An operator names its weights and holds none of them, so the plans for different blob sizes share one copy.

mod conv;
mod lazy;
mod linear;
mod lrn;
mod pointwise;
mod pool;
mod strips;
mod tensors;

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use frcnn_bundle::SectionId;
use frcnn_kernels::StripScratch;
use tract_core::internal::*;

use crate::network::Network;

pub(crate) use conv::{ConcatConvsOp, ConvOp, PreparedConvs};
pub(crate) use lazy::Lazy;
pub(crate) use linear::{LinearOp, PreparedLinears};
pub(crate) use lrn::LrnOp;
pub(crate) use pointwise::pointwise;
pub(crate) use pool::{PoolKind, PoolOp};
pub(crate) use strips::{StripLayer, StripsOp};
pub(crate) use tensors::Tensors;

/// What all operators of a detector work with.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    pub(crate) threads: usize,
    pub(crate) network: Arc<Network>,
    pub(crate) convs: Arc<PreparedConvs>,
    pub(crate) linears: Arc<PreparedLinears>,
    pub(crate) tensors: Arc<Tensors>,
    scratch: Shelf<Vec<f32>>,
    strip_scratch: Shelf<Vec<StripScratch>>,
}

/// Buffers that nobody uses just now.
type Shelf<T> = Arc<Mutex<Vec<T>>>;

impl Workshop {
    pub(crate) fn new(
        threads: usize,
        network: Network,
        convs: PreparedConvs,
        linears: PreparedLinears,
    ) -> Workshop {
        Workshop {
            threads,
            network: Arc::new(network),
            convs: Arc::new(convs),
            linears: Arc::new(linears),
            tensors: Arc::default(),
            scratch: Arc::default(),
            strip_scratch: Arc::default(),
        }
    }

    /// Lays out every layer that is not yet, the largest first: before there are maps in memory, and a layer on each
    /// thread. A layer that cannot be laid out says so when it runs.
    pub(crate) fn lay_out(&self) {
        let mut linears = self.linears.sizes();
        let mut convs: Vec<_> = self.convs.sizes().collect();
        linears.sort_by_key(|&(section, size)| (Reverse(size), section));
        convs.sort_by_key(|&(key, size)| (Reverse(size), key.section()));
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let _ = match (linears.get(i), convs.get(i.wrapping_sub(linears.len()))) {
                    (Some(&(section, _)), _) => self.linears.lay_out(section),
                    (_, Some(&(key, _))) => self.convs.lay_out(key),
                    _ => return,
                };
            }
        };
        if self.threads == 1 {
            work();
        } else {
            rayon::scope(|scope| (0..self.threads).for_each(|_| scope.spawn(|_| work())));
        }
    }

    /// The values of a layer's bias.
    pub(crate) fn bias(&self, section: Option<SectionId>) -> Option<&[f32]> {
        section.map(|section| self.network.values(section))
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
