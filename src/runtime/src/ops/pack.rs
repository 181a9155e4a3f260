//! Packing a network's weights for this CPU, once, when a detector is made.

use std::sync::{Mutex, PoisonError};

use frcnn_bundle::{Graph, Op};
use frcnn_core::ShapeError;
use frcnn_kernels::{ConvAlgorithm, F32Products, PreparedLinear, Products};

use super::linear::PackedLinear;
use super::{ConvPlans, PackedConvs, PackedLinears, UnpackedConv, UnpackedLinear, conv::PackedConv};

/// Every layer's weights as its kernel reads them.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    /// How the convolutions are computed.
    pub(crate) plans: ConvPlans,
    pub(crate) convs: PackedConvs,
    pub(crate) linears: PackedLinears,
}

impl PackedWeights {
    /// Whether each row that a graph's layers make has the same bits whatever other rows there are. Not so where products are
    /// bf16x3, which multiplies few rows otherwise, or of the `gemm` crate.
    pub(crate) fn keeps_rows_apart(&self, graph: &Graph) -> bool {
        graph.layers.iter().all(|layer| match &layer.op {
            Op::Gemm(gemm) => {
                let products = self.linears.get(gemm).map(PreparedLinear::products);
                !matches!(products, Ok(Products::Bf16x3(_)))
            }
            Op::Conv(conv) => self.plans.algorithm(conv) != Some(ConvAlgorithm::Plain),
            _ => true,
        })
    }
}

/// Every layer's weights as the bundle has them.
pub(crate) struct UnpackedWeights {
    pub(crate) convs: Vec<UnpackedConv>,
    pub(crate) linears: Vec<UnpackedLinear>,
}

#[expect(clippy::large_enum_variant, reason = "one for each layer, and moved a few times")]
enum Unpacked {
    Conv(UnpackedConv),
    Linear(UnpackedLinear),
}

#[derive(Default)]
struct Packed {
    convs: Vec<PackedConv>,
    linears: Vec<PackedLinear>,
}

impl UnpackedWeights {
    /// Packs all layers, the largest first, a layer on each of the current rayon pool's `threads`. A layer's own weights
    /// go as soon as they are packed: there is never a second copy of more than `threads` layers.
    ///
    /// # Errors
    /// A layer's weights do not have its shape, which validation has ruled out.
    pub(crate) fn pack(self, threads: usize, products: F32Products) -> Result<PackedWeights, ShapeError> {
        let plans = self.convs.iter().map(|conv| &conv.plan).collect();
        let convs = self.convs.into_iter().map(|conv| (conv.rank(), Unpacked::Conv(conv)));
        let linears = self.linears.into_iter().map(|linear| (linear.rank(), Unpacked::Linear(linear)));
        let mut layers: Vec<_> = convs.chain(linears).collect();
        layers.sort_by_key(|(rank, _)| *rank);
        let layers = Mutex::new(layers);
        let packed = Mutex::new(Ok(Packed::default()));
        let work = || {
            loop {
                let layer = layers.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((_, layer)) = layer else { return };
                let done = match layer {
                    Unpacked::Conv(conv) => conv.pack().map(Done::Conv),
                    Unpacked::Linear(linear) => linear.pack(products).map(Done::Linear),
                };
                let mut all = packed.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *all, done) {
                    (Ok(all), Ok(Done::Conv(conv))) => all.convs.push(conv),
                    (Ok(all), Ok(Done::Linear(linear))) => all.linears.push(linear),
                    (Ok(_), Err(error)) => *all = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        if threads == 1 {
            work();
        } else {
            rayon::scope(|scope| (0..threads).for_each(|_| scope.spawn(|_| work())));
        }
        let packed = packed.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(PackedWeights {
            plans,
            convs: packed.convs.into_iter().collect(),
            linears: packed.linears.into_iter().collect(),
        })
    }
}

enum Done {
    Conv(PackedConv),
    Linear(PackedLinear),
}
