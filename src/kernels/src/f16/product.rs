//! The product of packed rows and a panel of weights, from what the sums start from to ReLU.

use super::{
    engine::{PANEL, STEP, Sums, Tile},
    rows::Packed,
    weights::Panels,
};
use crate::{aligned::AlignedVec, init::Init};

/// Packed rows, and the panel that they meet.
pub(crate) struct Product<'a> {
    pub(crate) rows: Packed<'a>,
    pub(crate) weights: &'a Panels,
    /// The block that the rows were packed for.
    pub(crate) block: usize,
    pub(crate) panel: usize,
    /// A bias has a value for each column of all panels.
    pub(crate) init: Init<&'a [f32]>,
    pub(crate) relu: bool,
}

/// Where the sums of all panels go: those of the first row to `to`, rows `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) to: *mut f32,
    pub(crate) stride: usize,
}

impl Product<'_> {
    /// Computes the panel's columns of the output; in `edge` where it has more than there are.
    ///
    /// # Safety
    /// These are writable for each row, and no one else's.
    pub(crate) unsafe fn run(&self, out: Output, edge: &mut AlignedVec) {
        let (first, columns) = self.weights.columns(self.panel);
        let (to, stride) = (out.to.wrapping_add(first), out.stride);
        let count = self.rows.count();
        assert!(columns <= PANEL && self.rows.values.len() >= count * self.weights.steps(self.block) * STEP);
        // SAFETY: the caller's promises; `edge` is made as large as all rows of a panel.
        unsafe {
            if columns == PANEL {
                self.run_whole(to, stride);
                return;
            }
            if edge.as_slice().len() < count * PANEL {
                *edge = AlignedVec::zeros(count * PANEL);
            }
            let sums = edge.as_mut_slice().as_mut_ptr();
            let row = |i: usize| (to.add(i * stride), sums.add(i * PANEL));
            if self.init == Init::Accumulate {
                (0..count).map(row).for_each(|(out, sums)| sums.copy_from_nonoverlapping(out, columns));
            }
            self.run_whole(sums, PANEL);
            (0..count).map(row).for_each(|(out, sums)| out.copy_from_nonoverlapping(sums, columns));
        }
    }

    /// # Safety
    /// As [`Product::run`], for sums of whole panels.
    unsafe fn run_whole(&self, to: *mut f32, stride: usize) {
        let mut first = [0.0; PANEL];
        if let Init::Bias(bias) = self.init {
            let (begin, columns) = self.weights.columns(self.panel);
            first[..columns].copy_from_slice(&bias[begin..][..columns]);
        }
        let panel = self.weights.panel(self.block, self.panel);
        let (steps, run_steps) = (self.weights.steps(self.block), self.weights.run_steps(self.block));
        for tile in self.rows.tiles {
            // SAFETY: the caller's promises; a tile's rows are some of those packed.
            unsafe {
                let to = to.add(tile.first * stride);
                let (from, from_stride) = match self.init {
                    Init::Accumulate => (to.cast_const(), stride),
                    Init::Zero | Init::Bias(_) => (first.as_ptr(), 0),
                };
                let of_tile = Tile {
                    values: self.rows.values.as_ptr().add(tile.first * steps * STEP),
                    rows: tile.rows,
                    weights: panel.as_ptr(),
                    steps,
                    run_steps,
                    inverses: &tile.inverses,
                };
                self.weights.engine().multiply(of_tile, Sums { to, stride, from, from_stride });
                if self.relu {
                    self.weights.engine().relu(to, stride, tile.rows);
                }
            }
        }
    }
}

/// As `Engine::relu`, in what the caller was compiled for.
///
/// # Safety
/// The sums are readable and writable.
#[inline(always)]
pub(super) unsafe fn relu(to: *mut f32, stride: usize, rows: usize) {
    for row in 0..rows {
        // SAFETY: the caller's promise.
        let row = unsafe { &mut *to.add(row * stride).cast::<[f32; PANEL]>() };
        row.iter_mut().for_each(|value| *value = positive(*value));
    }
}

/// ReLU, which keeps NaN.
fn positive(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}
