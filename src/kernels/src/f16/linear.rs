//! Fully connected layers in f16.
//!
//! ```text
//!   for each part of K:
//!     round the rows, tile by tile                              `rows`
//!     for each panel:
//!       for each tile:                                          `product`
//!         out[tile, panel] += rows[tile, K] panel[K, 16]
//! ```

use alloc::vec::Vec;

use super::{
    F16Isa,
    engine::RUN_STEPS,
    product::{Output, Product},
    rows::PackedRows,
    weights::Panels,
};
use crate::{
    aligned::AlignedVec,
    k_order::KBlock,
    linear_units::{LinearRun, Unit},
};

/// A layer's weights, packed for one order of its input features.
#[derive(Clone, Debug)]
pub(crate) struct F16Linear {
    out_features: usize,
    /// The first of `K` of each block.
    blocks: Vec<usize>,
    weights: Panels,
}

impl F16Linear {
    /// Packs `weights`, `[in, out]`, in the order of `blocks`. `None` where the CPU lacks `isa`.
    pub(crate) fn new(
        isa: F16Isa,
        weights: &[u16],
        out_features: usize,
        blocks: &[KBlock],
        threads: usize,
    ) -> Option<Self> {
        let rows: Vec<Vec<usize>> = blocks.iter().map(|block| block.values().collect()).collect();
        let weights = Panels::new(isa, weights, out_features, &rows, RUN_STEPS, threads)?;
        Some(Self { out_features, blocks: blocks.iter().map(|block| block.first_k).collect(), weights })
    }

    pub(crate) fn weights(&self) -> &Panels {
        &self.weights
    }

    /// Computes a unit of `run`.
    ///
    /// # Safety
    /// `run.out` has `out_features` values for each row up to the last of the unit, of which no one else touches the unit's.
    pub(crate) unsafe fn multiply(&self, run: &LinearRun<'_>, unit: Unit, scratch: &mut Scratch) {
        let Unit { rows, panels } = unit;
        let Scratch { packed, edge } = scratch;
        for (i, part) in run.parts.iter().enumerate() {
            let Ok(block) = self.blocks.binary_search(&part.block.first_k) else { return };
            let len = PackedRows::len(rows.len(), part.block.len());
            if packed.as_slice().len() < len {
                *packed = AlignedVec::zeros(len);
            }
            let mut packed = PackedRows::new(&self.weights, block, packed.as_mut_slice());
            packed.push(part, rows.clone());
            let (init, relu) = run.ends(i..i + 1);
            let to = run.out.offset(rows.start * self.out_features).as_mut_ptr();
            for panel in panels.clone() {
                let product =
                    Product { rows: packed.packed(), weights: &self.weights, block, panel, init, relu };
                // SAFETY: the caller's promise.
                unsafe { product.run(Output { to, stride: self.out_features }, edge) };
            }
        }
    }
}

/// What a task keeps between units of work.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The rows of a part.
    packed: AlignedVec<u16>,
    /// Sums of the last panel where it has more columns than there are features left.
    edge: AlignedVec,
}
