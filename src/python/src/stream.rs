//! The frames of one fixed camera.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frcnn::{Motion, Propose, Reuse, StreamOptions, Tolerance};
use serde::{Deserialize, Serialize};

use crate::call::{Array, Call, Reply};
use crate::detector::{Detector, Found, Look};
use crate::error::Failure;
use crate::held::{held, hold};
use crate::picture::{Image, rgb};
use crate::source::Source;

/// What is kept from frame to frame.
struct Stream {
    detector: Arc<Detector>,
    state: Mutex<State>,
}

struct State {
    stream: frcnn::Stream,
    /// It learns from frame to frame.
    motion: Motion,
}

#[derive(Deserialize)]
struct Open {
    detector: u64,
    tolerance: Option<f32>,
    reuse_mib: u32,
}

/// What a frame cost.
#[derive(Serialize)]
struct ReuseReply {
    cells: usize,
    cells_changed: usize,
    trunk_share: f64,
    rois: usize,
    rois_reused: usize,
    tolerance: f32,
    kept_bytes: u64,
}

/// Makes a stream of a detector.
pub(crate) fn stream(call: &Call) -> Result<Reply, Failure> {
    let Open { detector, tolerance, reuse_mib } = call.arguments()?;
    let detector = held::<Detector>(detector)?;
    let tolerance = tolerance.map_or(Tolerance::Learned, Tolerance::Fixed);
    let stream = detector.detector.stream(StreamOptions { tolerance, reuse_mib })?;
    let state = Mutex::new(State { stream, motion: Motion::new() });
    Reply::of(&hold(Stream { detector, state }))
}

/// Finds objects in the next frame, and tells what it cost.
pub(crate) fn detect(call: &Call) -> Result<Reply, Failure> {
    let Look { held: stream, image, boxes, proposals, max_proposals } = call.arguments()?;
    let (stream, boxes) = (held::<Stream>(stream)?, call.boxes(boxes)?);
    // Motion learns from frame to frame, and is the stream's own.
    let source = match (boxes, proposals.as_str()) {
        (None, "motion") => None,
        (None, "auto") if !stream.detector.detector.has_rpn() => None,
        (boxes, proposals) => Some(Source::of(boxes, proposals, &stream.detector.detector)?),
    };
    let (found, reuse) = stream.found(call, &image, source, max_proposals)?;
    found.reply(&ReuseReply {
        cells: reuse.cells,
        cells_changed: reuse.cells_changed,
        trunk_share: reuse.trunk_share,
        rois: reuse.rois,
        rois_reused: reuse.rois_reused,
        tolerance: reuse.tolerance,
        kept_bytes: reuse.kept_bytes,
    })
}

/// The pixels that were last accepted, their height and width; null before the first frame.
pub(crate) fn composite(call: &Call) -> Result<Reply, Failure> {
    let stream = held::<Stream>(call.arguments()?)?;
    let state = stream.state();
    match state.stream.composite().map(|frame| rgb(&frame)) {
        Some(pixels) => {
            Reply::new(&Some((pixels.height(), pixels.width())), vec![Array::U8(pixels.into_raw())])
        }
        None => Reply::of(&None::<(u32, u32)>),
    }
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in a picture among boxes of `source`, or around what moves where there is none.
    fn found(
        &self,
        call: &Call,
        image: &Image,
        source: Option<Source>,
        max_proposals: usize,
    ) -> Result<(Found, Reuse), Failure> {
        self.detector.check_process()?;
        let mut state = self.state();
        let State { stream, motion } = &mut *state;
        image.with_frame(call, |frame| {
            let (mut made_in, size) = (Duration::ZERO, (frame.width(), frame.height()));
            let mut detect_with = |by: &mut dyn Propose| {
                let (detections, made) = stream.detect_with(frame, by, max_proposals)?;
                made_in = made.elapsed;
                Ok::<_, Failure>((detections, (made.boxes.len(), made.method.to_string())))
            };
            let (detections, proposals) = match source {
                None => detect_with(motion)?,
                Some(Source::Made(mut by)) => detect_with(by.as_mut())?,
                Some(Source::Given(boxes)) => {
                    (stream.detect(frame, &boxes)?, (boxes.len(), "given".to_string()))
                }
                Some(Source::Learned) => {
                    let detections = stream.detect_frame(frame)?;
                    (detections, (stream.proposals().len(), "rpn".to_string()))
                }
            };
            let (not_finite, timings) = (stream.not_finite(), *stream.timings());
            Ok((Found { detections, size, proposals, made_in, not_finite, timings }, *stream.reuse()))
        })
    }
}
