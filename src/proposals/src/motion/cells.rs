//! A frame as few means of many pixels: less to look at, and less noise.

use frcnn_core::Frame;

/// Cells along either side of the frame at most.
const MAX_CELLS: u32 = 320;

/// Means of squares of pixels.
#[derive(Debug, Default)]
pub(super) struct CellMeans {
    /// Pixels along a cell's side; at the right and lower border there may be fewer.
    pub(super) side: usize,
    /// Cells in a row.
    pub(super) columns: usize,
    /// Blue, green, red by cell, row by row, 0..=255.
    pub(super) colours: Vec<[f32; 3]>,
    /// Sums of a row of cells' columns of bytes.
    sums: Vec<u16>,
}

impl CellMeans {
    /// Takes the means of a frame.
    pub(super) fn look_at(&mut self, frame: &Frame) {
        self.side = frame.width().max(frame.height()).div_ceil(MAX_CELLS) as usize;
        self.columns = (frame.width() as usize).div_ceil(self.side);
        let bytes = frame.format().bytes();
        let offsets = frame.format().bgr_offsets();
        self.colours.clear();
        let height = frame.height() as usize;
        for top in (0..height).step_by(self.side) {
            let rows = top..(top + self.side).min(height);
            self.sums.clear();
            self.sums.resize(frame.width() as usize * bytes, 0);
            for y in rows.clone() {
                // At most 103 rows of 255: below 2^16.
                for (sum, &value) in self.sums.iter_mut().zip(frame.row(y)) {
                    *sum += u16::from(value);
                }
            }
            self.colours.extend(self.sums.chunks(self.side * bytes).map(|cell| {
                let mut sum = [0u32; 3];
                for pixel in cell.chunks_exact(bytes) {
                    for (sum, &offset) in sum.iter_mut().zip(&offsets) {
                        *sum += u32::from(pixel[offset]);
                    }
                }
                let share = 1.0 / (cell.len() / bytes * rows.len()) as f32;
                sum.map(|sum| sum as f32 * share)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frcnn_core::PixelFormat;

    #[test]
    fn means_by_hand() {
        let mut cells = CellMeans::default();
        let data = [0, 10, 20, 30, 40, 50];
        cells.look_at(&Frame::new(&data, 3, 2, 3, PixelFormat::Gray8).unwrap());
        assert_eq!((cells.side, cells.columns), (1, 3));
        assert_eq!(cells.colours[4], [40.0; 3]);

        // 321 pixels are more than 320: cells of 2, the last of 1.
        let row: Vec<u8> = (0..321).map(|x| (x % 200) as u8).collect();
        let data = [row.clone(), row.iter().map(|v| v + 2).collect()].concat();
        cells.look_at(&Frame::new(&data, 321, 2, 321, PixelFormat::Gray8).unwrap());
        assert_eq!((cells.side, cells.columns, cells.colours.len()), (2, 161, 161));
        assert_eq!(cells.colours[1], [3.5; 3]);
        assert_eq!(cells.colours[160], [121.0; 3]);
    }

    #[test]
    fn colours_keep_their_order() {
        let mut cells = CellMeans::default();
        cells.look_at(&Frame::new(&[1, 2, 3, 9], 1, 1, 4, PixelFormat::Rgba8).unwrap());
        assert_eq!(cells.colours, [[3.0, 2.0, 1.0]]);
    }

    #[test]
    fn the_largest_frame_does_not_overflow() {
        let mut cells = CellMeans::default();
        let data = vec![255; Frame::MAX_SIDE as usize];
        cells.look_at(&Frame::new(&data, 1, Frame::MAX_SIDE, 1, PixelFormat::Gray8).unwrap());
        // A sum times a rounded reciprocal.
        assert!(cells.colours.iter().flatten().all(|v| (v - 255.0).abs() < 1e-3));
    }
}
