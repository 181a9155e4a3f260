//! How numbers become int8 and what int8 products stand for.

use frcnn_core::ShapeError;

/// How a layer's input becomes `u8`: `q = clamp(round(x / scale) + zero_point, 0, 255)`.
///
/// The quotient is computed as `x * (1 / scale)`, in f32, and rounded to the nearest integer, of two to the even one. NaN
/// becomes 0; but no layer shows what it makes of that: an output is NaN if a value that it is made of is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// From one `q` to the next, in the input's unit. Finite and above 0, as is one divided by it.
    pub scale: f32,
    /// What 0 becomes.
    pub zero_point: u8,
}

impl Quantization {
    /// What `value` becomes.
    #[must_use]
    pub fn quantize(self, value: f32) -> u8 {
        Quantizer::new(self).level(value) as u8
    }

    pub(crate) fn check(self) -> Result<(), ShapeError> {
        let usable = |value: f32| value > 0.0 && value.is_finite();
        if usable(self.scale) && usable(1.0 / self.scale) {
            return Ok(());
        }
        Err(ShapeError { what: "a positive finite scale", expected: 1, found: 0 })
    }
}

/// A layer's int8 weights: symmetric, with a scale for each output channel.
#[derive(Clone, Copy, Debug)]
pub struct Int8Weights<'a> {
    /// `[K, N]` or `[Kh, Kw, Ci, Co]`, from -127 to 127.
    pub values: &'a [i8],
    /// What 1 stands for, in each output channel.
    pub scales: &'a [f32],
    /// How the layer's input is quantised.
    pub input: Quantization,
}

/// Products that an int8 layer adds up for one sum, at most. More might not fit an `i32`.
pub const INT8_MAX_K: usize = i32::MAX as usize / (255 * 127);

impl Int8Weights<'_> {
    /// Checks what does not depend on how the layer is computed: `k` values for each of `out_channels` sums.
    pub(crate) fn check(&self, k: usize, out_channels: usize) -> Result<(), ShapeError> {
        self.input.check()?;
        ShapeError::check("scales", out_channels, self.scales.len())?;
        if k > INT8_MAX_K {
            return Err(ShapeError { what: "products of an int8 sum", expected: INT8_MAX_K, found: k });
        }
        if self.values.contains(&i8::MIN) {
            return Err(ShapeError { what: "weights from -127 to 127", expected: 127, found: 128 });
        }
        Ok(())
    }
}

/// Whether no value is NaN or infinite.
#[inline(always)]
pub(super) fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(0, |largest, &value| size_bits(value).max(largest)) < INFINITE
}

/// The bits of infinity.
pub(super) const INFINITE: u32 = f32::INFINITY.to_bits();

/// Bits that are greater of a greater value, whatever its sign, and greatest of NaN.
#[inline(always)]
pub(super) fn size_bits(value: f32) -> u32 {
    value.to_bits() & (u32::MAX >> 1)
}

/// [`Quantization`] as a loop needs it.
#[derive(Clone, Copy)]
pub(crate) struct Quantizer {
    /// One divided by the scale.
    pub(super) inverse: f32,
    pub(super) zero_point: u8,
}

impl Quantizer {
    pub(crate) fn new(quantization: Quantization) -> Self {
        Self { inverse: 1.0 / quantization.scale, zero_point: quantization.zero_point }
    }

    /// The `q` of `value`, in the lowest eight bits.
    ///
    /// Steps are clamped before they are rounded, which comes to the same: the limits are integers. Adding 1.5 times 2^23
    /// then rounds as asked for, and leaves the integer in the lowest bits of the sum.
    #[inline(always)]
    pub(super) fn level(self, value: f32) -> u32 {
        const ROUND: f32 = 12_582_912.0;
        let (least, most) = (-f32::from(self.zero_point), 255.0 - f32::from(self.zero_point));
        let steps = value * self.inverse;
        // Neither is `f32::max`: what is not greater, NaN among it, is `least`.
        let steps = if steps > least { steps } else { least };
        let steps = if steps < most { steps } else { most };
        (steps + ROUND).to_bits().wrapping_add(u32::from(self.zero_point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantizing_by_hand() {
        let half = Quantization { scale: 0.5, zero_point: 3 };
        for (value, expected) in [
            (0.0, 3),
            (-0.0, 3),
            (1.0, 5),
            // Halves of a step go to the even neighbour, before the zero point is added.
            (0.25, 3),
            (0.75, 5),
            (-0.25, 3),
            (-0.75, 1),
            (-1.5, 0),
            (-100.0, 0),
            (126.0, 255),
            (126.25, 255),
            (1e30, 255),
            (f32::INFINITY, 255),
            (f32::NEG_INFINITY, 0),
            (f32::NAN, 0),
        ] {
            assert_eq!(half.quantize(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_finite() {
        let finite = [0.0, -0.0, f32::MAX, f32::MIN, f32::from_bits(1), 1.0];
        assert!(all_finite(&finite) && all_finite(&[]));
        for odd in [f32::NAN, -f32::NAN, f32::from_bits(INFINITE + 1), f32::INFINITY, f32::NEG_INFINITY] {
            for place in 0..finite.len() {
                let mut values = finite;
                values[place] = odd;
                assert!(!all_finite(&values), "{odd} at {place}");
            }
        }
    }

    #[test]
    fn every_level_comes_from_its_value() {
        for zero_point in [0, 1, 127, 128, 255] {
            let quantization = Quantization { scale: 0.037, zero_point };
            for q in 0..=255u8 {
                let value = (f32::from(q) - f32::from(zero_point)) * 0.037;
                assert_eq!(quantization.quantize(value), q);
            }
        }
    }

    #[test]
    fn unusable_weights_are_errors() {
        let input = Quantization { scale: 1.0, zero_point: 0 };
        let weights = Int8Weights { values: &[127, -127], scales: &[1.0], input };
        assert_eq!(weights.check(2, 1), Ok(()));
        let what = |weights: Int8Weights<'_>, k| weights.check(k, 1).map_err(|error| error.what);
        assert_eq!(what(weights, INT8_MAX_K), Ok(()));
        assert_eq!(what(weights, INT8_MAX_K + 1), Err("products of an int8 sum"));
        assert_eq!(what(Int8Weights { values: &[-128], ..weights }, 1), Err("weights from -127 to 127"));
        assert_eq!(what(Int8Weights { scales: &[], ..weights }, 2), Err("scales"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::from_bits(1)] {
            let input = Quantization { scale, ..input };
            assert_eq!(what(Int8Weights { input, ..weights }, 2), Err("a positive finite scale"), "{scale}");
        }
    }
}
