//! Max and average pooling of feature maps, as ONNX `MaxPool` and `AveragePool` define them.
//!
//! ```text
//! extent = (kernel - 1) * dilation + 1
//! out    = floor_or_ceil((in + pad_begin + pad_end - extent) / stride) + 1
//! ```
//!
//! In ceil mode (Caffe's, and an option elsewhere) the last window may hang over the end of the padded input, but one
//! that would start in the padding after the input is dropped: `if (out - 1) * stride >= in + pad_begin { out -= 1 }`.

use core::ops::Range;

use frcnn_core::ShapeError;

use crate::{
    Isa, len_of,
    simd::{Kernel, Loop, Vector, run_on, vectorized},
    tasks::for_each_chunk_stateless,
    window::{start, taps_inside},
};

/// A pooling layer on one size of input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images `N`.
    pub batch: usize,
    /// Input rows `H`.
    pub height: usize,
    /// Input columns `W`.
    pub width: usize,
    /// Channels `C`.
    pub channels: usize,
    /// Window, rows then columns.
    pub kernel: [usize; 2],
    /// Input cells from one window to the next, rows then columns.
    pub stride: [usize; 2],
    /// Input cells from one tap of a window to the next, rows then columns; usually 1.
    pub dilation: [usize; 2],
    /// Cells of padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Round the output size up instead of down.
    pub ceil_mode: bool,
}

impl PoolShape {
    /// Output rows and columns; `None` when the window is empty, larger than the padded input, or moves by 0.
    #[must_use]
    pub fn output_size(&self) -> Option<(usize, usize)> {
        self.window().output_size(self.height, self.width)
    }

    /// The window that slides over the map.
    #[must_use]
    pub fn window(&self) -> frcnn_core::Window {
        let Self { kernel, stride, dilation, pads, ceil_mode, .. } = *self;
        frcnn_core::Window { kernel, stride, dilation, pads, ceil_mode }
    }

    /// Checks both lengths and gives the output size.
    fn check(&self, input: &[f32], out: &[f32]) -> Result<(usize, usize), ShapeError> {
        let Some((height, width)) = self.output_size() else {
            return Err(ShapeError { what: "windows that fit the padded input", expected: 1, found: 0 });
        };
        let input_len = len_of(&[self.batch, self.height, self.width, self.channels]);
        ShapeError::check("input", input_len, input.len())?;
        ShapeError::check("out", len_of(&[self.batch, height, width, self.channels]), out.len())?;
        Ok((height, width))
    }
}

/// Max pooling of `input`, `[N, H, W, C]`, into `out`, `[N, Ho, Wo, C]`.
///
/// NaN is skipped. A window that lies in the padding altogether gives negative infinity.
///
/// # Errors
/// A slice does not have the length of its shape, or [`PoolShape::output_size`] is `None`.
pub fn max_pool_into(
    shape: &PoolShape,
    input: &[f32],
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    // Not left to the compiler, which would store maxima by masks: that takes AMD's CPUs with AVX2 some twenty times as long as
    // plain stores.
    struct Max<'a>(OutputRow<'a>);
    impl Kernel for Max<'_> {
        type Output = ();
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            let OutputRow { shape, image, y, out } = self.0;
            for (x, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                let window = Window::new(shape, image, [y, x]);
                // SAFETY: the caller's promise.
                let done = unsafe {
                    let done = window.write_maxima::<V, 4>(0, out);
                    window.write_maxima::<V, 1>(done, out)
                };
                for (channel, out) in out.iter_mut().enumerate().skip(done) {
                    let mut max = f32::NEG_INFINITY;
                    window.for_each_cell(|cell| max = if cell[channel] > max { cell[channel] } else { max });
                    *out = max;
                }
            }
        }
    }
    for_each_row(shape, input, threads, out, |row| run_on(Isa::detect(), Max(row)))
}

/// Average pooling of `input`, `[N, H, W, C]`, into `out`, `[N, Ho, Wo, C]`.
///
/// A window's sum is divided by the number of its taps that fall on the input, or with `count_include_pad` on the
/// padded input: never those that ceil mode hangs over its end. A window without any gives 0.
///
/// # Errors
/// A slice does not have the length of its shape, or [`PoolShape::output_size`] is `None`.
pub fn average_pool_into(
    shape: &PoolShape,
    input: &[f32],
    count_include_pad: bool,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    struct Average<'a>(OutputRow<'a>, bool);
    impl Loop for Average<'_> {
        #[inline(always)]
        fn run(self) {
            let OutputRow { shape, image, y, out } = self.0;
            for (x, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                let window = Window::new(shape, image, [y, x]);
                out.fill(0.0);
                window.for_each_cell(|cell| out.iter_mut().zip(cell).for_each(|(sum, v)| *sum += v));
                let [rows, columns] = &window.taps;
                let count = if self.1 {
                    rows.inside_padded * columns.inside_padded
                } else {
                    rows.inside.len() * columns.inside.len()
                };
                let count = count.max(1) as f32;
                out.iter_mut().for_each(|sum| *sum /= count);
            }
        }
    }
    for_each_row(shape, input, threads, out, |row| vectorized(Average(row, count_include_pad)))
}

/// Checks the shapes, then calls `work` for each row of the output.
fn for_each_row(
    shape: &PoolShape,
    input: &[f32],
    threads: usize,
    out: &mut [f32],
    work: impl Fn(OutputRow<'_>) + Sync,
) -> Result<(), ShapeError> {
    let (height, width) = shape.check(input, out)?;
    if out.is_empty() {
        return Ok(());
    }
    let image_len = shape.height * shape.width * shape.channels;
    for_each_chunk_stateless(threads, out, width * shape.channels, |i, out| {
        let image = &input[i / height * image_len..][..image_len];
        work(OutputRow { shape, image, y: i % height, out });
    });
    Ok(())
}

/// One row of the output, and the image it comes from.
struct OutputRow<'a> {
    shape: &'a PoolShape,
    image: &'a [f32],
    y: usize,
    out: &'a mut [f32],
}

/// One window of an image.
struct Window<'a> {
    shape: &'a PoolShape,
    image: &'a [f32],
    taps: [Taps; 2],
}

impl<'a> Window<'a> {
    /// Of the cell in row `y` and column `x` of the output.
    #[inline(always)]
    fn new(shape: &'a PoolShape, image: &'a [f32], [y, x]: [usize; 2]) -> Self {
        Self {
            shape,
            image,
            taps: [Taps::new(shape, 0, shape.height, y), Taps::new(shape, 1, shape.width, x)],
        }
    }

    /// Calls `visit` with the channels of each cell of the image in the window, row by row.
    #[inline(always)]
    fn for_each_cell(&self, mut visit: impl FnMut(&[f32])) {
        let [rows, columns] = &self.taps;
        let channels = self.shape.channels;
        for y in rows.cells(self.shape.dilation[0]) {
            for x in columns.cells(self.shape.dilation[1]) {
                visit(&self.image[(y * self.shape.width + x) * channels..][..channels]);
            }
        }
    }

    /// Writes the maxima of as many channels from `first` on as make blocks of `N` vectors, and gives the channel behind them.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`.
    #[inline(always)]
    unsafe fn write_maxima<V: Vector, const N: usize>(&self, first: usize, out: &mut [f32]) -> usize {
        let [rows, columns] = &self.taps;
        let (block, mut channel) = (N * V::LANES, first);
        for out in out[first..].chunks_exact_mut(block) {
            // SAFETY: the caller's promise; `out` and the channels of a cell that are read have `block` values.
            unsafe {
                let mut maxima = [V::splat(f32::NEG_INFINITY); N];
                for y in rows.cells(self.shape.dilation[0]) {
                    for x in columns.cells(self.shape.dilation[1]) {
                        let cell = (y * self.shape.width + x) * self.shape.channels;
                        let values = &self.image[cell + channel..][..block];
                        for (i, max) in maxima.iter_mut().enumerate() {
                            *max = max.max(V::load(values[i * V::LANES..].as_ptr()));
                        }
                    }
                }
                for (i, max) in maxima.into_iter().enumerate() {
                    max.store(out[i * V::LANES..].as_mut_ptr());
                }
            }
            channel += block;
        }
        channel
    }
}

/// One axis of a window.
struct Taps {
    start: isize,
    inside: Range<usize>,
    inside_padded: usize,
}

impl Taps {
    #[inline(always)]
    fn new(shape: &PoolShape, axis: usize, len: usize, position: usize) -> Self {
        let (kernel, dilation, begin) = (shape.kernel[axis], shape.dilation[axis], shape.pads[axis]);
        let start = start(position, shape.stride[axis], begin);
        let padded = len + begin + shape.pads[axis + 2];
        Self {
            start,
            inside: taps_inside(start, kernel, dilation, len),
            inside_padded: taps_inside(start + begin as isize, kernel, dilation, padded).len(),
        }
    }

    #[inline(always)]
    fn cells(&self, dilation: usize) -> impl Iterator<Item = usize> {
        self.inside.clone().map(move |tap| self.start.wrapping_add_unsigned(tap * dilation) as usize)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// One row of an image, a window of `kernel` cells.
    fn row(width: usize, kernel: usize, stride: usize, pads: [usize; 2], ceil_mode: bool) -> PoolShape {
        PoolShape {
            batch: 1,
            height: 1,
            width,
            channels: 1,
            kernel: [1, kernel],
            stride: [1, stride],
            dilation: [1, 1],
            pads: [0, pads[0], 0, pads[1]],
            ceil_mode,
        }
    }

    fn max(shape: &PoolShape, input: &[f32]) -> Vec<f32> {
        let (h, w) = shape.output_size().unwrap();
        let mut out = vec![f32::NAN; shape.batch * h * w * shape.channels];
        max_pool_into(shape, input, 1, &mut out).unwrap();
        out
    }

    fn average(shape: &PoolShape, input: &[f32], count_include_pad: bool) -> Vec<f32> {
        let (h, w) = shape.output_size().unwrap();
        let mut out = vec![f32::NAN; shape.batch * h * w * shape.channels];
        average_pool_into(shape, input, count_include_pad, 1, &mut out).unwrap();
        out
    }

    #[test]
    fn output_sizes() {
        let width = |shape: PoolShape| shape.output_size().map(|(_, w)| w);
        // VGG16's 2/2, and Caffe's 3/2 on 112: floor 55, ceil 56.
        assert_eq!(width(row(600, 2, 2, [0, 0], false)), Some(300));
        assert_eq!(width(row(112, 3, 2, [0, 0], false)), Some(55));
        assert_eq!(width(row(112, 3, 2, [0, 0], true)), Some(56));
        // Ceil would put a third window at cell 4 of 1 + 3 + 1: in the end padding, so it is dropped.
        assert_eq!(width(row(3, 2, 2, [1, 1], true)), Some(2));
        assert_eq!(width(row(4, 2, 2, [1, 1], true)), Some(3));
        assert_eq!(width(row(2, 1, 4, [0, 0], true)), Some(1));
        assert_eq!(width(PoolShape { dilation: [1, 3], ..row(7, 3, 1, [0, 0], false) }), Some(1));
        assert_eq!(width(row(2, 3, 1, [0, 0], true)), None);
        assert_eq!(width(row(9, 3, 0, [0, 0], true)), None);
        assert_eq!(width(row(9, 3, 0, [0, 0], false)), None);
        assert_eq!(width(row(9, 0, 1, [0, 0], false)), None);
        assert_eq!(width(row(9, 3, usize::MAX, [0, 0], true)), Some(1));
        assert_eq!(width(row(9, 3, 1, [usize::MAX, 0], true)), None);
    }

    #[test]
    fn max_by_hand() {
        assert_eq!(max(&row(5, 3, 2, [0, 0], false), &[1.0, -2.0, -3.0, -4.0, -5.0]), [1.0, -3.0]);
        assert_eq!(max(&row(4, 3, 2, [0, 0], true), &[1.0, -2.0, -3.0, -4.0]), [1.0, -3.0]);
        // Padding is not a zero: negative values survive it.
        assert_eq!(max(&row(2, 3, 1, [1, 1], false), &[-1.0, -2.0]), [-1.0, -1.0]);
        assert_eq!(max(&row(3, 2, 1, [0, 0], false), &[f32::NAN, 1.0, f32::NAN]), [1.0, 1.0]);
        // Taps at cells -1 and 1 of a single cell.
        let outside = PoolShape { dilation: [1, 2], ..row(1, 2, 1, [1, 1], false) };
        assert_eq!(max(&outside, &[5.0]), [f32::NEG_INFINITY]);
        assert_eq!(average(&outside, &[5.0], false), [0.0]);
    }

    #[test]
    fn average_divisors_by_hand() {
        // 1 + 4 + 1 cells, windows of 3 at 0, 2 and, hanging over by one, 4.
        let shape = row(4, 3, 2, [1, 1], true);
        let input = [6.0, 12.0, 18.0, 24.0];
        assert_eq!(average(&shape, &input, false), [18.0 / 2.0, 54.0 / 3.0, 24.0]);
        assert_eq!(average(&shape, &input, true), [18.0 / 3.0, 54.0 / 3.0, 24.0 / 2.0]);
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let shape = row(4, 2, 2, [0, 0], false);
        let error = max_pool_into(&shape, &[0.0; 5], 1, &mut [0.0; 2]).unwrap_err();
        assert_eq!(error, ShapeError { what: "input", expected: 4, found: 5 });
        let error = average_pool_into(&shape, &[0.0; 4], true, 1, &mut [0.0; 3]).unwrap_err();
        assert_eq!(error, ShapeError { what: "out", expected: 2, found: 3 });
        let none = row(4, 5, 1, [0, 0], false);
        assert!(max_pool_into(&none, &[0.0; 4], 1, &mut []).is_err());
    }

    /// Visits the whole window, padding and overhang included, and asks of each tap where it is.
    fn pool_reference(shape: &PoolShape, input: &[f32], count_include_pad: bool) -> (Vec<f32>, Vec<f64>) {
        let (ho, wo) = shape.output_size().unwrap();
        let [top, left, bottom, right] = shape.pads.map(|p| p as isize);
        let (h, w) = (shape.height as isize, shape.width as isize);
        let (mut maxima, mut averages) = (vec![], vec![]);
        for (n, oy, ox) in
            (0..shape.batch).flat_map(|n| (0..ho).flat_map(move |y| (0..wo).map(move |x| (n, y, x))))
        {
            for c in 0..shape.channels {
                let (mut max, mut sum, mut count) = (f32::NEG_INFINITY, 0.0, 0);
                for ty in 0..shape.kernel[0] {
                    for tx in 0..shape.kernel[1] {
                        let y = (oy * shape.stride[0] + ty * shape.dilation[0]) as isize - top;
                        let x = (ox * shape.stride[1] + tx * shape.dilation[1]) as isize - left;
                        let inside = (0..h).contains(&y) && (0..w).contains(&x);
                        if inside {
                            let cell = (n as isize * h + y) * w + x;
                            let value = input[cell as usize * shape.channels + c];
                            max = max.max(value);
                            sum += f64::from(value);
                        }
                        let padded = (-top..h + bottom).contains(&y) && (-left..w + right).contains(&x);
                        count += i32::from(if count_include_pad { padded } else { inside });
                    }
                }
                maxima.push(max);
                averages.push(sum / f64::from(count.max(1)));
            }
        }
        (maxima, averages)
    }

    prop_compose! {
        fn any_shape()(
            (batch, height, width, channels) in (1usize..3, 1usize..12, 1usize..12, 1usize..20),
            kernel in (1usize..5, 1usize..5), stride in (1usize..4, 1usize..4), dilation in (1usize..3, 1usize..3),
            pads in prop::array::uniform4(0usize..3), ceil_mode in any::<bool>(),
        ) -> PoolShape {
            let pair = |(a, b): (usize, usize)| [a, b];
            PoolShape {
                batch, height, width, channels, pads, ceil_mode,
                kernel: pair(kernel), stride: pair(stride), dilation: pair(dilation),
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(shape in any_shape(), seed in any::<u32>(), include_pad in any::<bool>()) {
            prop_assume!(shape.output_size().is_some());
            let len = shape.batch * shape.height * shape.width * shape.channels;
            let input = crate::test_random::Random::new(seed).values(len);
            let (maxima, averages) = pool_reference(&shape, &input, include_pad);
            prop_assert_eq!(max(&shape, &input), &maxima[..]);
            let found = average(&shape, &input, include_pad);
            prop_assert_eq!(found.len(), averages.len());
            for (found, exact) in found.iter().zip(&averages) {
                // At most 16 values below 1 are added: 16 roundings of a sum below 16, over a count of at least 1.
                prop_assert!((f64::from(*found) - exact).abs() <= 2e-5, "{} for {}", found, exact);
            }
            let (mut threaded_max, mut threaded_average) = (vec![f32::NAN; found.len()], vec![f32::NAN; found.len()]);
            max_pool_into(&shape, &input, 3, &mut threaded_max).unwrap();
            average_pool_into(&shape, &input, include_pad, 3, &mut threaded_average).unwrap();
            prop_assert_eq!(threaded_max, maxima);
            prop_assert_eq!(threaded_average, found);
        }
    }
}
