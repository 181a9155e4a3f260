//! Rows interleaved: the first value of each, then the second of each, and so on.

#[cfg(target_arch = "aarch64")]
use super::neon::interleave_four;
#[cfg(target_arch = "x86_64")]
use super::x86_interleave::interleave_four;

/// Values of each row that are taken at a time: the lanes of a vector.
const AT_ONCE: usize = 4;

/// Writes the first values of `M` rows, `stride` apart, as `[k, M]`, and says how many of the `k` values of each it took:
/// whole vectors of them.
///
/// # Safety
/// The CPU has the vectors that it is compiled for, `M` is 1 to 6, `k` values of each row are readable at `from` and `k * M` are
/// writable at `to`.
#[inline(always)]
pub(crate) unsafe fn interleave<const M: usize>(
    from: *const f32,
    stride: usize,
    k: usize,
    to: *mut f32,
) -> usize {
    const { assert!(1 <= M && M <= 6) };
    let whole = k / AT_ONCE * AT_ONCE;
    for k in (0..whole).step_by(AT_ONCE) {
        // SAFETY: the caller's promises: four values of each row, and `4 * M` of `to`.
        unsafe { interleave_four::<M>(from.add(k), stride, to.add(k * M)) }
    }
    whole
}
