//! Whether the CPU computes in f16.

/// Instructions that multiply f16 values and add the products up in f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum F16Isa {
    /// The same arithmetic, bit for bit, on any CPU.
    #[cfg(test)]
    Plain,
    /// aarch64 with FEAT_FP16: 8 products an instruction.
    NeonFp16,
}

impl F16Isa {
    /// Those that this CPU runs. Without the feature `std`, those that the crate was compiled for.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            #[cfg(test)]
            Some(Self::Plain),
            has_fp16().then_some(Self::NeonFp16),
        ];
        all.into_iter().flatten()
    }

    /// The fastest available.
    ///
    /// The environment variable `FRCNN_ISA` (read once) may name any other [`Isa`](crate::Isa), which has none of these
    /// instructions: then it is `None`.
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
        let is_other = crate::Isa::available().any(|isa| Some(isa.name()) == name);
        has_fp16().then_some(Self::NeonFp16).filter(|_| !is_other)
    }

    /// As `FRCNN_ISA` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(test)]
            Self::Plain => "plain",
            Self::NeonFp16 => "neonfp16",
        }
    }
}

fn has_fp16() -> bool {
    #[cfg(all(target_arch = "aarch64", feature = "std"))]
    {
        std::arch::is_aarch64_feature_detected!("fp16")
    }
    #[cfg(not(all(target_arch = "aarch64", feature = "std")))]
    {
        cfg!(all(target_arch = "aarch64", target_feature = "fp16"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_pick_only_what_is_available() {
        let best = F16Isa::available().find(|&isa| isa == F16Isa::NeonFp16);
        assert_eq!(F16Isa::named(None), best);
        assert_eq!(F16Isa::named(Some("sse9")), best);
        assert_eq!(F16Isa::named(Some(F16Isa::NeonFp16.name())), best);
        assert_eq!(F16Isa::named(Some("scalar")), None);
    }
}
