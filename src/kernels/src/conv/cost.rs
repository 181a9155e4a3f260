//! Which algorithm a layer gets.
//!
//! An algorithm costs its multiplications and additions, plus [`FLOPS_PER_BYTE`] for each byte that it moves beyond L2
//! where the definition would move none: transformed weights, once for each block of tiles, and V and M when a block
//! of them does not stay. Weights that must be held are not free either, see [`FLOPS_PER_WEIGHT_BYTE`].
//!
//! VGG16's layers at 600 x 800, milliseconds on one thread with AVX-512 (some 160 GFLOP/s in products, 2 MiB of L2,
//! a busy machine: minima, good to 10%), MB of weights in parentheses, the choice marked:
//!
//! | layer | plain | direct | F(4x4) | F(6x6) |
//! |---|---|---|---|---|
//! | conv1_1 3 -> 64 | 28 | **14** (0.01) | 29 | 29 |
//! | conv1_2 64 -> 64 | 268 | 242 (0.1) | 90 (0.6) | **83** (1.1) |
//! | conv2_1 64 -> 128 | 127 | 116 (0.3) | **46** (1.2) | 47 (2.1) |
//! | conv2_2 128 -> 128 | 257 | 233 (0.6) | 93 (2.4) | **83** (4.2) |
//! | conv3_1 128 -> 256 | 125 | 114 (1.2) | **44** (4.7) | 44 (8.4) |
//! | conv3_2 256 -> 256 | 269 | 261 (2.4) | **88** (9.4) | 92 (16.8) |
//! | conv4_1 256 -> 512 | 135 | 119 (4.7) | **41** (18.9) | 44 (33.6) |
//! | conv4_2 512 -> 512 | 309 | 242 (9.4) | **75** (37.8) | 76 (67.1) |
//! | conv5_1 512 -> 512 | 77 | 64 (9.4) | **21** (37.8) | 24 (67.1) |
//!
//! The choice changes the last bits of a result, and so is made for [`CacheInfo::SERVER`] on every CPU.
//!
//! F(6x6, 3x3) saves a fifth of the products, and loses it again to weights and to V and M that come from farther
//! away: where its weights, nearly twice those of F(4x4, 3x3), are more than [`F6_WEIGHT_BYTES`], layers do without.

use super::{
    ConvAlgorithm, ConvShape,
    direct::Direct,
    winograd::{Tile, Winograd, block_tiles, fits_cache},
};
use crate::CacheInfo;

/// What moving a byte costs: a core of today does some 150 to 250 GFLOP/s and moves 10 to 20 GB/s.
const FLOPS_PER_BYTE: f64 = 12.0;
/// What a value transformed costs, in or out, each element of V or M: its additions run at a quarter of the speed of
/// products, and it is stored and loaded twice.
const FLOPS_PER_TRANSFORMED: f64 = 24.0;
/// What holding a byte of weights costs: half of what it takes to transform and write it once. Two algorithms within a
/// few percent of each other are not worth 30 MB for a layer.
const FLOPS_PER_WEIGHT_BYTE: f64 = 64.0;

/// Most bytes of weights with which F(6x6, 3x3) pays.
const F6_WEIGHT_BYTES: f64 = 6e6;

/// The cheapest algorithm for a layer on maps of the size of `shape`.
pub(super) fn choose(shape: &ConvShape) -> ConvAlgorithm {
    if Winograd::applies(shape) {
        let candidates = [
            (direct_cost(shape), ConvAlgorithm::Direct),
            (winograd_cost(shape, Tile::F4), ConvAlgorithm::Winograd4),
            (winograd_cost(shape, Tile::F6), ConvAlgorithm::Winograd6),
        ];
        let cheapest = candidates.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
        return cheapest.map_or(ConvAlgorithm::Direct, |(_, algorithm)| algorithm);
    }
    if Direct::applies(shape) { ConvAlgorithm::Direct } else { ConvAlgorithm::Plain }
}

fn direct_cost(shape: &ConvShape) -> f64 {
    let (height, width) = shape.output_size().unwrap_or((0, 0));
    let pixels = shape.batch as f64 * height as f64 * width as f64;
    let weights = shape.weight_len() as f64;
    2.0 * pixels * weights + FLOPS_PER_WEIGHT_BYTE * 4.0 * weights
}

fn winograd_cost(shape: &ConvShape, tile: Tile) -> f64 {
    let (height, width) = shape.output_size().unwrap_or((0, 0));
    let m = tile.out_side();
    let tiles = shape.batch * height.div_ceil(m) * width.div_ceil(m);
    let channels = shape.group_channels();
    let [ci, co] = channels.map(|channels| channels as f64);
    let products = tile.products() as f64;
    let block = block_tiles(CacheInfo::SERVER, tile, channels, tiles);
    let (flops, weight_bytes) = (2.0 * tiles as f64 * products * ci * co, 4.0 * products * ci * co);
    if tile == Tile::F6 && weight_bytes > F6_WEIGHT_BYTES {
        return f64::INFINITY;
    }
    let transformed = products * tiles as f64 * (ci + co);
    let bytes = if fits_cache(CacheInfo::SERVER, tile, channels, block) {
        0.0
    } else {
        tiles.div_ceil(block.max(1)) as f64 * weight_bytes + 4.0 * transformed
    };
    let group = flops
        + FLOPS_PER_TRANSFORMED * transformed
        + FLOPS_PER_BYTE * bytes
        + FLOPS_PER_WEIGHT_BYTE * weight_bytes;
    shape.group as f64 * group
}
