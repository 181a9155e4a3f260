//! How many outputs a sliding window gives: the size rule of convolution and pooling.
//!
//! ```
//! use frcnn_core::Window;
//! // SqueezeNet's pool1 on 237 columns, and CaffeNet's pool1 on 150, in Caffe's ceil mode.
//! let pool = Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pads: [0; 4], ceil_mode: true };
//! assert_eq!(pool.output_size(237, 237), Some((118, 118)));
//! let padded = Window { pads: [1; 4], ..pool };
//! assert_eq!(padded.output_size(150, 150), Some((76, 76)));
//! assert_eq!(Window { ceil_mode: false, ..padded }.output_size(150, 150), Some((75, 75)));
//! ```

/// A window that slides over the rows and columns of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps, of rows then of columns.
    pub kernel: [usize; 2],
    /// Input cells from one window to the next, rows then columns.
    pub stride: [usize; 2],
    /// Input cells from one tap to the next, rows then columns.
    pub dilation: [usize; 2],
    /// Cells of padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Whether a last, partial window counts: the size is rounded up instead of down.
    pub ceil_mode: bool,
}

impl Window {
    /// Output rows and columns; `None` when the window is empty, larger than the padded input, or moves by 0.
    ///
    /// In ceil mode a last, partial window counts, but only if it starts inside the input or the padding before
    /// it: the rule of Caffe and PyTorch.
    #[must_use]
    pub fn output_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let axis = |axis: usize, len: usize| WindowAxis {
            len,
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            pads: [self.pads[axis], self.pads[axis + 2]],
        };
        let (rows, columns) = (axis(0, height), axis(1, width));
        Some((rows.output_len(self.ceil_mode)?, columns.output_len(self.ceil_mode)?))
    }
}

/// One axis of it.
#[derive(Clone, Copy, Debug)]
struct WindowAxis {
    len: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Before and after the input.
    pads: [usize; 2],
}

impl WindowAxis {
    fn output_len(&self, ceil_mode: bool) -> Option<usize> {
        let room = self.padded_len()?.checked_sub(self.extent()?)?;
        if !ceil_mode {
            return Some(room.checked_div(self.stride)? + 1);
        }
        let steps = room.checked_next_multiple_of(self.stride)? / self.stride;
        let starts_behind_the_input = steps.saturating_mul(self.stride) >= self.len + self.pads[0];
        Some(steps + 1 - usize::from(starts_behind_the_input))
    }

    /// Input cells with the padding; `None` when that exceeds `isize::MAX`.
    fn padded_len(&self) -> Option<usize> {
        let padded = self.len.checked_add(self.pads[0])?.checked_add(self.pads[1])?;
        isize::try_from(padded).is_ok().then_some(padded)
    }

    /// Cells from the first tap to the last; `None` for a kernel or dilation of 0.
    fn extent(&self) -> Option<usize> {
        if self.dilation == 0 {
            return None;
        }
        self.kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures by hand, and as PyTorch gives them.
    #[test]
    fn floor_and_ceil() {
        for ((kernel, stride, pad), len, floor, ceil) in [
            ((3, 2, 0), 237, 118, 118),
            ((3, 2, 0), 118, 58, 59),
            ((3, 2, 1), 151, 76, 76),
            ((3, 2, 1), 150, 75, 76),
            ((2, 2, 0), 75, 37, 38),
            // Ceil would add a window that starts in the trailing padding: it does not count.
            ((2, 2, 1), 3, 2, 2),
            ((1, 2, 0), 4, 2, 2),
        ] {
            let axis = WindowAxis { len, kernel, stride, dilation: 1, pads: [pad; 2] };
            assert_eq!(
                (axis.output_len(false), axis.output_len(true)),
                (Some(floor), Some(ceil)),
                "{axis:?}"
            );
        }
    }

    #[test]
    fn windows_that_do_not_fit() {
        let axis = WindowAxis { len: 5, kernel: 3, stride: 1, dilation: 2, pads: [0, 0] };
        assert_eq!(axis.output_len(false), Some(1));
        for wrong in [
            WindowAxis { dilation: 3, ..axis },
            WindowAxis { kernel: 0, ..axis },
            WindowAxis { dilation: 0, ..axis },
            WindowAxis { stride: 0, ..axis },
            WindowAxis { len: usize::MAX, pads: [1, 0], ..axis },
            WindowAxis { kernel: usize::MAX, ..axis },
        ] {
            assert_eq!((wrong.output_len(false), wrong.output_len(true)), (None, None), "{wrong:?}");
        }
    }
}
