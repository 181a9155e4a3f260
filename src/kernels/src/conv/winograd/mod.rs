//! Winograd's convolution for 3 x 3 or 4 x 4 windows that move by one cell; a group is a layer of its own. Windows that
//! move by more become such ones: see `strided`.
//!
//! ```text
//!   tile of the input    V = B^T d B       M[i, j] = V[i, j] U[i, j]        A^T M A        tile of the output
//!    t x t x Ci      ->  t x t x Ci   ->   t^2 products of matrices    ->   + bias,   ->   m x m x Co
//!                                         (tiles x Ci) (Ci x Co)            ReLU
//!   U = G g G^T, see `weights`                                                              t = m + 2, or m + 3
//! ```
//!
//! t^2 multiplications give m^2 outputs, where the definition takes 9 m^2, or 16 m^2: 4 times fewer for F(4x4, 3x3), 5.06
//! times for F(6x6, 3x3), 6.25 times for F(5x5, 4x4). The matrices are those of Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks" (2016); see `f4`, `f5` and `f6`.
//!
//! 1. The transforms are straight-line code on vectors of channels, one axis at a time in registers.
//! 2. V and M lie as `[t^2, tiles, channels]`, each of the t^2 parts an odd number of cache lines long: the t^2 streams
//!    that a tile is written to would otherwise meet in a few sets of the cache.
//! 3. Tiles go through all three steps in blocks; see `blocks` for how many and for the threads.
//! 4. Bias, ReLU and, if asked for, the 2 x 2 max pooling that follows happen while a tile is in registers or in L1: the
//!    whole map, four times the pooled one, is then never written.
//! 5. Tiles that reach over an edge, and the last few channels, pass through a small square of their own.

mod blocks;
mod f16;
mod f4;
mod f4_sqrt;
mod f5;
mod f6;
mod nested;
mod steps;
mod strided;
#[cfg(test)]
mod tests;
mod weights;

use core::ops::Range;

use blocks::Shares;
pub(super) use blocks::{block_tiles, fits_cache, tile_count};

pub(super) use f16::WinogradF16;

use super::{ChannelRange, ConvAlgorithm, ConvShape};
use crate::{Cpu, Isa, Pointwise, aligned::LINE, packed, simd::Width};
use weights::{Given, Weights};

/// Which of the algorithms, by the side of its output tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// F(4x4, 3x3)
    F4,
    /// F(5x5, 4x4)
    F5,
    /// F(6x6, 3x3)
    F6,
}

impl Tile {
    /// Rows and columns of outputs.
    pub(super) fn out_side(self) -> usize {
        match self {
            Self::F4 => 4,
            Self::F5 => 5,
            Self::F6 => 6,
        }
    }

    /// Rows and columns of windows.
    pub(super) fn window_side(self) -> usize {
        match self {
            Self::F4 | Self::F6 => 3,
            Self::F5 => 4,
        }
    }

    /// Rows and columns of inputs.
    pub(super) fn in_side(self) -> usize {
        self.out_side() + self.window_side() - 1
    }

    /// Products of matrices.
    pub(super) fn products(self) -> usize {
        self.in_side() * self.in_side()
    }
}

/// Where a layer's output goes.
pub(super) struct Output<'a> {
    /// Rows and columns of the convolved map.
    pub(super) size: [usize; 2],
    /// The same after 2 x 2 max pooling, if it is pooled.
    pub(super) pooled: Option<[usize; 2]>,
    pub(super) channels: ChannelRange,
    /// What becomes of each value behind bias and ReLU, before it is pooled.
    pub(super) then: Option<Pointwise>,
    /// Of the pooled size if there is one; not empty.
    pub(super) map: &'a mut [f32],
}

/// A layer, or one of its groups.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    cpu: Cpu,
    width: Width,
    tile: Tile,
    in_channels: usize,
    out_channels: usize,
    weights: Weights,
}

impl Winograd {
    /// Whether tiles of that kind compute such layers.
    pub(super) fn applies(tile: Tile, shape: &ConvShape) -> bool {
        strided::window_side(shape) == Some(tile.window_side())
            && shape.in_channels > 0
            && !shape.is_depthwise()
    }

    /// The layer that is computed for `shape` and an output of `size`: one whose windows move by one cell.
    pub(super) fn computed(tile: Tile, shape: &ConvShape, size: [usize; 2]) -> ConvShape {
        strided::unstrided(shape, tile, size)
    }

    pub(super) fn algorithm(&self) -> ConvAlgorithm {
        match (self.tile, &self.weights) {
            (Tile::F4, Weights::Given(_)) => ConvAlgorithm::Winograd4Lean,
            (Tile::F4, Weights::Transformed { .. }) => ConvAlgorithm::Winograd4,
            (Tile::F5, _) => ConvAlgorithm::Winograd5,
            (Tile::F6, _) => ConvAlgorithm::Winograd6,
        }
    }

    /// Group `g` of a layer of `weights`, `[Kh, Kw, Ci / group, Co]`, of the right length, which such tiles compute. A `lean` one keeps them as they came.
    pub(super) fn new(
        cpu: Cpu,
        tile: Tile,
        lean: bool,
        shape: &ConvShape,
        (g, weights): (usize, packed::Weights<'_>),
        threads: usize,
    ) -> Self {
        let computed = Self::computed(tile, shape, [0; 2]);
        let [in_channels, out_channels] = computed.group_channels();
        let given = Given::new(cpu, tile, shape, g, weights);
        let weights = if lean { Weights::Given(given) } else { given.transformed(cpu, &computed, threads) };
        Self { cpu, width: Width::of(cpu.isa), tile, in_channels, out_channels, weights }
    }

    /// Values of weights that are held of a layer, of all groups; saturates.
    pub(super) fn weight_len(cpu: Cpu, tile: Tile, lean: bool, shape: &ConvShape) -> usize {
        Weights::len(cpu, tile, lean, &Self::computed(tile, shape, [0; 2]))
    }

    pub(super) fn isa(&self) -> Isa {
        self.cpu.isa
    }

    /// Bytes of weights held.
    pub(super) fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }
}

/// `len` values in an odd number of cache lines.
fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1).saturating_mul(LINE)
}

/// The tiles of one batch of maps, numbered through `[N, tile rows, tile columns]`.
#[derive(Clone, Copy)]
struct Tiling {
    tile: Tile,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    pads: [usize; 4],
    rows: usize,
    columns: usize,
    /// Rows and columns of the output after 2 x 2 max pooling, if it is pooled.
    pooled: Option<[usize; 2]>,
}

/// Where a tile begins and which of its cells exist, in the input or in the output.
struct Place {
    /// First cell, counted through `[N, H, W]`; when that lies in the padding, the cell that would be there.
    first: isize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Tiling {
    fn new(
        tile: Tile,
        shape: &ConvShape,
        [out_height, out_width]: [usize; 2],
        pooled: Option<[usize; 2]>,
    ) -> Self {
        Self {
            tile,
            height: shape.height,
            width: shape.width,
            out_height,
            out_width,
            pads: shape.pads,
            rows: out_height.div_ceil(tile.out_side()),
            columns: out_width.div_ceil(tile.out_side()),
            pooled,
        }
    }

    /// Image, first output row and first output column of a tile.
    fn origin(&self, tile: usize) -> (usize, usize, usize) {
        let m = self.tile.out_side();
        let row = tile / self.columns;
        (row / self.rows, row % self.rows * m, tile % self.columns * m)
    }

    fn input(&self, tile: usize) -> Place {
        let (image, y, x) = self.origin(tile);
        let inside = |first: isize, len: usize| {
            let t = self.tile.in_side();
            let begin = first.min(0).unsigned_abs().min(t);
            let end = len.saturating_add_signed(first.wrapping_neg()).min(t);
            begin..end.max(begin)
        };
        let y = y.wrapping_sub(self.pads[0]) as isize;
        let x = x.wrapping_sub(self.pads[1]) as isize;
        let first = ((image * self.height) as isize + y) * self.width as isize + x;
        Place { first, rows: inside(y, self.height), columns: inside(x, self.width) }
    }

    fn output(&self, tile: usize) -> Place {
        let (image, y, x) = self.origin(tile);
        let m = self.tile.out_side();
        let first = (image * self.out_height + y) * self.out_width + x;
        Place {
            first: first as isize,
            rows: 0..m.min(self.out_height - y),
            columns: 0..m.min(self.out_width - x),
        }
    }

    /// A tile's place in the pooled output: its windows are those of no other tile, `out_side` being even.
    fn pooled_output(&self, tile: usize) -> Place {
        let (image, y, x) = self.origin(tile);
        let [height, width] = self.pooled.unwrap_or_default();
        let windows = self.tile.out_side() / 2;
        let (y, x) = (y / 2, x / 2);
        let first = (image * height + y) * width + x;
        Place {
            first: first as isize,
            rows: 0..windows.min(height.saturating_sub(y)),
            columns: 0..windows.min(width.saturating_sub(x)),
        }
    }
}
