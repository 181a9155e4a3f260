//! Parts of an image, each resized to a square: what R-CNN's network reads.
//!
//! ```text
//!   window, whole pixels          square of S x S
//!   +- - - - - - -+               +-------------+
//!   |  outside    |               |    zeros    |       both axes scaled by their own S / length of the window,
//!   +-------------+ image  ->     +-------------+       the image's part rounded to whole pixels of the square
//!   |  inside     |               |  bilinear   |
//!   +-------------+               +-------------+
//! ```
//!
//! This is the published cropping, and the context around a box is a matter of the window: see `Roi::window`. Along an
//! axis of a window `first..=last` in an image of `len` pixels, whose part inside has `inside` of them and begins after
//! `before`:
//!
//! ```text
//! start = round(before * S / (last - first + 1))                       cells of zeros
//! cells = min(round(inside * S / (last - first + 1)), S - start)       then zeros again
//! cell i mixes the two pixels around (i + 1/2) inside / cells - 1/2, and never one outside the window
//! ```
//!
//! Zero is the mean of a blob whose means were subtracted. There is no antialiasing.

use alloc::vec::Vec;

use frcnn_core::{LinearTap, Roi, ShapeError};

use crate::{FeatureMap, len_of, tasks};

/// Resizes the `R` windows of `image`, `[H, W, C]`, to squares of `side` pixels in `out`, `[R, side, side, C]`.
///
/// Windows are in pixels of the image, corners inclusive, and may reach beyond it; [`Roi::level`] is not looked at.
///
/// ```
/// use frcnn_core::Roi;
/// use frcnn_kernels::{FeatureMap, warp_into};
/// // A row of 2 pixels. The window is 4 x 2 of them: a column outside on each side, a row below.
/// let image = FeatureMap::new(&[1.0, 3.0], 1, 2, 1)?;
/// let window = Roi { level: 0, x1: -1, y1: 0, x2: 2, y2: 1 };
/// let mut square = [9.0; 16];
/// warp_into(image, &[window], 4, 1, &mut square)?;
/// assert_eq!(square[..8], [0.0, 1.0, 3.0, 0.0, 0.0, 1.0, 3.0, 0.0]);
/// assert_eq!(square[8..], [0.0; 8]);
/// # Ok::<(), frcnn_kernels::ShapeError>(())
/// ```
///
/// # Errors
/// `out` does not hold `R * side * side * C` values.
pub fn warp_into(
    image: FeatureMap<'_>,
    windows: &[Roi],
    side: usize,
    threads: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let square = len_of(&[side, side, image.channels()]);
    ShapeError::check("out", len_of(&[windows.len(), square]), out.len())?;
    let mut warpers: Vec<Warper> = (0..tasks::task_count(threads)).map(|_| Warper::default()).collect();
    tasks::for_each_chunk(&mut warpers, out, square, |warper, i, out| {
        if let Some(window) = windows.get(i) {
            warper.run(image, window, side, out);
        }
    });
    Ok(())
}

/// The cells of one axis that show the image: from `start` on, one for each tap.
#[derive(Default)]
struct Axis {
    start: usize,
    taps: Vec<LinearTap>,
}

impl Axis {
    fn set(&mut self, first: i32, last: i32, len: usize, side: usize) {
        self.taps.clear();
        let (first, last) = (i64::from(first), i64::from(last));
        let (low, high) = (first.max(0), last.min(len as i64 - 1));
        if low > high {
            return;
        }
        let (window, inside) = ((last - first + 1) as f64, (high - low + 1) as f64);
        let scale = side as f64 / window;
        self.start = (libm::round((low - first) as f64 * scale) as usize).min(side);
        let cells = (libm::round(inside * scale) as usize).min(side - self.start);
        let pixel = |offset: usize| low as usize + offset;
        self.taps.extend((0..cells).map(|i| {
            let tap = LinearTap::at((i as f64 + 0.5) * inside / cells as f64 - 0.5, inside as usize);
            LinearTap { low: pixel(tap.low), high: pixel(tap.high), ..tap }
        }));
    }
}

/// Buffers of one task.
#[derive(Default)]
struct Warper {
    rows: Axis,
    columns: Axis,
    /// Two rows of the image, resized, and which they are.
    resized: [Vec<f32>; 2],
    sources: [Option<usize>; 2],
}

impl Warper {
    fn run(&mut self, image: FeatureMap<'_>, window: &Roi, side: usize, out: &mut [f32]) {
        self.rows.set(window.y1, window.y2, image.height(), side);
        self.columns.set(window.x1, window.x2, image.width(), side);
        out.fill(0.0);
        self.sources = [None; 2];
        let channels = image.channels();
        let (begin, len) = (self.columns.start * channels, self.columns.taps.len() * channels);
        let rows = out.chunks_exact_mut((side * channels).max(1)).skip(self.rows.start);
        for (out, tap) in rows.zip(&self.rows.taps) {
            // Going down, the lower of the two rows becomes the upper one.
            if self.sources[1] == Some(tap.low) {
                self.sources.swap(0, 1);
                self.resized.swap(0, 1);
            }
            for (i, row) in [tap.low, tap.high].into_iter().enumerate() {
                if self.sources[i] != Some(row) {
                    self.sources[i] = Some(row);
                    resize_row(image, row, &self.columns.taps, &mut self.resized[i]);
                }
            }
            let [low, high] = &self.resized;
            for ((out, low), high) in out[begin..][..len].iter_mut().zip(low).zip(high) {
                *out = tap.mix(*low, *high);
            }
        }
    }
}

fn resize_row(image: FeatureMap<'_>, row: usize, taps: &[LinearTap], out: &mut Vec<f32>) {
    let channels = image.channels();
    let row = &image.data()[row * image.width() * channels..][..image.width() * channels];
    out.clear();
    for tap in taps {
        let (low, high) = (&row[tap.low * channels..][..channels], &row[tap.high * channels..][..channels]);
        out.extend(low.iter().zip(high).map(|(&low, &high)| tap.mix(low, high)));
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::test_random::Random;

    fn roi(x1: i32, y1: i32, x2: i32, y2: i32) -> Roi {
        Roi { level: 0, x1, y1, x2, y2 }
    }

    fn warp(image: FeatureMap<'_>, windows: &[Roi], side: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; windows.len() * side * side * image.channels()];
        warp_into(image, windows, side, 1, &mut out).unwrap();
        out
    }

    /// The module's formulas, value by value, in f64.
    fn reference(image: FeatureMap<'_>, window: &Roi, side: usize) -> Vec<f64> {
        let axis = |first: i32, last: i32, len: usize, cell: usize| {
            let (low, high) = (first.max(0), last.min(len as i32 - 1));
            if low > high {
                return None;
            }
            let scale = side as f64 / f64::from(last - first + 1);
            let inside = f64::from(high - low + 1);
            let start = libm::round(f64::from(low - first) * scale) as usize;
            let cells = (libm::round(inside * scale) as usize).min(side - start);
            if !(start..start + cells).contains(&cell) {
                return None;
            }
            let at = ((cell - start) as f64 + 0.5) * inside / cells as f64 - 0.5;
            let at = at.clamp(0.0, inside - 1.0);
            let next = (at as usize + 1).min(inside as usize - 1);
            Some((low as usize + at as usize, low as usize + next, at - at.floor()))
        };
        let mut out = vec![];
        for y in 0..side {
            for x in 0..side {
                let places = axis(window.y1, window.y2, image.height(), y).zip(axis(
                    window.x1,
                    window.x2,
                    image.width(),
                    x,
                ));
                for c in 0..image.channels() {
                    let pixel = |y: usize, x: usize| {
                        f64::from(image.data()[(y * image.width() + x) * image.channels() + c])
                    };
                    out.push(places.map_or(0.0, |((top, bottom, v), (left, right, h))| {
                        let row = |y| pixel(y, left) * (1.0 - h) + pixel(y, right) * h;
                        row(top) * (1.0 - v) + row(bottom) * v
                    }));
                }
            }
        }
        out
    }

    /// 4 pixels to 8: each weight is a quarter or three, and the ends repeat the window's edge, not its neighbours.
    #[test]
    fn enlarging_by_hand() {
        let image = FeatureMap::new(&[100.0, 0.0, 4.0, 8.0, 12.0, 100.0], 1, 6, 1).unwrap();
        let square = warp(image, &[roi(1, 0, 4, 0)], 8);
        let row = [0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 12.0];
        assert!(square.chunks_exact(8).all(|r| r == row), "{square:?}");
    }

    /// 6 pixels to 2: centres at 1 and 4, no mean over the others.
    #[test]
    fn shrinking_takes_single_pixels() {
        let image = FeatureMap::new(&[9.0, 1.0, 9.0, 9.0, 2.0, 9.0], 1, 6, 1).unwrap();
        assert_eq!(warp(image, &[roi(0, 0, 5, 0)], 2), [1.0, 2.0, 1.0, 2.0]);
    }

    /// A window of 10 pixels, 3 of them before the image: 0.3 x 16 = 4.8 cells are zero, hence 5.
    #[test]
    fn what_is_outside_is_zero() {
        let image = FeatureMap::new(&[7.0; 40], 2, 20, 1).unwrap();
        let square = warp(image, &[roi(-3, -1, 6, 2)], 16);
        for (y, row) in square.chunks_exact(16).enumerate() {
            let shown = (4..12).contains(&y);
            let expected = [vec![0.0; 5], vec![if shown { 7.0 } else { 0.0 }; 11]].concat();
            // The two shares of a pixel add up to one only in exact arithmetic.
            assert!(frcnn_core::largest_difference(row, &expected) < 1e-6, "row {y}: {row:?}");
            assert!(row.iter().zip(&expected).all(|(found, expected)| (*found == 0.0) == (*expected == 0.0)));
        }
        for window in [roi(20, 0, 30, 1), roi(-9, 0, -1, 1), roi(0, 2, 5, 9), roi(5, 0, 3, 1)] {
            assert_eq!(warp(image, &[window], 3), [0.0; 9], "{window:?}");
        }
    }

    #[test]
    fn equals_the_definition() {
        let mut random = Random::new(1);
        let (height, width, channels) = (23, 31, 3);
        let data = random.values(height * width * channels);
        let image = FeatureMap::new(&data, height, width, channels).unwrap();
        let mut coordinate =
            |low: f32, high: f32| ((random.values(1)[0] + 1.0) / 2.0 * (high - low) + low) as i32;
        let windows: Vec<Roi> = (0..60)
            .map(|_| {
                let (x, y) = (coordinate(-12.0, 34.0), coordinate(-12.0, 26.0));
                roi(x, y, x + coordinate(0.0, 40.0), y + coordinate(0.0, 30.0))
            })
            .collect();
        for side in [1, 7, 32] {
            let found = warp(image, &windows, side);
            for threads in [2, 5] {
                let mut out = vec![f32::NAN; found.len()];
                warp_into(image, &windows, side, threads, &mut out).unwrap();
                assert_eq!(out, found);
            }
            for (window, found) in windows.iter().zip(found.chunks_exact(side * side * channels)) {
                for (found, expected) in found.iter().zip(reference(image, window, side)) {
                    // Values below 1: six products and sums, each rounded by at most 2^-24.
                    assert!((f64::from(*found) - expected).abs() < 5e-7, "{window:?} to {side}");
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let image = FeatureMap::new(&[0.0; 6], 1, 2, 3).unwrap();
        let error = warp_into(image, &[roi(0, 0, 1, 0)], 2, 1, &mut [0.0; 11]).unwrap_err();
        assert_eq!(error, ShapeError { what: "out", expected: 12, found: 11 });
        let (min, max) = (i32::MIN, i32::MAX);
        warp(image, &[roi(min, min, max, max), roi(max, max, min, min)], 2);
        assert!(
            warp(FeatureMap::new(&[], 0, 5, 3).unwrap(), &[roi(0, 0, 1, 1)], 2).iter().all(|&v| v == 0.0)
        );
    }
}
