//! What a layer takes in each type of values, on a CPU that need not be this one.
//!
//! The unit is that of `conv::cost`: the time of a frame on one thread, as multiplications and additions of a product of
//! matrices in f32 that would take as long. A layer in another type takes
//!
//! ```text
//!   products / rate  +  bytes of weights * what a byte costs  +  values read * what rounding one costs
//! ```
//!
//! **Rates** say how many products a core does in the time of one in f32. They are those of published instruction tables
//! (Arm's software optimisation guides for Cortex-A55, A72, A76 and A78; uops.info for x86), less what inner loops spend
//! on loads and on widening:
//!
//! | instructions | products in the tables, beside f32 | what our loops reach of it |
//! |---|---|---|
//! | `fmla` on f16 (Cortex-A55, A76, A78AE) | 2 | 1.8: sums are widened every 128 products |
//! | `vfmadd231ph` (AVX512-FP16) | 2 | 1.9: the same, in wider vectors |
//! | `sdot`, VNNI | 4 | 3 |
//! | `smmla` | 8 | 5 |
//! | `smull`, `smlal2`, `sadalp` on Cortex-A72 | 2 | 1.5 |
//! | the same on Cortex-A53, by llvm-mca | 1.3 | 1.25 |
//! | `vpmaddwd`, `vpaddd` (AVX2) | 1.5: two instructions for 16 products, of which one is not on an FMA's port | 1.4 on Zen 4 |
//! | the same where f32 is AVX-512's | 0.75 | 0.7 |
//! | `vdpbf16ps` | 2 | 1.5 |
//! | AMX on bf16 | 16 | 5: tiles wait for their loads |
//! | AMX on int8 | 32 | 7, as above; on a Xeon of that kind 4 to 7 with quantisation counted in |
//!
//! A type without instructions of its own is widened, and takes what f32 does.
//!
//! **3x3 convolutions** in f32 do a quarter of the products, or a fifth, by Winograd's algorithm, in f16 a quarter. bf16 and int8
//! have none: their transforms would round too much. So int8 is slower than f32 for them where its rate is below 4 or so.

use crate::{
    Bf16Isa, ConvCandidate, ConvShape, ConvWeights, Cpu, F16Isa, Int8Isa, Isa,
    conv::{AVX512_F16_RATE, F16_RATE, FLOPS_PER_BYTE},
};

/// What rounding a value to 16 bits costs: four instructions for each vector of them.
const FLOPS_PER_HALF: f64 = 8.0;
/// What quantising a value costs: six instructions for each vector of them.
const FLOPS_PER_INT8: f64 = 12.0;
/// What copying a value of a window costs, sixteen at a time.
const FLOPS_PER_COPIED: f64 = 0.5;

/// A CPU, as far as the cost of types depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TypeModel {
    cpu: Cpu,
    f16: f64,
    bf16: f64,
    int8: f64,
}

/// Cost of a layer in each type of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TypeCosts {
    /// In f32.
    pub f32: f64,
    /// Of f16 values.
    pub f16: f64,
    /// Of bf16 values.
    pub bf16: f64,
    /// Of int8 values.
    pub int8: f64,
}

impl core::ops::AddAssign for TypeCosts {
    fn add_assign(&mut self, other: Self) {
        self.f32 += other.f32;
        self.f16 += other.f16;
        self.bf16 += other.bf16;
        self.int8 += other.int8;
    }
}

/// What brings products of a type faster than f32 ones, and by how much; the best counts that a CPU has.
type Rates = &'static [(&'static str, f64)];
const F16: Rates = &[("fp16", F16_RATE), ("avx512fp16", AVX512_F16_RATE)];
const BF16: Rates = &[("avx512bf16", 1.5), ("amx-bf16", 5.0)];
const INT8: Rates =
    &[("dotprod", 3.0), ("i8mm", 5.0), ("avxvnni", 3.0), ("avx512vnni", 3.0), ("amx-int8", 7.0)];

impl TypeModel {
    /// The instructions that matter beside those of an [`Isa`], by Rust's names.
    pub fn features() -> impl Iterator<Item = &'static str> {
        [F16, BF16, INT8].into_iter().flatten().map(|&(name, _)| name)
    }

    /// A CPU with some of [`TypeModel::features`].
    #[must_use]
    pub fn new(cpu: Cpu, is_in_order: bool, has: impl Fn(&str) -> bool) -> Self {
        let best = |rates: Rates, without: f64| {
            rates.iter().filter(|(name, _)| has(name)).map(|&(_, rate)| rate).fold(without, f64::max)
        };
        let int8 = match (cpu.isa, is_in_order) {
            (Isa::Neon, false) => 1.5,
            (Isa::Neon, true) => 1.25,
            (Isa::Avx2, _) => 1.4,
            (Isa::Avx512, _) => 0.7,
            (Isa::Scalar, _) => 1.0,
        };
        Self { cpu, f16: best(F16, 1.0), bf16: best(BF16, 1.0), int8: best(INT8, int8) }
    }

    /// This CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::new(Cpu::detect(), false, has)
    }

    /// A fully connected layer of `k` features to `n` on so many rows.
    #[must_use]
    pub fn linear(&self, rows: usize, k: usize, n: usize) -> TypeCosts {
        let [rows, k, n] = [rows, k, n].map(|len| len as f64);
        let cost = |rate: f64, bytes: f64, rounding: f64| {
            2.0 * rows * k * n / rate + FLOPS_PER_BYTE * bytes * k * n + rounding * rows * k
        };
        let f32 = cost(1.0, 4.0, 0.0);
        let half = |rate: f64| if rate > 1.0 { cost(rate, 2.0, FLOPS_PER_HALF) } else { f32 };
        TypeCosts {
            f32,
            f16: half(self.f16),
            bf16: half(self.bf16),
            int8: cost(self.int8, 1.0, FLOPS_PER_INT8),
        }
    }

    /// A convolution without groups, by the algorithm that it has in each type.
    #[must_use]
    pub fn conv(&self, shape: &ConvShape) -> TypeCosts {
        let least = |weights| {
            let candidates = ConvCandidate::all(self.cpu, shape, weights);
            let chosen = ConvCandidate::choose(&candidates, |candidate| candidate.flops);
            chosen.map_or(0.0, |candidate| candidate.flops)
        };
        let f32 = least(ConvWeights::F32);
        let size = |[height, width]: [usize; 2]| shape.batch as f64 * height as f64 * width as f64;
        let weights = shape.weight_len() as f64;
        let read = size([shape.height, shape.width]) * shape.in_channels as f64;
        let outputs = shape.output_size().map_or(0.0, |(height, width)| size([height, width]));
        let is_copied = shape.kernel != [1, 1];
        let copied = if is_copied { outputs * weights / shape.out_channels.max(1) as f64 } else { 0.0 };
        let direct = |rate: f64, bytes: f64, rounding: f64| {
            (2.0 * outputs / rate + FLOPS_PER_BYTE * bytes) * weights
                + rounding * read
                + FLOPS_PER_COPIED * copied
        };
        let half = |rate: f64| if rate > 1.0 { direct(rate, 2.0, FLOPS_PER_HALF) } else { f32 };
        TypeCosts {
            f32,
            f16: if self.f16 > 1.0 { least(ConvWeights::of_f16(self.cpu, shape)) } else { f32 },
            bf16: half(self.bf16),
            int8: direct(self.int8, 1.0, FLOPS_PER_INT8),
        }
    }
}

/// Whether this CPU has a feature, and kernels use it.
fn has(name: &str) -> bool {
    match name {
        "fp16" => F16Isa::detect() == Some(F16Isa::NeonFp16),
        "avx512fp16" => F16Isa::detect() == Some(F16Isa::Avx512Fp16),
        "amx-bf16" => Bf16Isa::detect() == Some(Bf16Isa::Amx),
        "avx512bf16" => Bf16Isa::detect().is_some(),
        "amx-int8" => Int8Isa::detect() == Int8Isa::Amx,
        _ => Int8Isa::detect().name() == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheInfo, SharedCache, conv::shape_3x3};

    fn arm(is_in_order: bool, features: &'static [&'static str]) -> TypeModel {
        let caches = CacheInfo {
            l1d: 64 << 10,
            l2: SharedCache { bytes: 512 << 10, cores: 1 },
            l3: SharedCache { bytes: 2 << 20, cores: 4 },
        };
        TypeModel::new(Cpu { isa: Isa::Neon, caches }, is_in_order, |name| features.contains(&name))
    }

    /// What was counted of other runtimes on a Cortex-A76 (benches/peers/arm): f16 takes half the instructions of f32 where
    /// a layer is a product, int8 fewer again, and int8 is no gain where f32 is Winograd's.
    #[test]
    fn types_rank_as_instructions_were_counted() {
        let a76 = arm(false, &["fp16", "dotprod"]);
        let fc = a76.linear(60, 784, 512);
        assert!((1.5..2.0).contains(&(fc.f32 / fc.f16)), "{fc:?}");
        assert!((2.2..3.2).contains(&(fc.f32 / fc.int8)), "{fc:?}");
        assert_eq!(fc.f32, fc.bf16);
        let point = a76.conv(&ConvShape { kernel: [1, 1], pads: [0; 4], ..shape_3x3(20, 24, 256, 64) });
        assert!(point.int8 < point.f16 && point.f16 < point.f32, "{point:?}");
        let winograd = a76.conv(&shape_3x3(38, 50, 256, 256));
        assert!((0.8..1.3).contains(&(winograd.f32 / winograd.int8)), "{winograd:?}");
        assert!((1.4..1.8).contains(&(winograd.f32 / winograd.f16)), "{winograd:?}");
    }

    /// Without such instructions f16 is f32, and what int8 gains is little, or nothing where each value read meets few weights.
    #[test]
    fn small_cores_gain_little() {
        let a72 = arm(false, &[]).linear(300, 4096, 4096);
        assert_eq!(a72.f16, a72.f32);
        assert!((1.2..1.6).contains(&(a72.f32 / a72.int8)), "{a72:?}");
        let squeeze = ConvShape { kernel: [1, 1], pads: [0; 4], ..shape_3x3(59, 79, 64, 16) };
        let a53 = arm(true, &[]).conv(&squeeze);
        assert!(a53.int8 > a53.f32, "{a53:?}");
    }

    #[test]
    fn nothing_costs_less_than_nothing() {
        let most = u32::MAX as usize;
        let nowhere = ConvShape { kernel: [0, 0], ..shape_3x3(0, 0, 0, 0) };
        let everywhere = ConvShape { batch: most, ..shape_3x3(most, most, most, most) };
        for model in [TypeModel::detect(), arm(true, &[]), arm(false, &["fp16", "i8mm"])] {
            for costs in [model.conv(&nowhere), model.conv(&everywhere), model.linear(most, most, most)] {
                let TypeCosts { f32, f16, bf16, int8 } = costs;
                assert!([f32, f16, bf16, int8].iter().all(|&cost| cost >= 0.0), "{costs:?}");
            }
        }
    }
}
