//! Registers of f32 lanes, and the one place where code is chosen by instruction set.
//!
//! | what is written | runs by |
//! |---|---|
//! | a [`Kernel`], over any [`Vector`] | [`run_on`] |
//! | a [`Loop`] that the compiler vectorises | [`vectorized`], through [`run_on`] |
//!
//! Either is compiled once for each instruction set. What multiplies bf16 values has instructions that no other set has
//! a like of, and is dispatched by `bf16::engine`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod interleave;
#[cfg(test)]
mod interleave_tests;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;
#[cfg(target_arch = "x86_64")]
mod x86_interleave;

use crate::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use plain::Plain;

/// The most lanes that any [`Vector`] has.
pub(crate) const MAX_LANES: usize = 16;

/// A register of f32 lanes.
///
/// # Safety
/// `LANES`, at most [`MAX_LANES`], is the number of f32 that `load` reads and `store` writes.
pub(crate) unsafe trait Vector: Copy {
    const LANES: usize;
    /// Vectors of output channels that a product keeps beside one another: with [`ROWS`](super::product::ROWS) rows
    /// of them, one vector of weights for each and one value, they fill the registers.
    const PANEL: usize;
    /// Most rows of a product's tile where rows are not packed, up to [`ROWS`](super::product::ROWS).
    const STRIDED_ROWS: usize = crate::product::ROWS;
    /// Whether products of rows that are interleaved vector by vector are faster than those of rows as they lie.
    const INTERLEAVED: bool = false;

    /// # Safety
    /// The CPU has the instruction set of `Self`; the same goes for every function here.
    unsafe fn splat(value: f32) -> Self;

    /// # Safety
    /// `LANES` values are readable at `from`, of any alignment.
    unsafe fn load(from: *const f32) -> Self;

    /// The f32 of the same values as `LANES` f16, given as their bits.
    ///
    /// # Safety
    /// `LANES` values are readable at `from`, of any alignment.
    unsafe fn widen_f16(from: *const u16) -> Self;

    /// The same of bf16.
    ///
    /// # Safety
    /// As [`Vector::widen_f16`].
    unsafe fn widen_bf16(from: *const u16) -> Self;

    /// # Safety
    /// `LANES` values are writable at `to`, of any alignment.
    unsafe fn store(self, to: *mut f32);

    /// [`store`](Vector::store) to memory that is not read again soon: past the caches where the CPU can, and then not
    /// seen by others before [`fence`](Vector::fence).
    ///
    /// # Safety
    /// As `store`, and `to` is aligned to the vector.
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }

    /// Prefetches the cache line of `from`, which need not be readable, into L1.
    #[inline(always)]
    fn prefetch(_from: *const f32) {}

    /// Prefetches a line that is not needed soon into L2 alone.
    #[inline(always)]
    fn prefetch_far(_from: *const f32) {}

    /// Makes what was streamed visible.
    #[inline(always)]
    fn fence() {}

    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn add(self, other: Self) -> Self;

    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn sub(self, other: Self) -> Self;

    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn mul(self, factor: Self) -> Self;

    /// `self * factor + addend`, rounded once where the instruction set can.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// In each lane `value` if `value > self`, otherwise `self`: also when either is NaN, and for two zeros.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn max(self, value: Self) -> Self;

    /// [`max`](Vector::max) of lanes that are not NaN, nor zeros of either sign: whatever the order, which some CPUs do faster.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    #[inline(always)]
    unsafe fn max_of_numbers(self, value: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.max(value) }
    }

    /// In each lane `value` if `value < self`, otherwise `self`: also when either is NaN, and for two zeros.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn min(self, value: Self) -> Self;

    /// ReLU: NaN and -0 stay as they are.
    ///
    /// # Safety
    /// As [`Vector::splat`].
    unsafe fn positive(self) -> Self;

    /// Adds to `sums` the products of the first values of `M` rows, `stride` apart, and as many rows of `N` vectors of
    /// `weights`, in their order, and says how many of the `k` values of a row it took: those for which the instruction set
    /// has a way of its own, none by default. `next`, which need not be readable, is prefetched into L2 meanwhile.
    ///
    /// # Safety
    /// As [`Vector::splat`]; `k` values of each row and `k * N` vectors of weights are readable.
    #[inline(always)]
    unsafe fn multiply_rows<const M: usize, const N: usize>(
        _sums: &mut [[Self; N]; M],
        _a: *const f32,
        _stride: usize,
        _k: usize,
        _weights: *const f32,
        _next: *const f32,
    ) -> usize {
        0
    }

    /// [`Vector::multiply_rows`] of rows that are packed as `[k, M]`.
    ///
    /// # Safety
    /// As [`Vector::multiply_rows`].
    #[inline(always)]
    unsafe fn multiply_packed<const M: usize, const N: usize>(
        _sums: &mut [[Self; N]; M],
        _a: *const f32,
        _k: usize,
        _weights: *const f32,
        _next: *const f32,
    ) -> usize {
        0
    }

    /// [`Vector::multiply_rows`] of rows that are interleaved vector by vector, `[k / LANES, M, LANES]`.
    ///
    /// # Safety
    /// As [`Vector::multiply_rows`].
    #[inline(always)]
    unsafe fn multiply_vectors<const M: usize, const N: usize>(
        _sums: &mut [[Self; N]; M],
        _a: *const f32,
        _k: usize,
        _weights: *const f32,
        _next: *const f32,
    ) -> usize {
        0
    }
}

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub(crate) use interleave::interleave;

/// Writes the first values of `M` rows, `stride` apart, as `[k, M]`, and says how many of the `k` values of each it took:
/// none, for want of instructions for it.
///
/// # Safety
/// None is asked for here; elsewhere rows are readable, and what is written to is writable.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
#[inline(always)]
pub(crate) unsafe fn interleave<const M: usize>(_: *const f32, _: usize, _: usize, _: *mut f32) -> usize {
    0
}

/// Work written over any [`Vector`].
pub(crate) trait Kernel {
    type Output;

    /// Implementations are `#[inline(always)]`, so that they become part of a function compiled for `V`.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// Runs `kernel` on the vectors of `isa`, or on plain ones if the CPU lacks it.
pub(crate) fn run_on<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if Avx512::new().is_some() => {
            #[target_feature(enable = "avx512f")]
            fn avx512<K: Kernel>(kernel: K) -> K::Output {
                begin_on_a_line();
                // SAFETY: this function is compiled for AVX512F, so its caller has seen to it.
                unsafe { kernel.run::<core::arch::x86_64::__m512>() }
            }
            // SAFETY: the condition of this arm.
            unsafe { avx512(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if Avx2::new().is_some() && has_fma_and_f16c() => {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<K: Kernel>(kernel: K) -> K::Output {
                begin_on_a_line();
                // SAFETY: this function is compiled for AVX2, FMA and F16C, so its caller has seen to it.
                unsafe { kernel.run::<core::arch::x86_64::__m256>() }
            }
            // SAFETY: the condition of this arm.
            unsafe { avx2(kernel) }
        }
        // Part of what nearly every aarch64 target is compiled for: no function of its own.
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        // SAFETY: as the condition says.
        Isa::Neon => unsafe { kernel.run::<core::arch::aarch64::float32x4_t>() },
        // SAFETY: plain arrays need no instruction set but the one compiled for.
        _ => unsafe { kernel.run::<Plain>() },
    }
}

/// What follows lies in cache lines alike in every program. Otherwise it depends on the code before it, which may be anyone's:
/// the trunk of one program took 1.05 of another's time on a Zen 3, by the same instructions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn begin_on_a_line() {
    // SAFETY: up to 63 bytes that do nothing.
    unsafe { core::arch::asm!(".p2align 6", options(nomem, nostack, preserves_flags)) };
}

/// A loop plain enough for the compiler to vectorise, written without [`Vector`].
pub(crate) trait Loop {
    /// Implementations are `#[inline(always)]`, as those of [`Kernel::run`].
    fn run(self);
}

/// Runs a loop as compiled for the fastest instruction set.
pub(crate) fn vectorized(work: impl Loop) {
    struct LoopKernel<L>(L);
    impl<L: Loop> Kernel for LoopKernel<L> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            self.0.run();
        }
    }
    if cfg!(target_arch = "aarch64") {
        // NEON is part of what is compiled for: a second version would be the same, and not inlined.
        return work.run();
    }
    run_on(Isa::detect(), LoopKernel(work));
}

/// Every AVX2 CPU so far multiplies and adds in one and widens f16, but these are separate promises.
#[cfg(target_arch = "x86_64")]
fn has_fma_and_f16c() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("f16c");
    #[cfg(not(feature = "std"))]
    return cfg!(all(target_feature = "fma", target_feature = "f16c"));
}

/// The vectors that [`run_on`] uses for an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    /// [`Vector::LANES`].
    pub(crate) lanes: usize,
    /// Lanes of [`Vector::PANEL`] vectors.
    pub(crate) panel: usize,
    /// [`Vector::STRIDED_ROWS`].
    pub(crate) strided_rows: usize,
    /// [`Vector::INTERLEAVED`].
    pub(crate) interleaved: bool,
}

impl Width {
    pub(crate) fn of(isa: Isa) -> Self {
        struct WidthOf;
        impl Kernel for WidthOf {
            type Output = Width;
            #[inline(always)]
            unsafe fn run<V: Vector>(self) -> Width {
                Width {
                    lanes: V::LANES,
                    panel: V::PANEL * V::LANES,
                    strided_rows: V::STRIDED_ROWS,
                    interleaved: V::INTERLEAVED,
                }
            }
        }
        run_on(isa, WidthOf)
    }
}
