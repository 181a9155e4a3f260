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

use core::ops::Range;

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
        let (rows, columns) = (self.axis(0, height), self.axis(1, width));
        Some((rows.output_len(self.ceil_mode)?, columns.output_len(self.ceil_mode)?))
    }

    /// What `outputs` of an axis, of which there are `total`, see of its input, which has `len` cells; axis 0 are the rows, 1
    /// the columns. Run on `cells` with so much padding before and after, and in ceil mode if it is, the layer gives these
    /// outputs and no others. The last outputs see all cells to the end, those that no window reaches, too.
    #[must_use]
    pub fn seen(&self, axis: usize, len: usize, total: usize, outputs: Range<usize>) -> Seen {
        let WindowAxis { kernel, stride, dilation, pads: [pad, pad_after], .. } = self.axis(axis, len);
        let extent = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        // Counted from the first cell of padding.
        let start = outputs.start.saturating_mul(stride);
        let mut end = (outputs.end.max(1) - 1).saturating_mul(stride).saturating_add(extent);
        if outputs.end >= total {
            end = end.max(pad.saturating_add(len).saturating_add(pad_after));
        }
        let cells = start.saturating_sub(pad).min(len)..end.saturating_sub(pad).min(len);
        // Of cells that lie wholly in the padding only those that are seen count.
        let before = pad.min(end).saturating_sub(start);
        let after = end.saturating_sub(start.max(pad.saturating_add(len)));
        Seen { cells, before, after }
    }

    /// The outputs of an axis that see any of `cells` of its input, of which there are `outputs` in all.
    #[must_use]
    pub fn seeing(&self, axis: usize, cells: Range<usize>, outputs: usize) -> Range<usize> {
        let WindowAxis { kernel, stride, dilation, pads: [pad, _], .. } = self.axis(axis, 0);
        let extent = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        if cells.is_empty() {
            return 0..0;
        }
        // The first whose last tap reaches the first cell, and the first that begins behind the last one.
        let reach = cells.start.saturating_add(pad).saturating_sub(extent - 1);
        let end = cells.end.saturating_add(pad).div_ceil(stride.max(1)).min(outputs);
        reach.div_ceil(stride.max(1)).min(end)..end
    }

    fn axis(&self, axis: usize, len: usize) -> WindowAxis {
        WindowAxis {
            len,
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            dilation: self.dilation[axis],
            pads: [self.pads[axis], self.pads[axis + 2]],
        }
    }
}

/// Cells of an axis of a map, and the cells of padding that are seen before and after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the map itself.
    pub cells: Range<usize>,
    /// Cells of padding before them.
    pub before: usize,
    /// Cells of padding behind them; in ceil mode also what the last window hangs over the layer's own padding.
    pub after: usize,
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
    extern crate std;
    use std::vec::Vec;

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

    /// By brute force: the layer on what is seen gives as many outputs, and an output sees a cell if its window has it.
    #[test]
    fn what_is_seen_gives_the_outputs() {
        for (kernel, stride, dilation) in
            [(1, 1, 1), (3, 1, 1), (3, 2, 1), (7, 2, 1), (2, 2, 1), (3, 1, 2), (2, 3, 1)]
        {
            for (before, after) in [(0, 0), (1, 1), (2, 0), (0, 1)] {
                for ceil_mode in [false, true] {
                    let pads = [before, before, after, after];
                    let window = |pads| Window {
                        kernel: [kernel; 2],
                        stride: [stride; 2],
                        dilation: [dilation; 2],
                        pads,
                        ceil_mode,
                    };
                    for len in 1..14 {
                        let Some((total, _)) = window(pads).output_size(len, len) else { continue };
                        for (start, end) in (0..total).flat_map(|s| (s + 1..=total).map(move |e| (s, e))) {
                            let seen = window(pads).seen(0, len, total, start..end);
                            let part = window([seen.before, 0, seen.after, 0]);
                            let given = part.axis(0, seen.cells.len()).output_len(ceil_mode);
                            assert_eq!(
                                given,
                                Some(end - start),
                                "{start}..{end} of {len}, {:?}",
                                window(pads)
                            );
                        }
                        for cell in 0..len {
                            let sees = |output: usize| {
                                let first = output * stride;
                                let last = first + (kernel - 1) * dilation;
                                (first..=last).contains(&(cell + before))
                            };
                            let seeing = window(pads).seeing(0, cell..cell + 1, total);
                            let expected: Vec<_> = (0..total).filter(|&output| sees(output)).collect();
                            assert_eq!(seeing.collect::<Vec<_>>(), expected, "{cell} of {len}");
                        }
                    }
                }
            }
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
