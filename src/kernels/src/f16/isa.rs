//! Whether the CPU computes in f16.

use crate::{Bf16Isa, isa::has};

/// Instructions that multiply f16 values and add the products up in f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum F16Isa {
    /// The same arithmetic, bit for bit, on any CPU.
    #[cfg(test)]
    Plain,
    /// aarch64 with FEAT_FP16: 8 products an instruction.
    NeonFp16,
    /// x86-64 with AVX512-FP16: 32 products an instruction.
    Avx512Fp16,
}

impl F16Isa {
    /// Those that this CPU runs. Without the feature `std`, those that the crate was compiled for.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            #[cfg(test)]
            Some(Self::Plain),
            Self::of_cpu(),
        ];
        all.into_iter().flatten()
    }

    fn of_cpu() -> Option<Self> {
        let neon = has!("aarch64", is_aarch64_feature_detected, "fp16");
        let avx512 = has!("x86_64", is_x86_feature_detected, "avx512f", "avx512bw", "avx512vl", "avx512fp16");
        neon.then_some(Self::NeonFp16).or(avx512.then_some(Self::Avx512Fp16))
    }

    /// What this CPU has.
    ///
    /// The environment variable `FRCNN_ISA` (read once) may name any other [`Isa`](crate::Isa), or `avx512bf16`, which stand for
    /// CPUs that have none of these instructions: then it is `None`.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        {
            static CHOICE: std::sync::OnceLock<Option<F16Isa>> = std::sync::OnceLock::new();
            *CHOICE.get_or_init(|| Self::named(std::env::var("FRCNN_ISA").ok().as_deref()))
        }
        #[cfg(not(feature = "std"))]
        Self::named(None)
    }

    fn named(name: Option<&str>) -> Option<Self> {
        let others = crate::Isa::available().map(crate::Isa::name);
        let without = others.chain(Some(Bf16Isa::Avx512Bf16.name())).any(|other| Some(other) == name);
        Self::of_cpu().filter(|_| !without)
    }

    /// As `FRCNN_ISA` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(test)]
            Self::Plain => "plain",
            Self::NeonFp16 => "neonfp16",
            Self::Avx512Fp16 => "avx512fp16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pick_only_what_is_available() {
        let best = F16Isa::available().find(|&isa| isa != F16Isa::Plain);
        assert_eq!(F16Isa::named(None), best);
        assert_eq!(F16Isa::named(Some("sse9")), best);
        for isa in [F16Isa::NeonFp16, F16Isa::Avx512Fp16] {
            assert_eq!(F16Isa::named(Some(isa.name())), best);
        }
        for other in ["scalar", "avx512bf16"] {
            assert_eq!(F16Isa::named(Some(other)), None);
        }
    }
}
