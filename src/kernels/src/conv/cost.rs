//! What each algorithm takes to compute a layer, and which one it gets where nothing was measured.
//!
//! An algorithm's cost is the time of a frame on one thread, as multiplications and additions of a product of matrices
//! that would take as long: its own products, plus [`FLOPS_PER_TRANSFORMED`] for each value of V and M, plus
//! [`FLOPS_PER_BYTE`] for each byte that it moves beyond L2. Those are its weights, once for each block of tiles, and V
//! and M when a block of them does not stay. That weights were transformed once costs no frame anything.
//!
//! Milliseconds of layers as they are in VGG16 at 600 x 800 and at 240 x 320 and in SqueezeNet at 240 x 320, one thread,
//! minima of some runs between which the caches were emptied (Zen 4 with AVX-512, 110 GFLOP/s in products, 1 MiB of L2),
//! MB of weights in parentheses, the choice marked:
//!
//! | layer, output | direct | F(4x4) | F(6x6) |
//! |---|---|---|---|
//! | conv1_2 64 -> 64, 240 x 320 | 52 (0.1) | 18.5 (0.6) | **18.0** (1.1) |
//! | conv2_2 128 -> 128, 120 x 160 | 52 (0.6) | 16.8 (2.4) | **13.9** (4.2) |
//! | conv3_2 256 -> 256, 60 x 80 | 51 (2.4) | 16.1 (9.4) | **14.3** (16.8) |
//! | conv4_2 512 -> 512, 30 x 40 | 53 (9.4) | **15.7** (37.8) | 13.9 (67.1) |
//! | conv5_1 512 -> 512, 15 x 20 | 13.4 (9.4) | **4.9** (37.8) | 5.7 (67.1) |
//! | fire4 32 -> 128, 29 x 39 | 0.77 (0.1) | 0.36 (0.6) | **0.38** (1.0) |
//! | fire6 48 -> 192, 14 x 19 | 0.43 (0.3) | **0.24** (1.3) | 0.29 (2.4) |
//! | fire8 64 -> 256, 14 x 19 | 0.74 (0.6) | **0.38** (2.4) | 0.39 (4.2) |
//!
//! What a byte costs differs between machines more than anything else here: on the one of the table F(6x6) gains up to
//! a sixth where its weights are 67 MB, on Sapphire Rapids (160 GFLOP/s) nothing where they are more than 6 MB. Two
//! limits keep that from hurting: more weights must gain at least [`WORTH`], and F(6x6), whose weights are
//! nearly twice those of F(4x4), is left out where they are more than [`F6_WEIGHT_BYTES`].

use alloc::vec::Vec;

use super::{
    ConvAlgorithm, ConvShape,
    direct::Direct,
    winograd::{Tile, Winograd, block_tiles, fits_cache, tile_count},
};
use crate::{
    CacheInfo, Cpu,
    blocking::{bf16_chunk_bytes, im2row_pixels},
    len_of,
    simd::Width,
};

/// What moving a byte costs a core alone. Zen 4 (110 GFLOP/s) was measured at 2.4, Sapphire Rapids (160) at 12; of boards
/// data sheets give 3 to 5. Where all cores ask for bytes, they cost more.
const FLOPS_PER_BYTE: f64 = 4.0;
/// What a value transformed costs, in or out, each element of V or M: its additions run at a quarter of the speed of
/// products, and it is stored and loaded twice.
const FLOPS_PER_TRANSFORMED: f64 = 24.0;
/// What transforming a value of a weight costs: F(4x4)'s 36 values of a vector of channels take some 110 instructions.
const FLOPS_PER_TRANSFORMED_WEIGHT: f64 = 6.0;
/// What it costs a lean layer that V and M go by many times, as a share of its products.
const LEAN_SUMS: f64 = 0.4;
/// Most bytes of a group's transformed weights with which F(6x6, 3x3) is used: all layers of VGG16 together hold 145 MB less
/// than without this limit, and take a twentieth longer at most.
const F6_WEIGHT_BYTES: usize = 20_000_000;
/// By how much an algorithm must cost less than one before it, which has fewer weights or rounds less.
const WORTH: f64 = 0.05;

/// An algorithm that computes a layer, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvCandidate {
    /// Which one.
    pub algorithm: ConvAlgorithm,
    /// Time of a frame on one thread: multiplications and additions of a product of matrices that would take as long.
    pub flops: f64,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
}

impl ConvCandidate {
    /// Those of a layer on maps of the size of `shape`, by how many weights they hold: at least one. `is_half` says whether
    /// the layer's weights are of 16 bits, which some algorithms keep.
    #[must_use]
    pub fn all(cpu: Cpu, shape: &ConvShape, is_half: bool) -> Vec<Self> {
        let candidate = |algorithm| Self {
            algorithm,
            flops: flops(algorithm, cpu.caches, shape),
            weight_bytes: match algorithm {
                ConvAlgorithm::Direct | ConvAlgorithm::Winograd4Lean if is_half => {
                    weight_bytes(algorithm, shape, cpu) / 2
                }
                _ => weight_bytes(algorithm, shape, cpu),
            },
        };
        algorithms(shape).map(candidate).collect()
    }

    /// The fastest of `candidates`, of which those with more weights must be worth them. `time` is that of each, in any
    /// unit.
    #[must_use]
    pub fn choose(candidates: &[Self], time: impl Fn(&Self) -> f64) -> Option<Self> {
        candidates.iter().copied().reduce(|chosen, candidate| {
            if time(&candidate) < time(&chosen) * (1.0 - WORTH) { candidate } else { chosen }
        })
    }
}

/// The cheapest algorithm for a layer on maps of the size of `shape`.
pub(super) fn choose(cpu: Cpu, shape: &ConvShape) -> ConvAlgorithm {
    let chosen = ConvCandidate::choose(&ConvCandidate::all(cpu, shape, false), |candidate| candidate.flops);
    chosen.map_or(ConvAlgorithm::Plain, |candidate| candidate.algorithm)
}

/// Those among which is chosen for such a layer, on maps of any size, by how many weights they hold.
fn algorithms(shape: &ConvShape) -> impl Iterator<Item = ConvAlgorithm> {
    let plain = if Direct::applies(shape) { ConvAlgorithm::Direct } else { ConvAlgorithm::Plain };
    let [ci, co] = shape.group_channels();
    let f6_bytes = len_of(&[size_of::<f32>(), Tile::F6.products(), ci, co]);
    const WINOGRAD: [ConvAlgorithm; 3] =
        [ConvAlgorithm::Winograd4Lean, ConvAlgorithm::Winograd4, ConvAlgorithm::Winograd6];
    let winograd = match (Winograd::applies(shape), f6_bytes > F6_WEIGHT_BYTES) {
        (false, _) => 0,
        (true, true) => 2,
        (true, false) => 3,
    };
    core::iter::once(plain).chain(WINOGRAD.into_iter().take(winograd))
}

/// Those of [`ConvCandidate::flops`].
fn flops(algorithm: ConvAlgorithm, caches: CacheInfo, shape: &ConvShape) -> f64 {
    let (height, width) = shape.output_size().unwrap_or((0, 0));
    match algorithm.tile() {
        Some(tile) => winograd_flops(caches, shape, [height, width], (tile, algorithm.is_lean())),
        None => {
            let pixels = shape.batch as f64 * height as f64 * width as f64;
            (2.0 * pixels + FLOPS_PER_BYTE * 4.0) * shape.weight_len() as f64
        }
    }
}

fn winograd_flops(caches: CacheInfo, shape: &ConvShape, size: [usize; 2], (tile, lean): (Tile, bool)) -> f64 {
    let tiles = tile_count(tile, shape.batch, size);
    let channels = shape.group_channels();
    let [ci, co] = channels.map(|channels| channels as f64);
    let products = tile.products() as f64;
    let block = block_tiles(caches, (tile, lean), channels, tiles);
    let blocks = tiles.div_ceil(block.max(1)) as f64;
    let transformed = products * tiles as f64 * (ci + co);
    let cached = fits_cache(caches, tile, channels, block);
    let flops = 2.0 * tiles as f64 * products * ci * co;
    let weights = if lean {
        let bytes = 4.0 * 9.0 * ci * co;
        blocks * (FLOPS_PER_BYTE * bytes + FLOPS_PER_TRANSFORMED_WEIGHT * products * ci * co)
            + LEAN_SUMS * flops
    } else {
        let passes = if cached { 1.0 } else { blocks };
        passes * FLOPS_PER_BYTE * 4.0 * products * ci * co
    };
    let moved = if cached { 0.0 } else { 4.0 * transformed };
    shape.group as f64 * (flops + FLOPS_PER_TRANSFORMED * transformed + FLOPS_PER_BYTE * moved + weights)
}

/// Bytes of packed weights; saturates.
fn weight_bytes(algorithm: ConvAlgorithm, shape: &ConvShape, cpu: Cpu) -> usize {
    let values = match algorithm.tile() {
        Some(tile) => Winograd::weight_len(cpu, tile, algorithm.is_lean(), shape),
        None if algorithm == ConvAlgorithm::Direct => Direct::weight_len(shape, Width::of(cpu.isa)),
        None => shape.weight_len(),
    };
    values.saturating_mul(size_of::<f32>())
}

impl ConvShape {
    /// Bytes of packed weights of the algorithm that holds most of them; saturates.
    #[must_use]
    pub fn max_weight_bytes(&self, cpu: Cpu) -> usize {
        algorithms(self).map(|algorithm| weight_bytes(algorithm, self, cpu)).max().unwrap_or(0)
    }

    /// Bytes of scratch of the algorithm that takes most of it, on maps of this size and on so many threads; saturates.
    #[must_use]
    pub fn max_scratch_bytes(&self, cpu: Cpu, threads: usize) -> usize {
        let Some((height, width)) = self.output_size() else { return 0 };
        let lanes = Width::of(cpu.isa);
        let most = algorithms(self).map(|algorithm| match algorithm.tile() {
            Some(tile) => {
                Winograd::scratch_len((tile, algorithm.is_lean()), self, [height, width], cpu, threads)
            }
            None if algorithm == ConvAlgorithm::Direct => {
                let of_a_task = Direct::scratch_lens(self, width, lanes);
                threads.saturating_mul(of_a_task.into_iter().fold(0, usize::saturating_add))
            }
            None if self.is_depthwise() || self.is_pointwise() => 0,
            None => {
                let (patch, pixels) = (self.patch_len(), len_of(&[self.batch, height, width]));
                let block = im2row_pixels(patch.max(self.out_channels));
                // Patches; and a map of the layer's own where it writes to some channels of a wider one.
                let patches = len_of(&[block.saturating_mul(threads).min(pixels), patch]);
                patches.saturating_add(len_of(&[pixels, self.out_channels]))
            }
        });
        let of_f32 = most.max().unwrap_or(0).saturating_mul(size_of::<f32>());
        // A layer in bf16 copies rows, too.
        of_f32.max(threads.saturating_mul(bf16_chunk_bytes(cpu.caches)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvArgs, Isa, PreparedConv, conv::shape_3x3};

    fn layer([in_channels, out_channels]: [usize; 2], [height, width]: [usize; 2]) -> ConvShape {
        shape_3x3(height, width, in_channels, out_channels)
    }

    /// What was measured to be fastest by a sixth or more is chosen.
    #[test]
    fn small_blobs_get_what_is_fast_on_them() {
        use ConvAlgorithm::{Direct, Winograd4, Winograd6};
        let server = Cpu { isa: Isa::detect(), caches: CacheInfo::SERVER };
        for (channels, size, algorithm) in [
            ([512, 512], [15, 20], Winograd4),
            ([512, 512], [22, 30], Winograd4),
            ([48, 192], [14, 19], Winograd4),
            ([64, 256], [14, 19], Winograd4),
            ([256, 256], [20, 24], Winograd4),
            ([48, 192], [22, 29], Winograd6),
            ([128, 128], [120, 160], Winograd6),
            ([256, 256], [60, 80], Winograd6),
            // A tile of outputs for each output.
            ([512, 512], [1, 1], Direct),
        ] {
            let chosen = choose(server, &layer(channels, size));
            assert_eq!(chosen, algorithm, "{channels:?} on {size:?}");
        }
    }

    /// What is told beforehand is what a layer then takes, or more.
    #[test]
    fn bytes_are_bounded() {
        let input = alloc::vec![0.5; 64 * 40 * 50];
        for (channels, stride, group) in
            [([64, 48], 1, 1), ([24, 30], 2, 2), ([7, 64], 1, 1), ([8, 16], 1, 8)]
        {
            let [ci, co] = channels;
            let shape = ConvShape { stride: [stride; 2], group, ..layer(channels, [40, 50]) };
            let (height, width) = shape.output_size().unwrap_or_default();
            let weights = alloc::vec![0.25; shape.weight_len()];
            for caches in [CacheInfo::SERVER].into_iter().chain(CacheInfo::SMALL) {
                let cpu = Cpu { isa: Isa::detect(), caches };
                let mut most = [0; 2];
                for algorithm in algorithms(&shape) {
                    let prepared = PreparedConv::with(cpu, Some(algorithm), &shape, &weights, 1);
                    let prepared = prepared.unwrap_or_else(|error| panic!("{error}"));
                    let mut scratch = Vec::new();
                    let mut out = alloc::vec![0.0; height * width * co];
                    let args =
                        ConvArgs { input: &input[..40 * 50 * ci], bias: None, relu: false, threads: 1 };
                    assert_eq!(prepared.run(&shape, args, &mut scratch, &mut out), Ok(()));
                    most = [most[0].max(prepared.weight_bytes()), most[1].max(4 * scratch.len())];
                }
                assert_eq!(most[0], shape.max_weight_bytes(cpu), "{shape:?}");
                // `aligned` takes a cache line more.
                assert!(most[1] <= shape.max_scratch_bytes(cpu, 1) + 64, "{shape:?}");
            }
        }
    }

    /// Nothing that a file can declare overflows.
    #[test]
    fn bytes_saturate() {
        let most = u32::MAX as usize;
        let mut shape = layer([most; 2], [most; 2]);
        (shape.batch, shape.pads) = (most, [1; 4]);
        for kernel in [[3, 3], [most; 2]] {
            shape.kernel = kernel;
            assert!(shape.max_weight_bytes(Cpu::detect()) > 1 << 60);
            let _ = shape.max_scratch_bytes(Cpu::detect(), 1024);
            choose(Cpu::detect(), &shape);
        }
    }
}
