//! bf16, the upper half of an f32: its sign, its exponent and seven bits of its fraction.
//!
//! The crate half converts in the same way. It would bring zerocopy and its macros into the builds of this crate and of
//! the kernels, which have next to no dependencies, for two functions of a few lines.
//!
//! Values are kept as their bits, in a `u16`. The largest relative error of a rounded value is 2^-8.

/// The nearest bf16, ties to even. NaN stays NaN, and what is beyond the largest becomes infinite.
#[must_use]
pub const fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // The highest bit of the fraction: the others may all be cut off.
        return (bits >> 16) as u16 | 0x40;
    }
    let odd = bits >> 16 & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The f32 of the same value.
#[must_use]
pub const fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_nearest_even() {
        for (value, bits) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3f80),
            (f32::from_bits(0x3f80_7fff), 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0xbf81_8000), 0xbf82),
            (f32::MAX, 0x7f80),
            (f32::INFINITY, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
            (f32::from_bits(1), 0x0000),
        ] {
            assert_eq!(bf16_from_f32(value), bits, "{value:e}");
        }
        assert!(bf16_to_f32(bf16_from_f32(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn what_is_bf16_already_stays() {
        for bits in 0..=u16::MAX {
            let value = bf16_to_f32(bits);
            assert!(value.is_nan() || bf16_from_f32(value) == bits);
        }
    }
}
