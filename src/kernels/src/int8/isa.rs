//! Which instructions the CPU has for int8.

use crate::{amx::Feature, isa::has};

/// Instructions that multiply int8 values. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Int8Isa {
    /// Whatever the crate was compiled for.
    Scalar,
    /// aarch64: 8 products an instruction, whose sums take another one.
    Neon,
    /// aarch64 with dot products (Armv8.4, and many cores before it): 16 products an instruction.
    DotProd,
    /// aarch64 with I8MM (Armv8.6): 32 products an instruction.
    I8mm,
    /// x86-64 with AVX2: 16 products an instruction, of values of 16 bits.
    Avx2,
    /// x86-64 with AVX-VNNI: 32 products an instruction.
    AvxVnni,
    /// x86-64 with AVX512-VNNI: 64 products an instruction.
    Avx512Vnni,
    /// x86-64 with AVX512-VNNI and AMX-INT8, on Linux: 16384 products an instruction.
    Amx,
}

impl Int8Isa {
    /// Those that this CPU runs, slowest first.
    ///
    /// Without the `std` feature these are the ones the crate was compiled for.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Self::Scalar,
            Self::Neon,
            Self::DotProd,
            Self::I8mm,
            Self::Avx2,
            Self::AvxVnni,
            Self::Avx512Vnni,
            Self::Amx,
        ];
        all.into_iter().filter(|isa| isa.is_available())
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => has!("aarch64", is_aarch64_feature_detected, "neon"),
            Self::DotProd => has!("aarch64", is_aarch64_feature_detected, "neon", "dotprod"),
            Self::I8mm => has!("aarch64", is_aarch64_feature_detected, "neon", "i8mm"),
            Self::Avx2 => has!("x86_64", is_x86_feature_detected, "avx2"),
            Self::AvxVnni => has!("x86_64", is_x86_feature_detected, "avx2", "avxvnni"),
            Self::Avx512Vnni => {
                has!("x86_64", is_x86_feature_detected, "avx512f", "avx512bw", "avx512vl", "avx512vnni")
            }
            Self::Amx => Self::Avx512Vnni.is_available() && Feature::Int8.is_available(),
        }
    }

    /// The fastest available.
    ///
    /// The environment variable `FRCNN_ISA` (read once) picks another one by its name; here `avx512` is `avx2`, and `avx512bf16`
    /// is `avx512vnni`. A name that is unknown or not available changes nothing.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(feature = "std")]
        {
            static CHOICE: std::sync::OnceLock<Int8Isa> = std::sync::OnceLock::new();
            *CHOICE.get_or_init(|| Self::named(std::env::var("FRCNN_ISA").ok().as_deref()))
        }
        #[cfg(not(feature = "std"))]
        Self::named(None)
    }

    fn named(name: Option<&str>) -> Self {
        let name = match name {
            // A CPU with AVX-512 and no VNNI.
            Some("avx512") => Some("avx2"),
            // One without AMX.
            Some("avx512bf16") => Some("avx512vnni"),
            name => name,
        };
        let by_name = Self::available().find(|isa| Some(isa.name()) == name);
        by_name.or_else(|| Self::available().last()).unwrap_or(Self::Scalar)
    }

    /// Itself if the CPU has it.
    pub(crate) fn or_scalar(self) -> Self {
        if self.is_available() { self } else { Self::Scalar }
    }

    /// As `FRCNN_ISA` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::DotProd => "dotprod",
            Self::I8mm => "i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pick_only_what_is_available() {
        let best = Int8Isa::available().last();
        assert_eq!(Some(Int8Isa::named(None)), best);
        assert_eq!(Some(Int8Isa::named(Some("sse9"))), best);
        assert_eq!(Int8Isa::named(Some("scalar")), Int8Isa::Scalar);
        let foreign = if cfg!(target_arch = "x86_64") { "dotprod" } else { "avx512vnni" };
        assert_eq!(Some(Int8Isa::named(Some(foreign))), best);
        for isa in Int8Isa::available() {
            assert_eq!((Int8Isa::named(Some(isa.name())), isa.or_scalar()), (isa, isa));
        }
        assert_eq!(Int8Isa::named(Some("avx512")), Int8Isa::named(Some("avx2")));
    }
}
