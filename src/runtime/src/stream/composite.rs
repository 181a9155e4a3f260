//! The pixels that were last accepted, cell by cell, and which cells a frame changes.

use frcnn_core::{Frame, PixelFormat};
use frcnn_files::{NoMemory, try_resize};

use super::difference::{CELL, Differences};
use super::noise::Noise;
use crate::Error;

/// Frames from one update of the noise to the next, when it is known.
const UPDATES: u32 = 16;

/// How far the pixels of a cell may differ from those that were last accepted.
///
/// The measure is the mean magnitude of the differences of the pixels' channels, in grey levels from 0 to 255, over each
/// quarter of the cell (4 x 4 pixels): the largest of the four.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Tolerance {
    /// What the noise of the camera makes differ, learned from its frames; 0 in the first eight of them. Frames that
    /// repeat bytes where nothing moves have no noise.
    #[default]
    Learned,
    /// As many grey levels. At 0 any byte makes a difference.
    Fixed(f32),
}

impl Tolerance {
    /// Whether it is a number of grey levels.
    ///
    /// # Errors
    /// It is negative or not finite.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Tolerance::Fixed(levels) if !(levels.is_finite() && levels >= 0.0) => {
                Err(Error::Options(format!("tolerance is {levels}; it must be 0 grey levels or more")))
            }
            _ => Ok(()),
        }
    }
}

/// The pixels of each cell that were last accepted.
#[derive(Debug, Default)]
pub(crate) struct Composite {
    pixels: Pixels,
    differences: Differences,
    changed: Changed,
    noise: Noise,
    /// The frame before, where the noise is updated next.
    previous: Pixels,
    /// Frames since the noise was known.
    frames: u32,
}

/// Which cells were accepted anew.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// By cell, row by row.
    cells: Vec<bool>,
    columns: usize,
    /// Whether nothing of the frame before is left: the first frame, or one of another size or format.
    pub(crate) scene: bool,
}

impl Changed {
    /// Rows of cells, from the top, of [`CELL`] pixels each.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[bool]> {
        self.cells.chunks(self.columns.max(1))
    }

    /// As many cells were accepted.
    pub(crate) fn count(&self) -> usize {
        self.cells.iter().filter(|&&cell| cell).count()
    }

    /// As many cells there are.
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }
}

impl Composite {
    /// Takes over the cells of `frame` that differ by more than the tolerance, whole.
    ///
    /// # Errors
    /// There is no memory for the frame. The next one is then like the first.
    pub(crate) fn accept(&mut self, frame: &Frame<'_>, tolerance: Tolerance) -> Result<&Changed, Error> {
        self.take(frame, tolerance).map_err(|error| {
            *self = Composite::default();
            Error::memory("the pixels of a stream")(error)
        })?;
        Ok(&self.changed)
    }

    /// The accepted pixels; none before the first frame.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.pixels.frame()
    }

    /// Grey levels that a cell may differ by in the next frame.
    pub(crate) fn tolerance(&self, tolerance: Tolerance) -> f32 {
        match tolerance {
            Tolerance::Learned => self.noise.level(),
            Tolerance::Fixed(levels) => levels,
        }
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.pixels.bytes.capacity() + self.previous.bytes.capacity() + self.changed.cells.capacity()
    }

    fn take(&mut self, frame: &Frame<'_>, tolerance: Tolerance) -> Result<(), NoMemory> {
        let columns = (frame.width() as usize).div_ceil(CELL);
        let cells = columns * (frame.height() as usize).div_ceil(CELL);
        if !self.pixels.is_like(frame) {
            *self = Composite::default();
            self.differences.reserve(frame)?;
            try_resize(&mut self.changed.cells, cells, true)?;
            self.changed.columns = columns;
            self.changed.scene = true;
            return self.pixels.copy(frame);
        }
        if tolerance == Tolerance::Learned {
            self.update_noise(frame, cells)?;
        }
        let levels = self.tolerance(tolerance);
        // The composite is the frame before as long as all that differs is accepted.
        let learning = tolerance == Tolerance::Learned && !self.noise.is_known();
        if learning {
            self.noise.reserve(cells)?;
        }
        self.changed.scene = false;
        for (row, accepted) in self.changed.cells.chunks_mut(columns).enumerate() {
            let old = self.pixels.frame();
            let differences = old.and_then(|old| self.differences.of_row(&old, frame, row));
            if learning {
                self.noise.add(columns, differences);
            }
            match differences {
                Some(differences) => {
                    for (accepted, &difference) in accepted.iter_mut().zip(differences) {
                        *accepted = difference > levels;
                    }
                    self.pixels.copy_cells(frame, row, accepted);
                }
                None => accepted.fill(false),
            }
        }
        if learning {
            self.noise.end_frame();
        }
        Ok(())
    }

    /// Every so many frames compares two that follow each other.
    fn update_noise(&mut self, frame: &Frame<'_>, cells: usize) -> Result<(), NoMemory> {
        if !self.noise.is_known() {
            return Ok(());
        }
        self.frames = self.frames.wrapping_add(1);
        match self.frames % UPDATES {
            0 => self.previous.copy(frame)?,
            1 if self.previous.is_like(frame) => {
                let columns = self.changed.columns;
                self.noise.reserve(cells)?;
                for row in 0..cells / columns {
                    let old = self.previous.frame();
                    let differences = old.and_then(|old| self.differences.of_row(&old, frame, row));
                    self.noise.add(columns, differences);
                }
                self.noise.end_frame();
            }
            _ => {}
        }
        Ok(())
    }
}

/// A frame's pixels, without bytes between the rows.
#[derive(Debug, Default)]
struct Pixels {
    bytes: Vec<u8>,
    /// Width, height and format; none before the first frame.
    shape: Option<(u32, u32, PixelFormat)>,
}

impl Pixels {
    fn is_like(&self, frame: &Frame<'_>) -> bool {
        self.shape == Some((frame.width(), frame.height(), frame.format()))
    }

    fn frame(&self) -> Option<Frame<'_>> {
        let (width, height, format) = self.shape?;
        Frame::new(&self.bytes, width, height, width as usize * format.bytes(), format).ok()
    }

    fn copy(&mut self, frame: &Frame<'_>) -> Result<(), NoMemory> {
        let row = frame.width() as usize * frame.format().bytes();
        try_resize(&mut self.bytes, row * frame.height() as usize, 0)?;
        for (y, pixels) in self.bytes.chunks_exact_mut(row).enumerate() {
            pixels.copy_from_slice(frame.row(y));
        }
        self.shape = Some((frame.width(), frame.height(), frame.format()));
        Ok(())
    }

    /// Copies the cells of a row of them that were accepted, runs of neighbours at once.
    fn copy_cells(&mut self, frame: &Frame<'_>, row: usize, accepted: &[bool]) {
        let pixel = frame.format().bytes();
        let bytes = frame.width() as usize * pixel;
        let rows = self.bytes.chunks_exact_mut(bytes).enumerate().skip(row * CELL).take(CELL);
        for (y, pixels) in rows {
            let source = frame.row(y);
            let mut start = 0;
            for run in accepted.chunk_by(|a, b| a == b) {
                let end = (start + run.len() * CELL * pixel).min(bytes);
                if run.first() == Some(&true) {
                    pixels[start..end].copy_from_slice(&source[start..end]);
                }
                start = end;
            }
        }
    }
}

#[cfg(test)]
mod tests;
