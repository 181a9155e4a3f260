//! Four lanes in an array: what the compiler makes of them for the instruction set it was told.

use frcnn_core::{bf16_to_f32, f16_to_f32};

use super::Vector;

#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let ([a, b, c, d], [e, g, h, i]) = (self.0, other.0);
        Self([f(a, e), f(b, g), f(c, h), f(d, i)])
    }
}

// SAFETY: an array of four.
unsafe impl Vector for Plain {
    const LANES: usize = 4;
    const PANEL: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four values are readable, says the caller, and an array of f32 is aligned as one is.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u16) -> Self {
        // SAFETY: four values are readable, says the caller, and an array of u16 is aligned as one is.
        Self(unsafe { from.cast::<[u16; 4]>().read() }.map(f16_to_f32))
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { from.cast::<[u16; 4]>().read() }.map(bf16_to_f32))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: four values are writable, says the caller, and an array of f32 is aligned as one is.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        self.zip(factor, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Not `f32::mul_add`: without the instruction that is a call into libm.
        self.zip(factor, |a, b| a * b).zip(addend, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn max(self, value: Self) -> Self {
        self.zip(value, |max, v| if v > max { v } else { max })
    }

    #[inline(always)]
    unsafe fn min(self, value: Self) -> Self {
        self.zip(value, |min, v| if v < min { v } else { min })
    }

    #[inline(always)]
    unsafe fn positive(self) -> Self {
        self.zip(self, |v, _| if v < 0.0 { 0.0 } else { v })
    }
}
