//! x86-64: a value of each row is broadcast, and a vector of weights holds the next few values of each channel.
//!
//! ```text
//!   VPDPBUSD    32-bit lane:  sum += q0 w0 + q1 w1 + q2 w2 + q3 w3     bytes, q without a sign
//!   VPMADDWD    32-bit lane:         q0 w0 + q1 w1                     16 bits, added by VPADDD
//! ```
//!
//! Neither saturates: `VPMADDUBSW`, which does, would give other sums. For `VPMADDWD` weights are widened as they are read, or,
//! before many rows, once: widening them again takes the port that additions need, on Intel's cores.

use core::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_dpbusd_avx_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_storeu_si256, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
};

use super::{
    rows::RowValue,
    tile::{Operands, Tile},
};
use crate::{
    aligned::{AlignedVec, at_least},
    product::with_const,
};

/// 16 x 16 bits.
pub(super) struct Avx2;
/// The same, of weights that were widened.
pub(super) struct Avx2Widened;
/// 32 x 8 bits.
pub(super) struct AvxVnni;
/// 64 x 8 bits.
pub(super) struct Avx512Vnni;

/// What the instruction sets differ in.
///
/// # Safety
/// `SUMS` is the number of i32 that a vector has.
pub(super) unsafe trait Dot {
    type Vector: Copy;
    type Value: RowValue;
    type Weight: Copy;
    const SUMS: usize;
    /// Values that a lane adds up.
    const DEPTH: usize;

    /// # Safety
    /// The CPU has the instructions, as for every function here; `SUMS` values are readable.
    unsafe fn load(from: *const i32) -> Self::Vector;

    /// # Safety
    /// `SUMS` values are writable.
    unsafe fn store(sums: Self::Vector, to: *mut i32);

    /// [`Tile::weights`].
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn prepare(panel: &[i8], room: &mut AlignedVec<u8>) -> *const Self::Weight;

    /// # Safety
    /// `SUMS * DEPTH` values are readable.
    unsafe fn weights(from: *const Self::Weight) -> Self::Vector;

    /// # Safety
    /// `DEPTH` values are readable, which are 32 bits.
    unsafe fn broadcast(from: *const Self::Value) -> Self::Vector;

    /// # Safety
    /// The CPU has the instructions.
    unsafe fn add_products(sums: Self::Vector, values: Self::Vector, weights: Self::Vector) -> Self::Vector;
}

// SAFETY: 256 bits are 8 i32.
unsafe impl Dot for Avx2 {
    type Vector = __m256i;
    type Value = i16;
    type Weight = i8;
    const SUMS: usize = 8;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256i, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), sums) }
    }

    #[inline(always)]
    unsafe fn prepare(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const i16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(values, weights)) }
    }
}

// SAFETY: 256 bits are 8 i32.
unsafe impl Dot for Avx2Widened {
    type Vector = __m256i;
    type Value = i16;
    type Weight = i16;
    const SUMS: usize = 8;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { Avx2::load(from) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256i, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { Avx2::store(sums, to) }
    }

    #[inline(always)]
    unsafe fn prepare(panel: &[i8], room: &mut AlignedVec<u8>) -> *const i16 {
        let room = at_least(room, size_of_val(panel) * size_of::<i16>());
        let widened = room.as_chunks_mut::<{ size_of::<i16>() }>().0;
        widened.iter_mut().zip(panel).for_each(|(to, &weight)| *to = i16::from(weight).to_ne_bytes());
        room.as_ptr().cast()
    }

    #[inline(always)]
    unsafe fn weights(from: *const i16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const i16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { Avx2::broadcast(from) }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { Avx2::add_products(sums, values, weights) }
    }
}

// SAFETY: 256 bits are 8 i32.
unsafe impl Dot for AvxVnni {
    type Vector = __m256i;
    type Value = u8;
    type Weight = i8;
    const SUMS: usize = 8;
    const DEPTH: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const i32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { Avx2::load(from) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m256i, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { Avx2::store(sums, to) }
    }

    #[inline(always)]
    unsafe fn prepare(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sums, values, weights) }
    }
}

// SAFETY: 512 bits are 16 i32.
unsafe impl Dot for Avx512Vnni {
    type Vector = __m512i;
    type Value = u8;
    type Weight = i8;
    const SUMS: usize = 16;
    const DEPTH: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const i32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512i, to: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.cast(), sums) }
    }

    #[inline(always)]
    unsafe fn prepare(panel: &[i8], _: &mut AlignedVec<u8>) -> *const i8 {
        panel.as_ptr()
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m512i, values: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_dpbusd_epi32(sums, values, weights) }
    }
}

/// How many times `DEPTH` values a turn of the loop takes.
const AT_ONCE: usize = 2;

/// `M` rows of `N` vectors of sums in registers, while `K` goes by.
///
/// # Safety
/// As [`Tile::multiply`], for `M` rows and a panel of `N` vectors; rows of sums are `panel_sums` apart.
#[inline(always)]
pub(super) unsafe fn multiply<D: Dot, const M: usize, const N: usize>(
    operands: Operands<D::Value, D::Weight>,
    panel_sums: usize,
) {
    let Operands { rows, stride, k, panel, sums: places, .. } = operands;
    let place = |i: usize, j: usize| places.wrapping_add(i * panel_sums + j * D::SUMS);
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums: [[D::Vector; N]; M] =
            core::array::from_fn(|i| core::array::from_fn(|j| D::load(place(i, j))));
        let depth = D::DEPTH;
        for k in (0..k).step_by(AT_ONCE * depth) {
            for k in [k, k + depth] {
                let panel = panel.add(k * N * D::SUMS);
                let weights: [D::Vector; N] =
                    core::array::from_fn(|j| D::weights(panel.add(j * D::SUMS * depth)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let values = D::broadcast(rows.add(i * stride + k));
                    for (sums, &weights) in sums.iter_mut().zip(&weights) {
                        *sums = D::add_products(*sums, values, weights);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sums) in sums.into_iter().enumerate() {
                D::store(sums, place(i, j));
            }
        }
    }
}

/// A [`Tile`] of six rows of so many vectors, by [`multiply`].
macro_rules! tile {
    ($isa:ident, $many:ty, $vectors:literal, [$($count:literal)+]) => {
        // SAFETY: the sizes are as asked for.
        unsafe impl Tile for $isa {
            type Value = <Self as Dot>::Value;
            type Weight = <Self as Dot>::Weight;
            type OfManyRows = $many;
            const ROWS: usize = 6;
            const PANEL: usize = $vectors * <Self as Dot>::SUMS;
            const LANES: usize = <Self as Dot>::SUMS;
            const DEPTH: usize = <Self as Dot>::DEPTH;
            const STEP: usize = AT_ONCE * <Self as Dot>::DEPTH;

            #[inline(always)]
            unsafe fn new() -> Self {
                Self
            }

            #[inline(always)]
            unsafe fn weights(panel: &[i8], room: &mut AlignedVec<u8>) -> *const Self::Weight {
                // SAFETY: the caller's promise.
                unsafe { Self::prepare(panel, room) }
            }

            #[inline(always)]
            unsafe fn multiply(&self, m: usize, operands: Operands<Self::Value, Self::Weight>) {
                let vectors = operands.width / Self::LANES;
                // SAFETY: the caller's promises.
                unsafe {
                    with_const!(m, M in [1 2 3 4 5 6], with_const!(vectors, N in [$($count)+], {
                        multiply::<Self, M, N>(operands, Self::PANEL);
                    }));
                }
            }
        }
    };
}
// Of 16 registers twelve are sums.
tile!(Avx2, Avx2Widened, 2, [1 2]);
tile!(Avx2Widened, Self, 2, [1 2]);
tile!(AvxVnni, Self, 2, [1 2]);
// Of 32 registers 24 are sums.
tile!(Avx512Vnni, Self, 4, [1 2 3 4]);
