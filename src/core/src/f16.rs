//! f16, IEEE 754's binary16: a sign, five bits of exponent and ten of fraction.
//!
//! Converted here for the reasons that [`bf16`](crate::bf16) gives. Values are kept as their bits, in a `u16`. From 2^-14
//! to 65504, the largest value, the relative error of a rounded value is 2^-11 at most; below, where values are subnormal,
//! its error is 2^-25 at most.

/// Bits of an f32's fraction that an f16 does not have.
const CUT: u32 = 13;
/// The bits of the smallest normal f16, 2^-14, as an f32.
const SMALLEST_NORMAL: u32 = 0x3880_0000;
/// The bits of 65520 as an f32, halfway between the largest f16 and the next power of two: from here on, values round to
/// infinity.
const OVERFLOW: u32 = 0x477f_f000;
const INFINITY: u16 = 0x7c00;

/// The nearest f16, ties to even; subnormal values are kept. NaN stays NaN, and what rounds to more than 65504 becomes
/// infinite.
#[must_use]
pub const fn f16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    sign | if value.is_nan() {
        // The highest bit of the fraction: the others may all be cut off.
        INFINITY | 0x200 | (magnitude >> CUT & 0x3ff) as u16
    } else if magnitude >= OVERFLOW {
        INFINITY
    } else if magnitude >= SMALLEST_NORMAL {
        // An exponent of f32 is 112 more than f16's. A fraction that rounds up to 1 carries into the exponent.
        shift_right_rounded(magnitude - (112 << 23), CUT)
    } else {
        // Subnormal: a multiple of 2^-24. The value is fraction * 2^(exponent - 150), and 0 where that is below 2^-25.
        let exponent = magnitude >> 23;
        let fraction = magnitude & 0x7f_ffff | 1 << 23;
        if exponent < 102 { 0 } else { shift_right_rounded(fraction, 126 - exponent) }
    }
}

/// `value / 2^by`, rounded to nearest, ties to even; the result must fit.
const fn shift_right_rounded(value: u32, by: u32) -> u16 {
    let odd = value >> by & 1;
    ((value + (1 << (by - 1)) - 1 + odd) >> by) as u16
}

/// The f32 of the same value.
#[must_use]
pub const fn f16_to_f32(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let magnitude = bits as u32 & 0x7fff;
    let magnitude = if magnitude >= INFINITY as u32 {
        0xff << 23 | magnitude << CUT
    } else if magnitude >= 0x400 {
        (magnitude << CUT) + (112 << 23)
    } else {
        // Subnormal, and no such f32 takes part: some programs have the CPU take those for 0.
        const UNIT: f32 = 1.0 / (1 << 24) as f32;
        (magnitude as f32 * UNIT).to_bits()
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What IEEE 754 says that the bits mean, computed in f64; none for NaN.
    fn meaning(bits: u16) -> Option<f64> {
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let fraction = f64::from(bits % 1024);
        let power = |exponent: i32| libm::pow(2.0, f64::from(exponent));
        match i32::from(bits >> 10 & 31) {
            0 => Some(sign * power(-14) * (fraction / 1024.0)),
            31 => bits.is_multiple_of(1024).then_some(sign * f64::INFINITY),
            exponent => Some(sign * power(exponent - 15) * (1.0 + fraction / 1024.0)),
        }
    }

    #[test]
    fn each_of_all_bits_means_what_the_standard_says() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            assert_eq!(value.is_sign_negative(), bits >> 15 == 1, "{bits:#06x}");
            match meaning(bits) {
                Some(meaning) => assert_eq!(f64::from(value), meaning, "{bits:#06x}"),
                None => assert!(value.is_nan(), "{bits:#06x}"),
            }
        }
    }

    #[test]
    fn what_is_f16_already_stays() {
        for bits in 0..=u16::MAX {
            let again = f16_from_f32(f16_to_f32(bits));
            if meaning(bits).is_some() {
                assert_eq!(again, bits);
            } else {
                assert!(meaning(again).is_none() && again >> 15 == bits >> 15, "{bits:#06x} {again:#06x}");
            }
        }
        // Where all bits of the fraction that an f16 has are 0.
        assert!(f16_to_f32(f16_from_f32(f32::from_bits(0x7f80_0001))).is_nan());
    }

    /// Between each two neighbours, up to the power of two that would follow the largest.
    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        for low in 0..INFINITY {
            let value = |bits: u16| meaning(bits).filter(|value| value.is_finite()).unwrap_or(65536.0);
            let (from, to) = (value(low), value(low + 1));
            let middle = (from + to) / 2.0;
            let tie = middle as f32;
            assert_eq!(f64::from(tie), middle, "an f32 holds the middle");
            let even = if low.is_multiple_of(2) { low } else { low + 1 };
            let quarter = |share: f64| (from + (to - from) * share) as f32;
            for (given, rounded) in [
                (quarter(0.25), low),
                (tie.next_down(), low),
                (tie, even),
                (tie.next_up(), low + 1),
                (quarter(0.75), low + 1),
            ] {
                assert_eq!(f16_from_f32(given), rounded, "{given:e}");
                assert_eq!(f16_from_f32(-given), rounded | 0x8000, "-{given:e}");
            }
        }
    }

    #[test]
    fn what_is_out_of_range_becomes_zero_or_infinite() {
        for (value, bits) in [
            (0.0, 0),
            (f32::from_bits(1), 0),
            (f32::MIN_POSITIVE, 0),
            (65504.0, 0x7bff),
            (f32::from_bits(OVERFLOW - 1), 0x7bff),
            (65520.0, INFINITY),
            (65536.0, INFINITY),
            (f32::MAX, INFINITY),
            (f32::INFINITY, INFINITY),
        ] {
            assert_eq!(f16_from_f32(value), bits, "{value:e}");
            assert_eq!(f16_from_f32(-value), bits | 0x8000, "-{value:e}");
        }
    }
}
