//! Which instructions the CPU has for bf16.

use crate::amx::Feature;

/// Instructions that multiply bf16 values and add the products up in f32. Results differ in rounding from one to the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bf16Isa {
    /// x86-64 with AVX512-BF16: 32 products an instruction.
    Avx512Bf16,
    /// x86-64 with AMX-BF16, on Linux: 8192 products an instruction.
    Amx,
}

impl Bf16Isa {
    /// Those that this CPU runs, slowest first. None without the feature `std`.
    pub fn available() -> impl Iterator<Item = Self> {
        let avx512 = has_avx512_bf16();
        let all = [
            avx512.then_some(Self::Avx512Bf16),
            (avx512 && Feature::Bf16.is_available()).then_some(Self::Amx),
        ];
        all.into_iter().flatten()
    }

    /// The fastest available.
    ///
    /// The environment variable `FRCNN_ISA` (read once) picks another one by the name `avx512bf16` or `amx`; the name
    /// of any other [`Isa`](crate::Isa), which has none of these instructions, gives `None`.
    #[must_use]
    pub fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        {
            static CHOICE: std::sync::OnceLock<Option<Bf16Isa>> = std::sync::OnceLock::new();
            *CHOICE.get_or_init(|| Self::named(std::env::var("FRCNN_ISA").ok().as_deref()))
        }
        #[cfg(not(feature = "std"))]
        None
    }

    #[cfg(feature = "std")]
    fn named(name: Option<&str>) -> Option<Self> {
        let by_name = Self::available().find(|isa| Some(isa.name()) == name);
        if by_name.is_none() && crate::Isa::available().any(|isa| Some(isa.name()) == name) {
            return None;
        }
        by_name.or_else(|| Self::available().last())
    }

    /// As `FRCNN_ISA` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }
}

fn has_avx512_bf16() -> bool {
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512bf16")
    }
    #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
    false
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn names_pick_only_what_is_available() {
        let best = Bf16Isa::available().last();
        assert_eq!(Bf16Isa::named(None), best);
        assert_eq!(Bf16Isa::named(Some("sse9")), best);
        assert_eq!(Bf16Isa::named(Some("scalar")), None);
        for isa in Bf16Isa::available() {
            assert_eq!(Bf16Isa::named(Some(isa.name())), Some(isa));
        }
    }
}
