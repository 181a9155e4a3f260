//! The power of two that a row is multiplied by before it is rounded.

use core::ops::Range;

use frcnn_core::{f16_from_f32, f16_to_f32};

/// Bits of infinity and of the least normal value in f16.
const INFINITY: u16 = 0x7c00;
const LEAST_NORMAL: u16 = 0x0400;
/// The largest f16.
const LARGEST: f32 = 65504.0;
/// About as large may a sum of f16 values be before they are rounded: with 128 roundings it is 34900 then.
const MOST: f32 = 32768.0;
/// Values of which the largest, and the largest sum of which, are this large at least need not be multiplied by anything: what
/// becomes subnormal is off by 2^-25 at most.
const ENOUGH: f32 = 0.25;

/// What rows that meet some weights are multiplied by. A row's largest magnitude alone decides.
#[derive(Clone, Debug)]
pub(crate) struct Scales {
    /// The largest sum of magnitudes of what a row of a run meets.
    weights: f32,
    /// Bits of the largest magnitudes of rows that fit as they are.
    fitting: Range<u16>,
}

impl Scales {
    /// For rows that meet `weights` in a run, magnitudes added up, at most.
    pub(super) fn new(weights: f32) -> Self {
        let least = f16_from_f32((ENOUGH / weights).max(ENOUGH));
        let most = f16_from_f32((MOST / weights).min(LARGEST));
        Self { weights, fitting: least..most + 1 }
    }

    /// Whether all rows fit as they are, given the bits of the largest magnitude of each.
    pub(crate) fn all_fit(&self, largest: &[u16]) -> bool {
        largest.iter().all(|largest| self.fitting.contains(largest))
    }

    /// What a row whose largest magnitude has these bits is multiplied by: 1 where it fits as it is or is 0, else the largest
    /// power of two with which its values and their sums stay below [`MOST`]. Where f16 does not say how large the largest is,
    /// `finite` does, of the values that are finite.
    pub(crate) fn scale(&self, largest: u16, finite: impl FnOnce() -> f32) -> f32 {
        if self.fitting.contains(&largest) {
            return 1.0;
        }
        let normal = (LEAST_NORMAL..INFINITY).contains(&largest);
        let largest = if normal { f16_to_f32(largest) } else { finite() };
        if largest == 0.0 {
            return 1.0;
        }
        // Exponents of f32: |x| < 2^(exponent + 1). Powers whose inverse is an f32, too.
        let exponent = |value: f32| (value.to_bits() >> 23 & 0xff) as i32 - 127;
        let power = 15 - (exponent(largest) + 1) - (exponent(self.weights.max(1.0)) + 1);
        f32::from_bits((power.clamp(-126, 126) + 127) as u32 * (1 << 23))
    }
}

/// The largest magnitude of those that are finite.
pub(crate) fn largest_finite(values: &[f32]) -> f32 {
    const INFINITY: u32 = f32::INFINITY.to_bits();
    // In lanes: bits of magnitudes are ordered as these are.
    let mut largest = [0; 16];
    let more = |largest: &mut u32, value: &f32| {
        let bits = value.to_bits() & !(1 << 31);
        *largest = (*largest).max(if bits < INFINITY { bits } else { 0 });
    };
    let (chunks, rest) = values.as_chunks::<16>();
    for values in chunks {
        largest.iter_mut().zip(values).for_each(|(largest, value)| more(largest, value));
    }
    largest.iter_mut().zip(rest).for_each(|(largest, value)| more(largest, value));
    f32::from_bits(largest.into_iter().fold(0, u32::max))
}
