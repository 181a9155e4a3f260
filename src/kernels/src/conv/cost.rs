//! What each algorithm takes to compute a layer, and which one it gets where nothing was measured.
//!
//! An algorithm's cost is the time of a frame on one thread, as multiplications and additions of a product of matrices
//! that would take as long: its own products, plus [`flops_per_transformed`] for each value of V and M, plus
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
//! The same of layers whose windows move by several cells, on a busier machine; F(5x5, 4x4) for 7 x 7:
//!
//! | layer, input | direct | F(4x4) | F(6x6) or F(5x5) |
//! |---|---|---|---|
//! | SqueezeNet's conv1, 7 x 7 by 2, 3 -> 96, 240 x 320 | 7.8 (0.1) | | **3.0** (0.3) |
//! | CaffeNet's conv1, 11 x 11 by 4, 3 -> 96, 600 x 800 | 48 (0.1) | **21.7** (0.7) | 21.3 (1.2) |
//! | VGG_CNN_M_1024's conv2, 5 x 5 by 2, 96 -> 256, 150 x 200 | 222 (2.5) | **98** (14.2) | 91 (25.2) |
//!
//! What a byte costs differs between machines more than anything else here: on the one of the table F(6x6) gains up to
//! a sixth where its weights are 67 MB, on Sapphire Rapids (160 GFLOP/s) nothing where they are more than 6 MB. Two
//! limits keep that from hurting: more weights must gain at least [`WORTH`], and F(6x6), whose weights are
//! nearly twice those of F(4x4), is left out where they are more than [`LARGE_TILE_WEIGHT_BYTES`].

use alloc::vec::Vec;

use super::{
    ConvAlgorithm, ConvShape,
    direct::Direct,
    direct_f16::DirectF16,
    winograd::{Tile, Winograd, WinogradF16, block_tiles, fits_cache, tile_count},
};
use crate::{Cpu, Isa, aligned::LINE, blocking::im2row_pixels, len_of, simd::Width};

/// What moving a byte costs a core alone. Zen 4 (110 GFLOP/s) was measured at 2.4, Sapphire Rapids (160) at 12; of boards
/// data sheets give 3 to 5. Where all cores ask for bytes, they cost more.
pub(crate) const FLOPS_PER_BYTE: f64 = 4.0;

/// What a value transformed costs, in or out, each element of V or M: its additions run at a quarter of the speed of
/// products, and it is stored and loaded twice. A tile of 8 x 8 vectors is more than there are registers for, and its values
/// go by the stack. On x86 from milliseconds of layers with few weights (Zen 4, 29 November 2026; AVX-512 28 to 34 and 44 to
/// 52, AVX2 32 to 38 and 41 to 47); on NEON from llvm-mca's cycles of both transforms (Cortex-A72 31 and 33, A55 43 and 29,
/// A53 32 and 20) and, of the smaller tile, from counts of instructions beside them.
fn flops_per_transformed(isa: Isa, tile: Tile) -> f64 {
    let [of_6x6, of_8x8] = match isa {
        Isa::Avx512 => [30.0, 45.0],
        Isa::Avx2 => [35.0, 45.0],
        _ => [28.0, 32.0],
    };
    if tile == Tile::F4 { of_6x6 } else { of_8x8 }
}

/// Products in f16 in the time of one in f32, on CPUs that compute in it: sums are widened now and then.
pub(crate) const F16_RATE: f64 = 1.8;
/// The same with AVX512-FP16.
pub(crate) const AVX512_F16_RATE: f64 = 1.9;

/// The same of a layer, or a group, with `columns` output channels.
fn f16_rate(isa: Isa, columns: usize) -> f64 {
    match isa {
        // A vector has 32 of them, of which all are computed, and in f32 16.
        Isa::Avx512 => {
            let whole = |lanes| columns.max(1).next_multiple_of(lanes) as f64;
            AVX512_F16_RATE * whole(16) / whole(32)
        }
        _ => F16_RATE,
    }
}

/// What a multiplication and addition of a depthwise layer costs beside the maps that are moved, which are most of it: a load
/// goes with each.
const FLOPS_PER_DEPTHWISE: f64 = 2.5;
/// What rounding a value of a window to f16 and packing it costs, and what a whole window costs beside. NEON takes 13
/// instructions for 16 values. AVX-512's are from milliseconds of 1x1 layers with 16 to 1024 channels (Sapphire Rapids, 30
/// November 2026), where f32 does 147 GFLOP/s.
fn flops_per_packed(isa: Isa) -> [f64; 2] {
    if isa == Isa::Avx512 { [20.0, 2000.0] } else { [6.5, 0.0] }
}
/// What transforming a value of a weight costs: F(4x4)'s 36 values of a vector of channels take some 110 instructions.
const FLOPS_PER_TRANSFORMED_WEIGHT: f64 = 6.0;
/// What it costs a lean layer that V and M go by many times, as a share of its products.
const LEAN_SUMS: f64 = 0.4;
/// Most bytes of a group's transformed weights with which F(6x6, 3x3) or F(5x5, 4x4) is used: all layers of VGG16 together
/// hold 145 MB less than without this limit, and take a twentieth longer at most.
const LARGE_TILE_WEIGHT_BYTES: usize = 20_000_000;
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

/// How a layer's weights are kept and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvWeights {
    /// f32.
    F32,
    /// 16 bits where an algorithm keeps them so, multiplied in f32.
    Half,
    /// f16, multiplied in f16 where an algorithm does.
    F16,
}

impl ConvWeights {
    /// How f16 weights of a layer are multiplied on a CPU that computes in f16: in f32 where rounding what the layer reads takes
    /// more time than products in f16 spare.
    #[must_use]
    pub fn of_f16(cpu: Cpu, shape: &ConvShape) -> Self {
        let least = |weights| {
            let candidates = ConvCandidate::all(cpu, shape, weights);
            candidates.iter().map(|candidate| candidate.flops).fold(f64::INFINITY, f64::min)
        };
        if least(Self::Half) < least(Self::F16) { Self::Half } else { Self::F16 }
    }
}

impl ConvCandidate {
    /// Those of a layer on maps of the size of `shape`, by how many weights they hold: at least one.
    #[must_use]
    pub fn all(cpu: Cpu, shape: &ConvShape, weights: ConvWeights) -> Vec<Self> {
        use ConvAlgorithm::{Direct, Winograd4, Winograd4Lean};
        let candidate = |algorithm| Self {
            algorithm,
            flops: flops(algorithm, cpu, shape, weights),
            weight_bytes: match (algorithm, weights) {
                (Direct, ConvWeights::F16) => DirectF16::packed_bytes(shape),
                (Winograd4, ConvWeights::F16) if WinogradF16::applies(shape) => {
                    WinogradF16::packed_bytes(shape)
                }
                (Direct | Winograd4Lean, ConvWeights::Half | ConvWeights::F16) => {
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
pub(super) fn choose(cpu: Cpu, shape: &ConvShape, weights: ConvWeights) -> ConvAlgorithm {
    let candidates = ConvCandidate::all(cpu, shape, weights);
    let chosen = ConvCandidate::choose(&candidates, |candidate| candidate.flops);
    chosen.map_or(ConvAlgorithm::Plain, |candidate| candidate.algorithm)
}

/// Those among which is chosen for such a layer, on maps of any size, by how many weights they hold.
fn algorithms(shape: &ConvShape) -> impl Iterator<Item = ConvAlgorithm> {
    use ConvAlgorithm::{
        Depthwise, Direct as ByDefinition, Plain, Winograd4, Winograd4Lean, Winograd5, Winograd6,
    };
    let plain = match shape.is_depthwise() {
        true => Depthwise,
        false if Direct::applies(shape) => ByDefinition,
        false => Plain,
    };
    let applies = move |algorithm: &ConvAlgorithm| {
        algorithm.tile().is_some_and(|tile| {
            let [ci, co] = Winograd::computed(tile, shape, [0; 2]).group_channels();
            let bytes = len_of(&[size_of::<f32>(), tile.products(), ci, co]);
            Winograd::applies(tile, shape) && (tile == Tile::F4 || bytes <= LARGE_TILE_WEIGHT_BYTES)
        })
    };
    core::iter::once(plain)
        .chain([Winograd4Lean, Winograd4, Winograd5, Winograd6].into_iter().filter(applies))
}

/// Those of [`ConvCandidate::flops`].
fn flops(algorithm: ConvAlgorithm, cpu: Cpu, shape: &ConvShape, weights: ConvWeights) -> f64 {
    let is_f16 = weights == ConvWeights::F16;
    let (height, width) = shape.output_size().unwrap_or((0, 0));
    match algorithm.tile() {
        Some(tile) => {
            let is_f16 = is_f16 && algorithm == ConvAlgorithm::Winograd4 && WinogradF16::applies(shape);
            winograd_flops(cpu, shape, [height, width], (tile, algorithm.is_lean(), is_f16))
        }
        None => {
            let pixels = shape.batch as f64 * height as f64 * width as f64;
            if is_f16 && algorithm == ConvAlgorithm::Direct {
                let [of_value, of_window] = flops_per_packed(cpu.isa);
                let packed = of_value * shape.patch_len() as f64 + of_window;
                let [_, group_out] = shape.group_channels();
                let flops = 2.0 * pixels / f16_rate(cpu.isa, group_out);
                let products = (flops + FLOPS_PER_BYTE * 2.0) * shape.weight_len() as f64;
                return products + pixels * shape.group as f64 * packed;
            }
            if algorithm == ConvAlgorithm::Depthwise {
                let input = len_of(&[shape.batch, shape.height, shape.width, shape.in_channels]) as f64;
                let maps = input + pixels * shape.out_channels as f64;
                return FLOPS_PER_DEPTHWISE * pixels * shape.weight_len() as f64
                    + FLOPS_PER_BYTE * 4.0 * maps;
            }
            (2.0 * pixels + FLOPS_PER_BYTE * 4.0) * shape.weight_len() as f64
        }
    }
}

fn winograd_flops(
    Cpu { isa, caches }: Cpu,
    shape: &ConvShape,
    size: [usize; 2],
    (tile, lean, is_f16): (Tile, bool, bool),
) -> f64 {
    let shape = &Winograd::computed(tile, shape, size);
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
        let bytes = 4.0 * shape.weight_len() as f64 / shape.group as f64;
        blocks * (FLOPS_PER_BYTE * bytes + FLOPS_PER_TRANSFORMED_WEIGHT * products * ci * co)
            + LEAN_SUMS * flops
    } else {
        let passes = if cached { 1.0 } else { blocks };
        passes * FLOPS_PER_BYTE * if is_f16 { 2.0 } else { 4.0 } * products * ci * co
    };
    let flops = if is_f16 { flops / f16_rate(isa, channels[1]) } else { flops };
    let moved = if cached { 0.0 } else { 4.0 * transformed };
    shape.group as f64
        * (flops + flops_per_transformed(isa, tile) * transformed + FLOPS_PER_BYTE * moved + weights)
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
    /// Values of scratch of an algorithm, on maps of this size and on so many threads; saturates.
    #[must_use]
    pub fn scratch_len(
        &self,
        (algorithm, weights): (ConvAlgorithm, ConvWeights),
        cpu: Cpu,
        threads: usize,
    ) -> usize {
        let is_f16 = weights == ConvWeights::F16;
        let Some((height, width)) = self.output_size() else { return 0 };
        let values = match algorithm.tile() {
            Some(_) if is_f16 && algorithm == ConvAlgorithm::Winograd4 && WinogradF16::applies(self) => {
                WinogradF16::scratch_len(self, [height, width], cpu, threads)
            }
            Some(tile) => {
                Winograd::scratch_len((tile, algorithm.is_lean()), self, [height, width], cpu, threads)
            }
            None if algorithm == ConvAlgorithm::Direct => {
                let sum = |lens: &[usize]| lens.iter().fold(0, |sum: usize, len| sum.saturating_add(*len));
                let of_a_task = match is_f16 {
                    true => sum(&DirectF16::scratch_lens(self, width)),
                    false => sum(&Direct::scratch_lens(self, width, Width::of(cpu.isa))),
                };
                threads.saturating_mul(of_a_task)
            }
            None if algorithm == ConvAlgorithm::Depthwise || self.is_pointwise() => 0,
            None => {
                let (patch, pixels) = (self.patch_len(), len_of(&[self.batch, height, width]));
                let block = im2row_pixels(patch.max(self.out_channels));
                len_of(&[threads, block.min(pixels), patch])
            }
        };
        values.saturating_add(LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheInfo, ConvArgs, PreparedConv, conv::shape_3x3};

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
            let chosen = choose(server, &layer(channels, size), ConvWeights::F32);
            assert_eq!(chosen, algorithm, "{channels:?} on {size:?}");
        }
        // First layers of SqueezeNet, CaffeNet and VGG_CNN_M_1024, and the latter's second: 1.6 to 3 times as fast.
        for (channels, size, (kernel, stride), algorithm) in [
            ([3, 96], [240, 320], (7, 2), ConvAlgorithm::Winograd5),
            ([3, 96], [600, 800], (11, 4), Winograd4),
            ([3, 96], [600, 800], (7, 2), ConvAlgorithm::Winograd5),
            ([96, 256], [75, 100], (5, 2), Winograd4),
        ] {
            let shape = ConvShape { kernel: [kernel; 2], stride: [stride; 2], ..layer(channels, size) };
            assert_eq!(
                choose(server, &shape, ConvWeights::F32),
                algorithm,
                "{channels:?} of {kernel} x {kernel} on {size:?}"
            );
        }
    }

    /// AVX512-FP16: f32 where measured layers were faster in it by a sixth or more, f16 where they were faster in that.
    #[test]
    fn f16_layers_that_gain_nothing_are_f32() {
        let cpu = Cpu { isa: Isa::Avx512, caches: CacheInfo::SERVER };
        for (channels, size, weights) in [
            ([16, 64], [118, 158], ConvWeights::Half),
            ([64, 16], [118, 158], ConvWeights::Half),
            ([128, 16], [118, 158], ConvWeights::Half),
            ([256, 32], [59, 79], ConvWeights::F16),
            ([512, 64], [59, 79], ConvWeights::F16),
            ([64, 256], [14, 19], ConvWeights::F16),
            ([256, 1024], [38, 50], ConvWeights::F16),
        ] {
            let shape = ConvShape { kernel: [1, 1], pads: [0; 4], ..layer(channels, size) };
            assert_eq!(ConvWeights::of_f16(cpu, &shape), weights, "{channels:?} on {size:?}");
        }
        for (channels, size) in [([32, 128], [29, 39]), ([64, 64], [240, 320]), ([512, 512], [15, 20])] {
            let shape = layer(channels, size);
            assert_eq!(ConvWeights::of_f16(cpu, &shape), ConvWeights::F16);
            assert_eq!(choose(cpu, &shape, ConvWeights::F16), ConvAlgorithm::Winograd4);
        }
    }

    /// What is told beforehand is what a layer then takes, on any number of threads; of no maps it is told, too.
    #[cfg(feature = "std")]
    #[test]
    fn bytes_are_bounded() {
        let input = alloc::vec![0.5; 64 * 40 * 50];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        for (channels, stride, group) in
            [([64, 48], 1, 1), ([24, 30], 2, 2), ([7, 64], 1, 1), ([8, 16], 1, 8)]
        {
            let [ci, co] = channels;
            let shape = ConvShape { stride: [stride; 2], group, ..layer(channels, [40, 50]) };
            let (height, width) = shape.output_size().unwrap_or_default();
            let weights = alloc::vec![0.25; shape.weight_len()];
            for caches in [CacheInfo::SERVER].into_iter().chain(CacheInfo::SMALL) {
                let cpu = Cpu { isa: Isa::detect(), caches };
                for algorithm in algorithms(&shape) {
                    let prepared = PreparedConv::with(cpu, Some(algorithm), &shape, &weights, 1);
                    let prepared = prepared.unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(prepared.weight_bytes(), weight_bytes(algorithm, &shape, cpu), "{shape:?}");
                    let mut out = alloc::vec![0.0; height * width * co];
                    for threads in [1, 2, 3, 8] {
                        let mut scratch = Vec::new();
                        let args =
                            ConvArgs { input: &input[..40 * 50 * ci], bias: None, relu: false, threads };
                        pool.install(|| {
                            assert_eq!(prepared.run(&shape, args, &mut scratch, &mut out), Ok(()))
                        });
                        let told = shape.scratch_len((algorithm, ConvWeights::F32), cpu, threads);
                        assert!(
                            (scratch.len()..=scratch.len() + LINE).contains(&told),
                            "{algorithm:?}, {shape:?}, {threads} threads: {told} for {}",
                            scratch.len()
                        );
                        let nothing = ConvShape { batch: 0, ..shape };
                        assert!(nothing.scratch_len((algorithm, ConvWeights::F32), cpu, threads) <= told);
                    }
                }
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
            for algorithm in algorithms(&shape) {
                assert!(weight_bytes(algorithm, &shape, Cpu::detect()) > 1 << 60);
                for weights in [ConvWeights::F32, ConvWeights::F16] {
                    let _ = shape.scratch_len((algorithm, weights), Cpu::detect(), 1024);
                }
            }
            choose(Cpu::detect(), &shape, ConvWeights::F16);
        }
    }
}
