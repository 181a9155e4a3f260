//! Instruction sets: which the CPU has.

/// An instruction set that kernels are written for. All give the same bits, but for sums of products, which some round
/// once where others round twice. What multiplies bf16 values, AMX among it, is a [`Bf16Isa`](crate::Bf16Isa).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Whatever the crate was compiled for.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
    /// aarch64.
    Neon,
}

impl Isa {
    /// The instruction sets that this CPU runs, slowest first.
    ///
    /// Without the `std` feature these are the ones the crate was compiled for.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Some(Self::Scalar),
            Neon::new().map(|_| Self::Neon),
            Avx2::new().map(|_| Self::Avx2),
            Avx512::new().map(|_| Self::Avx512),
        ];
        all.into_iter().flatten()
    }

    /// Those that tests hold to a reference: all, but emulated not the scalar one, which no such CPU would be given and
    /// the machine itself has run.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        let others = Self::available().count() > 1;
        Self::available().filter(move |&isa| isa != Self::Scalar || !others || !frcnn_testkit::emulated())
    }

    /// The fastest available instruction set.
    ///
    /// The environment variable `FRCNN_ISA` (`scalar`, `neon`, `avx2` or `avx512`; feature `std`; read once) picks another
    /// one. A name that is unknown or not available changes nothing. Products of the `gemm` crate detect
    /// the CPU by themselves, whatever is picked.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(feature = "std")]
        {
            static CHOICE: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
            *CHOICE.get_or_init(|| Self::named(std::env::var("FRCNN_ISA").ok().as_deref()))
        }
        #[cfg(not(feature = "std"))]
        Self::named(None)
    }

    fn named(name: Option<&str>) -> Self {
        let by_name = Self::available().find(|isa| Some(isa.name()) == name);
        by_name.or_else(|| Self::available().last()).unwrap_or(Self::Scalar)
    }

    /// As `FRCNN_ISA` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

/// Whether the CPU has some features; without the feature `std`, whether the crate was compiled for them.
macro_rules! has {
    ($arch:literal, $detected:ident, $($feature:tt),+) => {{
        #[cfg(all(target_arch = $arch, feature = "std"))]
        let has = $(std::arch::$detected!($feature))&&+;
        #[cfg(not(all(target_arch = $arch, feature = "std")))]
        let has = cfg!(all(target_arch = $arch, $(target_feature = $feature),+));
        has
    }};
}
pub(crate) use has;

/// A proof that the CPU has an instruction set: the only way to one is through `new`, which looked.
macro_rules! proof {
    ($name:ident, $arch:literal, $feature:tt, $detected:ident) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// `None` when the CPU lacks it.
            pub(crate) fn new() -> Option<Self> {
                has!($arch, $detected, $feature).then_some(Self(()))
            }
        }
    };
}
proof!(Avx2, "x86_64", "avx2", is_x86_feature_detected);
proof!(Avx512, "x86_64", "avx512f", is_x86_feature_detected);
proof!(Neon, "aarch64", "neon", is_aarch64_feature_detected);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pick_only_what_is_available() {
        let best = Isa::available().last();
        assert_eq!(Some(Isa::named(None)), best);
        assert_eq!(Some(Isa::named(Some("sse9"))), best);
        assert_eq!(Isa::named(Some("scalar")), Isa::Scalar);
        let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        assert_eq!(Some(Isa::named(Some(foreign))), best);
        for isa in Isa::available() {
            assert_eq!(Isa::named(Some(isa.name())), isa);
        }
    }
}
