//! The product of some rows and a layer's panels.

use core::{mem::MaybeUninit, ops::Range};

use super::{
    panels::Panels,
    tile::{MAX_PANEL, MAX_ROWS, Operands, Tile},
};
use crate::aligned::AlignedVec;

/// What follows the sums of a layer.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

/// Rows, the part of `K` that they have, and where their sums go.
pub(super) struct Product<'a> {
    pub(super) panels: &'a Panels,
    /// The first of `K` that the rows have, and how many.
    pub(super) first_k: usize,
    pub(super) k: usize,
    /// Whether it is the first part of `K`. Otherwise what is in the output is sums, as `i32`.
    pub(super) first: bool,
    /// If it is the last part of `K`.
    pub(super) end: Option<End<'a>>,
    /// Row `i` of the sums is at `out + i * out_stride`.
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

impl Product<'_> {
    /// Multiplies `m` rows, `stride` values apart, with some panels. `room` is kept between calls.
    ///
    /// # Safety
    /// The CPU has the instructions of `T`, for which the panels were made. `rows` has `k` values of each row, `out` all
    /// channels of each; the channels of these panels are the caller's alone.
    #[inline(always)]
    pub(super) unsafe fn run<T: Tile>(
        &self,
        rows: *const T::Value,
        stride: usize,
        m: usize,
        panels: Range<usize>,
        room: &mut AlignedVec<u8>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            if m < T::MANY_ROWS {
                self.multiply::<T>(rows, stride, m, panels, room);
            } else {
                self.multiply::<T::OfManyRows>(rows, stride, m, panels, room);
            }
        }
    }

    /// # Safety
    /// As [`Product::run`].
    #[inline(always)]
    unsafe fn multiply<T: Tile>(
        &self,
        rows: *const T::Value,
        stride: usize,
        m: usize,
        panels: Range<usize>,
        room: &mut AlignedVec<u8>,
    ) {
        assert!(self.first_k + self.k <= self.panels.k && self.k.is_multiple_of(T::STEP));
        assert!(panels.end <= self.panels.count());
        let mut sums = [const { MaybeUninit::<Sums>::uninit() }; MAX_ROWS];
        sums[..T::ROWS].fill(MaybeUninit::new(Sums([0; MAX_PANEL])));
        let sums = sums.as_mut_ptr().cast::<i32>();
        // SAFETY: the caller's promise.
        let tile = unsafe { T::new() };
        for index in panels {
            let panel = Panel::new(self, index);
            // SAFETY: the caller's promise.
            let weights = unsafe { T::weights(&panel.weights[..self.k * panel.width], room) };
            for (first, count) in tiles(m, T::ROWS) {
                // SAFETY: the caller's promises; the panel has `k` values of each channel from `first_k` on.
                unsafe {
                    let out = self.out.add(first * self.out_stride + panel.first);
                    let width = panel.width;
                    for i in 0..count {
                        let sums = core::slice::from_raw_parts_mut(sums.add(i * T::PANEL), width);
                        self.start(&panel, out.add(i * self.out_stride).cast(), sums);
                    }
                    let rows = rows.add(first * stride);
                    tile.multiply(count, Operands { rows, stride, k: self.k, panel: weights, width, sums });
                    for i in 0..count {
                        let sums = core::slice::from_raw_parts(sums.add(i * T::PANEL), panel.channels);
                        self.finish(&panel, sums, out.add(i * self.out_stride));
                    }
                }
            }
        }
    }

    /// # Safety
    /// `out` has the panel's channels.
    #[inline(always)]
    unsafe fn start(&self, panel: &Panel<'_>, out: *const i32, sums: &mut [i32]) {
        if self.first {
            copy(panel.starts, sums);
        } else {
            // SAFETY: the caller's promise; an f32 has room for an i32.
            copy(unsafe { core::slice::from_raw_parts(out, panel.channels) }, sums);
        }
    }

    /// # Safety
    /// `out` has the panel's channels, which are the caller's alone.
    #[inline(always)]
    unsafe fn finish(&self, panel: &Panel<'_>, sums: &[i32], out: *mut f32) {
        match self.end {
            None => {
                // SAFETY: the caller's promise; an f32 has room for an i32.
                copy(sums, unsafe { core::slice::from_raw_parts_mut(out.cast::<i32>(), sums.len()) });
            }
            Some(End { relu, .. }) => {
                // SAFETY: the caller's promise.
                let out = unsafe { core::slice::from_raw_parts_mut(out, sums.len()) };
                if relu {
                    panel.finish(sums, out, |value| if value < 0.0 { 0.0 } else { value });
                } else {
                    panel.finish(sums, out, |value| value);
                }
            }
        }
    }
}

/// Sums that are taken together. Channels mostly come in multiples of it: a loop of known length needs no others beside it.
const AT_ONCE: usize = 16;

/// Copies sums to the first of `to`.
#[inline(always)]
fn copy(from: &[i32], to: &mut [i32]) {
    let (from, from_rest) = from.as_chunks::<AT_ONCE>();
    let to = &mut to[..from.len() * AT_ONCE + from_rest.len()];
    let (to, to_rest) = to.as_chunks_mut::<AT_ONCE>();
    from.iter().zip(to).for_each(|(from, to)| *to = *from);
    from_rest.iter().zip(to_rest).for_each(|(from, to)| *to = *from);
}

/// A row of sums in a cache line's company.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([i32; MAX_PANEL]);

/// A panel's weights from the first of `K` on, and what belongs to its channels.
struct Panel<'a> {
    /// First channel, how many there are, and with those that fill the last vector.
    first: usize,
    channels: usize,
    width: usize,
    weights: &'a [i8],
    starts: &'a [i32],
    factors: &'a [f32],
    bias: [f32; MAX_PANEL],
}

impl<'a> Panel<'a> {
    fn new(product: &Product<'a>, index: usize) -> Self {
        let panels = product.panels;
        let (first, width) = (index * panels.layout.panel, panels.width(index));
        let channels = width.min(panels.out_channels - first);
        // Adding -0 changes no bit of anything.
        let mut bias = [-0.0; MAX_PANEL];
        if let Some(values) = product.end.and_then(|end| end.bias) {
            bias[..channels].copy_from_slice(&values[first..][..channels]);
        }
        let factors = &panels.factors[first..][..channels];
        let (weights, starts) = (panels.panel(index, product.first_k), &panels.starts[first..][..width]);
        Self { first, channels, width, weights, starts, factors, bias }
    }

    /// What becomes of sums, each through `activation`.
    #[inline(always)]
    fn finish(&self, sums: &[i32], out: &mut [f32], activation: impl Fn(f32) -> f32) {
        let value = |sum: i32, factor: f32, bias: f32| activation(sum as f32 * factor + bias);
        let (sums, sums_rest) = sums.as_chunks::<AT_ONCE>();
        let (out, out_rest) = out.as_chunks_mut::<AT_ONCE>();
        let (factors, factors_rest) = self.factors.as_chunks::<AT_ONCE>();
        let (bias, bias_rest) = self.bias[..self.channels].as_chunks::<AT_ONCE>();
        for (((out, sums), factors), bias) in out.iter_mut().zip(sums).zip(factors).zip(bias) {
            *out = core::array::from_fn(|i| value(sums[i], factors[i], bias[i]));
        }
        let rest = out_rest.iter_mut().zip(sums_rest).zip(factors_rest).zip(bias_rest);
        rest.for_each(|(((out, &sum), &factor), &bias)| *out = value(sum, factor, bias));
    }
}

/// The first row and the rows of each tile of `m` rows: at most `most`, as even as can be.
fn tiles(m: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = m.div_ceil(most).max(1);
    (0..count)
        .map(move |i| (i * m / count, (i + 1) * m / count - i * m / count))
        .filter(|(_, rows)| *rows > 0)
}
