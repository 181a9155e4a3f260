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

use std::time::{Duration, Instant};

use frcnn_core::{BBox, Frame};

use crate::{Notice, ProposalMethod, Proposals, Propose};
use background::{Background, Times};
use cells::CellMeans;
use regions::Finder;

/// Frames are so far apart where nobody says when they were captured.
const UNTIMED: Duration = Duration::from_millis(40);
/// What was not looked at for longer is nobody's to learn: a frame after a gap counts as one after so long.
const LONGEST: Duration = Duration::from_secs(1);
/// Time constants that what has stopped takes until it is background, whatever its colour: ln 3. Its departure has fallen to a third by
/// then, and [`SPREADS`](background) times the spread, an eighth of what it has lost so far, has risen to that.
const UNTIL_ABSORBED: f32 = 1.1;
/// The shortest time constant, in seconds.
const SHORTEST: f32 = 1e-3;

/// How soon a [`Motion`] takes what it sees for background. Times are of capture, so no choice depends on the rate of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionOptions {
    /// Time constant of the background where nothing moves, by which it follows the light: 6 s. A frame counts for an eighth at
    /// most, so that it is longer where frames are more than a tenth of it apart.
    pub follows: Duration,
    /// What stops is background after about so long, and so is the place that something has left: 50 s. What passes slowly leaves a
    /// trail of what it covered for more than a twentieth of that, which is taken for a part of it.
    pub absorbs: Duration,
}

impl Default for MotionOptions {
    fn default() -> MotionOptions {
        MotionOptions { follows: Duration::from_secs(6), absorbs: Duration::from_secs(50) }
    }
}

impl MotionOptions {
    fn times(self) -> Times {
        Times {
            background: self.follows.as_secs_f32().max(SHORTEST),
            foreground: (self.absorbs.as_secs_f32() / UNTIL_ABSORBED).max(SHORTEST),
        }
    }
}

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
/// - What stops becomes background in a time that [`MotionOptions`] says, and so does the place that something has left.
///
/// Frames are as far apart as [`Propose::propose_at`] says, by at most a second; those of [`Propose::propose`] by 40 ms. A frame of
/// another size starts over.
#[derive(Debug, Default)]
pub struct Motion {
    options: MotionOptions,
    /// When the last frame was captured, if that was said.
    captured: Option<Duration>,
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

    /// The same with other times.
    #[must_use]
    pub fn with(options: MotionOptions) -> Motion {
        Motion { options, ..Motion::default() }
    }

    /// The times from the next frame on; what was learned stays.
    pub fn set_options(&mut self, options: MotionOptions) {
        self.options = options;
    }
}

impl Propose for Motion {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        self.captured = None;
        self.look(frame, UNTIMED, max)
    }

    fn propose_at(&mut self, frame: &Frame, time: Duration, max: usize) -> Proposals {
        let passed = self.captured.map_or(UNTIMED, |last| time.saturating_sub(last).min(LONGEST));
        self.captured = Some(time);
        self.look(frame, passed, max)
    }
}

impl Motion {
    fn look(&mut self, frame: &Frame, passed: Duration, max: usize) -> Proposals {
        let start = Instant::now();
        if self.size != (frame.width(), frame.height()) {
            self.size = (frame.width(), frame.height());
            self.background = Background::default();
        }
        self.cells.look_at(frame);
        let notice = self.background.compare(&self.cells.colours, passed.as_secs_f32(), self.options.times());
        let boxes = match notice {
            Some(Notice::Learning | Notice::SceneChanged) => Vec::new(),
            None => self.boxes(max),
        };
        Proposals { boxes, method: ProposalMethod::Motion, elapsed: start.elapsed(), notice }
    }

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
