//! Boxes around what moves in front of a fixed camera.
//!
//! ```text
//! frame ──cells──► means of small squares ──background──► foreground mask ──regions──► boxes ──around──► proposals
//!                                               │ ▲
//!                                               └─┘ every frame moves the background a little
//! ```

mod around;
mod background;
mod cells;
mod regions;

use std::time::Instant;

use frcnn_core::{BBox, Frame};

use crate::{Notice, ProposalMethod, Proposals, Propose};
use background::Background;
use cells::CellMeans;
use regions::Finder;

/// Boxes around what moves in front of a fixed camera, from frames in the order in which they were taken.
///
/// The frame is looked at in cells, squares of as many pixels as make at most 320 of them a side. Each keeps a running
/// mean and spread of its colour; it is foreground where the colour departs from the mean by several times the spread.
/// Groups of such cells give boxes, in a few sizes and shapes each.
///
/// - The light may change slowly, and all over the view at once even quickly: what all cells have in common is no motion.
/// - When most of the view changes otherwise (a moved camera, another scene), the background is learned anew and
///   [`Notice::SceneChanged`] says so. So does [`Notice::Learning`] in the frames after that and in the first ones; there
///   are no boxes then.
/// - What stops becomes background after about 200 frames, and so does the place that something has left.
///
/// A frame of another size starts over.
#[derive(Debug, Default)]
pub struct Motion {
    cells: CellMeans,
    background: Background,
    finder: Finder,
    /// Of the last frame.
    size: (u32, u32),
}

impl Motion {
    /// Has seen nothing yet.
    pub fn new() -> Motion {
        Motion::default()
    }
}

impl Propose for Motion {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        let start = Instant::now();
        if self.size != (frame.width(), frame.height()) {
            self.size = (frame.width(), frame.height());
            self.background = Background::default();
        }
        self.cells.look_at(frame);
        let notice = self.background.compare(&self.cells.colours);
        let boxes = match notice {
            Some(Notice::Learning | Notice::SceneChanged) => Vec::new(),
            None => self.boxes(max),
        };
        Proposals { boxes, method: ProposalMethod::Motion, elapsed: start.elapsed(), notice }
    }
}

impl Motion {
    fn boxes(&mut self, max: usize) -> Vec<BBox> {
        let regions = self.finder.find(&self.background.foreground, self.cells.columns);
        let (width, height) = self.size;
        let to_frame = |[x1, y1, x2, y2]: [usize; 4]| {
            let pixel = |cell: usize| (cell * self.cells.side) as f32;
            BBox::new(pixel(x1), pixel(y1), pixel(x2 + 1) - 1.0, pixel(y2 + 1) - 1.0).clip(width, height)
        };
        let regions: Vec<BBox> = regions.iter().map(|region| to_frame(region.cells)).collect();
        around::boxes(&regions, width, height, max)
    }
}
