//! The frames of one fixed camera.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frcnn::{Frame, Motion, Proposals, Propose, Reuse, StreamOptions, Tolerance};
use serde::{Deserialize, Serialize};

use crate::call::{Array, Call, Reply};
use crate::detector::{Detector, Found, Look};
use crate::error::{Failure, Kind};
use crate::held::{held, hold};
use crate::picture::rgb;
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

/// Motion in frames of which it is known when they were captured.
struct At<'a> {
    time: Duration,
    motion: &'a mut Motion,
}

impl Propose for At<'_> {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        self.motion.propose_at(frame, self.time, max)
    }
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
    let look: Look = call.arguments()?;
    let (stream, boxes) = (held::<Stream>(look.held)?, call.boxes(look.boxes)?);
    let time = look.time.map(Duration::try_from_secs_f64).transpose();
    let time = time.map_err(|error| Failure::new(Kind::Option, format_args!("time: {error}")))?;
    // Motion learns from frame to frame, and is the stream's own.
    let source = match (boxes, look.proposals.as_str()) {
        (None, "motion") => None,
        (None, "auto") if !stream.detector.detector.has_rpn() => None,
        (boxes, proposals) => Some(Source::of(boxes, proposals, &stream.detector.detector)?),
    };
    let (found, reuse) = stream.found(call, &look, source, time)?;
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
        look: &Look,
        source: Option<Source>,
        time: Option<Duration>,
    ) -> Result<(Found, Reuse), Failure> {
        self.detector.check_process()?;
        let mut state = self.state();
        let State { stream, motion } = &mut *state;
        look.image.with_frame(call, |frame| {
            let (mut made_in, size) = (Duration::ZERO, (frame.width(), frame.height()));
            let mut detect_with = |by: &mut dyn Propose| {
                let (detections, made) = stream.detect_with(frame, by, look.max_proposals)?;
                made_in = made.elapsed;
                Ok::<_, Failure>((detections, (made.boxes.len(), made.method.to_string())))
            };
            let (detections, proposals) = match source {
                None => match time {
                    Some(time) => detect_with(&mut At { time, motion })?,
                    None => detect_with(motion)?,
                },
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
