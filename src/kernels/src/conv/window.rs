//! A window of the map that a convolution makes, and what it reads for it.

#[cfg(test)]
pub(super) mod tests;

use core::ops::Range;

use super::ConvShape;

/// Some rows and columns of a convolution's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvWindow {
    /// Rows and columns of the output.
    pub outputs: [Range<usize>; 2],
    /// Rows and columns of the input that are read.
    pub inputs: [Range<usize>; 2],
    /// The layer on these: their height, width and padding.
    pub shape: ConvShape,
}

impl ConvWindow {
    /// Of a layer on a map of `shape` that computes squares of `side` outputs together: whole ones, as far as the map goes.
    pub(crate) fn of(shape: &ConvShape, side: usize, outputs: [Range<usize>; 2]) -> Option<Self> {
        let (height, width) = shape.output_size()?;
        let mut window = shape.window();
        if side > 1 {
            // Space to depth reads whole steps.
            for (kernel, stride) in window.kernel.iter_mut().zip(window.stride) {
                *kernel = kernel.checked_next_multiple_of(stride)?;
            }
        }
        let [rows, columns] = outputs;
        let axis = |axis, len, total, outputs: Range<usize>| {
            let start = outputs.start.min(total) / side * side;
            let end = outputs.end.checked_next_multiple_of(side).map_or(total, |end| end.min(total));
            let outputs = start..end.max(start);
            let mut seen = window.seen(axis, len, total, outputs.clone());
            seen.after = seen.after.min(shape.pads[axis + 2]);
            (outputs, seen)
        };
        let (rows, seen_rows) = axis(0, shape.height, height, rows);
        let (columns, seen_columns) = axis(1, shape.width, width, columns);
        let pads = [seen_rows.before, seen_columns.before, seen_rows.after, seen_columns.after];
        let (height, width) = (seen_rows.cells.len(), seen_columns.cells.len());
        Some(Self {
            outputs: [rows, columns],
            inputs: [seen_rows.cells, seen_columns.cells],
            shape: ConvShape { height, width, pads, ..shape.clone() },
        })
    }
}
