//! Where the boxes to look at come from.

use frcnn::{BBox, Detector, Grid, Motion, Propose, SelectiveSearch};

use crate::error::{Failure, Kind};

/// Where the boxes of an image come from.
pub(crate) enum Source {
    /// The caller, in pixels of the image.
    Given(Vec<BBox>),
    /// The network's own RPN.
    Learned,
    /// The image, or what changes in it.
    Made(Box<dyn Propose>),
}

impl Source {
    /// Boxes where there are any, or what `proposals` names: `auto`, `rpn` or a method of [`made`].
    pub(crate) fn of(
        boxes: Option<Vec<BBox>>,
        proposals: &str,
        detector: &Detector,
    ) -> Result<Source, Failure> {
        match (boxes, proposals) {
            (Some(boxes), _) => Ok(Source::Given(boxes)),
            (None, "auto") if detector.has_rpn() => Ok(Source::Learned),
            (None, "auto") => made("selective-search", detector.threads()).map(Source::Made),
            (None, "rpn") if detector.has_rpn() => Ok(Source::Learned),
            (None, "rpn") => Err(Failure::new(
                Kind::Option,
                format_args!(
                    "the bundle is of a {}, which has no RPN (region proposal network): give boxes, or proposals of \
                     selective-search or grid",
                    detector.contents().method().name()
                ),
            )),
            (None, method) => made(method, detector.threads()).map(Source::Made),
        }
    }
}

/// What makes boxes by a method: `selective-search`, `motion` or `grid`.
pub(crate) fn made(method: &str, threads: usize) -> Result<Box<dyn Propose>, Failure> {
    match method {
        "selective-search" => Ok(Box::new(SelectiveSearch { threads, ..SelectiveSearch::default() })),
        "motion" => Ok(Box::new(Motion::new())),
        "grid" => Ok(Box::new(Grid)),
        _ => Err(Failure::new(
            Kind::Option,
            format_args!(
                "proposals of {method:?}: there are auto, rpn, selective-search, grid, and motion for streams"
            ),
        )),
    }
}
