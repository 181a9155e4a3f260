//! Rows of quantised values as products read them.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
use super::neon_rows;
use super::quantization::{INFINITE, Quantizer, all_finite, size_bits};

/// What rows are made of, for an instruction set: `q`, less an offset.
pub(crate) trait RowValue: Copy {
    /// What is taken from each `q`.
    const OFFSET: i32;

    /// The value for the `q` in the lowest eight bits.
    fn of(q: u32) -> Self;

    /// Quantises the first values of `from`, by instructions of its own. Gives the number of them, and whether they surely are
    /// finite.
    #[inline(always)]
    fn quantize(_quantizer: Quantizer, _from: &[f32], _to: &mut [Self]) -> (usize, bool) {
        (0, true)
    }
}

/// For products of unsigned and signed bytes.
impl RowValue for u8 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn of(q: u32) -> Self {
        q as u8
    }

    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    #[inline(always)]
    fn quantize(quantizer: Quantizer, from: &[f32], to: &mut [Self]) -> (usize, bool) {
        neon_rows::quantize(quantizer, from, to)
    }
}

/// For products of signed bytes.
impl RowValue for i8 {
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn of(q: u32) -> Self {
        (q as u8 ^ 0x80) as i8
    }

    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    #[inline(always)]
    fn quantize(quantizer: Quantizer, from: &[f32], to: &mut [Self]) -> (usize, bool) {
        neon_rows::quantize_less_128(quantizer, from, to)
    }
}

/// For products of 16 bits.
impl RowValue for i16 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn of(q: u32) -> Self {
        (q & 0xff) as i16
    }
}

/// What rows are made from.
pub(crate) trait Source: Copy + Sync {
    /// Writes values as rows hold them, and says whether all of them are finite.
    fn convert<V: RowValue>(quantizer: Quantizer, from: &[Self], to: &mut [V]) -> bool;
}

impl Source for f32 {
    #[inline(always)]
    fn convert<V: RowValue>(quantizer: Quantizer, from: &[Self], to: &mut [V]) -> bool {
        let (done, surely_finite) = V::quantize(quantizer, from, to);
        let (first, rest) = from.split_at(done);
        let mut largest = 0;
        for (&from, to) in rest.iter().zip(&mut to[done..]) {
            largest = size_bits(from).max(largest);
            *to = V::of(quantizer.level(from));
        }
        largest < INFINITE && (surely_finite || all_finite(first))
    }
}

/// Quantised already.
impl Source for u8 {
    #[inline(always)]
    fn convert<V: RowValue>(_: Quantizer, from: &[Self], to: &mut [V]) -> bool {
        from.iter().zip(to).for_each(|(&from, to)| *to = V::of(u32::from(from)));
        true
    }
}
