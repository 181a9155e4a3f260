//! By how many grey levels the cells of two frames differ.
//!
//! The measure is the mean magnitude of the difference of two blocks of [`BLOCK`] x [`BLOCK`] pixels, over their pixels
//! and channels; of a cell, the largest of its blocks. A mean over few pixels tells what has moved from noise, whose mean
//! magnitude hardly varies, and is not thinned out by the still part of a cell that an object only touches. Of Gaussian
//! noise it finds an object of 1.5 standard deviations' contrast, flat or textured; means over whole cells miss objects
//! in their corners, and sums with their sign, which would find a flat object of 1 deviation, miss textured ones.

use frcnn_core::Frame;
use frcnn_files::{NoMemory, try_resize};

/// Pixels along a cell's side; at the right and lower border there may be fewer.
pub(crate) const CELL: usize = 8;
/// Pixels along the side of a block of a cell.
const BLOCK: usize = CELL / 2;

/// The differences of a row of cells, in buffers kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Of each byte of a row of pixels, the sum over a block's rows: at most 4 x 255.
    sums: Vec<u16>,
    /// By cell.
    cells: Vec<f32>,
}

impl Differences {
    /// Makes room for frames like this one.
    pub(super) fn reserve(&mut self, frame: &Frame) -> Result<(), NoMemory> {
        let width = frame.width() as usize;
        try_resize(&mut self.sums, width * frame.format().bytes(), 0)?;
        try_resize(&mut self.cells, width.div_ceil(CELL), 0.0)
    }

    /// Grey levels between the cells of the given row of two frames of one size and format, 0 to 255; none where all
    /// bytes are equal. The fourth byte of a pixel, which is no colour, makes no difference.
    pub(super) fn of_row(&mut self, old: &Frame, new: &Frame, row: usize) -> Option<&[f32]> {
        let height = new.height() as usize;
        let rows = |first: usize, count: usize| first..(first + count).min(height);
        let top = row * CELL;
        if rows(top, CELL).all(|y| old.row(y) == new.row(y)) {
            return None;
        }
        let bytes = new.format().bytes();
        let colours = bytes.min(3);
        self.cells.fill(0.0);
        for top in [top, top + BLOCK] {
            let rows = rows(top, BLOCK);
            self.sums.fill(0);
            for y in rows.clone() {
                for ((sum, &a), &b) in self.sums.iter_mut().zip(old.row(y)).zip(new.row(y)) {
                    *sum += u16::from(a.abs_diff(b));
                }
            }
            for (cell, sums) in self.cells.iter_mut().zip(self.sums.chunks(CELL * bytes)) {
                for block in sums.chunks(BLOCK * bytes) {
                    let sum = match colours == bytes {
                        // At most 16 x 3 x 255: below 2^16.
                        true => block.iter().sum::<u16>(),
                        false => block.chunks_exact(bytes).flat_map(|pixel| &pixel[..colours]).sum(),
                    };
                    let values = block.len() / bytes * colours * rows.len();
                    *cell = cell.max(f32::from(sum) / values as f32);
                }
            }
        }
        Some(&self.cells)
    }
}
