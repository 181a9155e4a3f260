//! Maps that are quantised as a whole, and the scratch that they lie in.

use super::{
    Int8Isa, Quantization,
    quantization::Quantizer,
    rows::{RowValue, Source},
    tile::{Tile, Work, run_on},
};
use crate::tasks;

/// Values that a task quantises at a time.
const AT_ONCE: usize = 1 << 14;

/// Quantises `from` into `to`, a byte for each value, and says whether all are finite.
pub(crate) fn quantize_into(quantization: Quantization, from: &[f32], to: &mut [u8], threads: usize) -> bool {
    struct Part<'a>(Quantizer, &'a [f32], &'a mut [u8]);
    impl Work for Part<'_> {
        type Output = bool;
        #[inline(always)]
        unsafe fn run<T: Tile>(self) -> bool {
            f32::convert(self.0, self.1, self.2)
        }
    }
    let quantizer = Quantizer::new(quantization);
    for_each_part(from, to, 1, threads, |from, to| run_on(Int8Isa::detect(), Part(quantizer, from, to)))
}

/// Quantises `from` into `to`, as rows of products on `isa` hold it, and says whether all values are finite.
pub(super) fn quantize_as_rows(
    isa: Int8Isa,
    quantization: Quantization,
    from: &[f32],
    to: &mut [u8],
    value_bytes: usize,
    threads: usize,
) -> bool {
    struct Part<'a>(Quantizer, &'a [f32], &'a mut [u8]);
    impl Work for Part<'_> {
        type Output = bool;
        #[inline(always)]
        unsafe fn run<T: Tile>(self) -> bool {
            f32::convert(self.0, self.1, cast_mut::<T::Value>(self.2))
        }
    }
    let quantizer = Quantizer::new(quantization);
    for_each_part(from, to, value_bytes, threads, |from, to| run_on(isa, Part(quantizer, from, to)))
}

/// Whether all parts gave true.
fn for_each_part(
    from: &[f32],
    to: &mut [u8],
    value_bytes: usize,
    threads: usize,
    work: impl Fn(&[f32], &mut [u8]) -> bool + Sync,
) -> bool {
    let parts = from.chunks(AT_ONCE).zip(to.chunks_mut(AT_ONCE * value_bytes));
    let mut tasks = alloc::vec![true; tasks::task_count(threads)];
    tasks::for_each_item(&mut tasks, parts, |all, (from, to)| *all &= work(from, to));
    tasks.into_iter().all(|all| all)
}

/// The bytes of some scratch.
pub(crate) fn bytes_mut(scratch: &mut [f32]) -> &mut [u8] {
    // SAFETY: each f32 is four bytes, of which every pattern is valid, in both.
    unsafe { core::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), size_of_val(scratch)) }
}

/// Bytes, as many as make up whole values, as values.
pub(super) fn cast_mut<V: RowValue>(bytes: &mut [u8]) -> &mut [V] {
    // SAFETY: of integers every pattern is valid.
    unsafe { bytes.align_to_mut().1 }
}

/// [`cast_mut`] of scratch that is read.
pub(super) fn cast<V: RowValue>(scratch: &[f32]) -> &[V] {
    // SAFETY: of integers every pattern is valid.
    unsafe { scratch.align_to().1 }
}
