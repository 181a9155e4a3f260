//! A detector that Python's threads share.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use frcnn::{Bundle, Detections, Manifest, Options, Session, Timings, Tuning};
use serde::{Deserialize, Serialize};

use crate::call::{Array, Call, Reply, array_of_boxes};
use crate::error::{Failure, Kind};
use crate::held::{held, hold};
use crate::picture::{Image, rgb};
use crate::pool::pool;
use crate::source::Source;

/// A bundle that is ready to run.
pub(crate) struct Detector {
    pub(crate) detector: frcnn::Detector,
    /// Of the bundle.
    pub(crate) path: PathBuf,
    /// Those that no thread works with.
    idle: Mutex<Vec<Session>>,
    /// Whose threads work on images: a process that is forked off has none of them.
    process: u32,
}

#[derive(Deserialize)]
struct Open {
    path: PathBuf,
    threads: Option<usize>,
    score_threshold: Option<f32>,
    nms_iou: Option<f32>,
    max_detections: Option<usize>,
    memory: Option<u64>,
}

#[derive(Serialize)]
struct Opened<'a> {
    held: u64,
    threads: usize,
    has_rpn: bool,
    method: &'a str,
    manifest: &'a Manifest,
    provenance: Vec<(String, String)>,
}

/// Opens a bundle.
pub(crate) fn open(call: &Call) -> Result<Reply, Failure> {
    let Open { path, threads, score_threshold, nms_iou, max_detections, memory } = call.arguments()?;
    let options = Options { threads, score_threshold, nms_iou, max_detections, memory, ..Options::default() };
    let opened = Detector::open(path, options)?;
    let detector = opened.detector.clone();
    Reply::of(&Opened {
        held: hold(opened),
        threads: detector.threads(),
        has_rpn: detector.has_rpn(),
        method: detector.contents().method().name(),
        manifest: detector.manifest(),
        provenance: frcnn_harness::Provenance::of_detector("", &detector).facts,
    })
}

/// An image, and what is to be looked at in it.
#[derive(Deserialize)]
pub(crate) struct Look {
    /// A detector, or a stream.
    pub(crate) held: u64,
    pub(crate) image: Image,
    /// Which array.
    pub(crate) boxes: Option<usize>,
    pub(crate) proposals: String,
    pub(crate) max_proposals: usize,
    /// When a stream's frame was captured, in seconds.
    pub(crate) time: Option<f64>,
}

/// What was found in an image.
pub(crate) struct Found {
    pub(crate) detections: Detections,
    /// Width and height of the image.
    pub(crate) size: (u32, u32),
    /// How many boxes were looked at, and where they come from.
    pub(crate) proposals: (usize, String),
    /// How long making them took, before the detection.
    pub(crate) made_in: Duration,
    pub(crate) not_finite: usize,
    pub(crate) timings: Timings,
}

#[derive(Serialize)]
struct FoundReply<'a> {
    size: (u32, u32),
    proposals: &'a (usize, String),
    not_finite: usize,
    timing_ms: TimingMs,
}

/// As `frcnn detect --json` has it.
#[derive(Serialize)]
struct TimingMs {
    proposals: f64,
    preprocess: f64,
    trunk: f64,
    rpn: f64,
    roi_pool: f64,
    head: f64,
    postprocess: f64,
}

impl Found {
    /// With boxes, scores and labels as arrays.
    pub(crate) fn reply(&self, more: &impl Serialize) -> Result<Reply, Failure> {
        let Found { detections, size, proposals, made_in, not_finite, timings } = self;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let timing_ms = TimingMs {
            proposals: ms(*made_in + timings.proposals),
            preprocess: ms(timings.preprocess),
            trunk: ms(timings.trunk),
            rpn: ms(timings.rpn),
            roi_pool: ms(timings.roi_pool),
            head: ms(timings.head),
            postprocess: ms(timings.postprocess),
        };
        let arrays = vec![
            array_of_boxes(detections.iter().map(|found| &found.bbox)),
            Array::F32(detections.iter().map(|found| found.score).collect()),
            Array::I64(detections.iter().map(|found| i64::from(found.class_id)).collect()),
        ];
        let reply = FoundReply { size: *size, proposals, not_finite: *not_finite, timing_ms };
        Reply::new(&(reply, more), arrays)
    }
}

/// Finds objects.
pub(crate) fn detect(call: &Call) -> Result<Reply, Failure> {
    let Look { held: detector, image, boxes, proposals, max_proposals, time: _ } = call.arguments()?;
    let detector = held::<Detector>(detector)?;
    let source = Source::of(call.boxes(boxes)?, &proposals, &detector.detector)?;
    detector.found(call, &image, source, max_proposals)?.reply(&())
}

/// Every stage's tensor: names and shapes, and metadata.
pub(crate) fn stages(call: &Call) -> Result<Reply, Failure> {
    let Look { held: detector, image, boxes, proposals, max_proposals, time: _ } = call.arguments()?;
    let detector = held::<Detector>(detector)?;
    let source = Source::of(call.boxes(boxes)?, &proposals, &detector.detector)?;
    detector.check_process()?;
    let mut stages = image.with_frame(call, |frame| {
        let boxes = match source {
            Source::Given(boxes) => Some(boxes),
            Source::Learned => None,
            Source::Made(mut by) => {
                let pool = pool("threads", detector.detector.threads())?;
                Some(pool.install(|| by.propose(frame, max_proposals)).boxes)
            }
        };
        Ok(frcnn_harness::stages(&detector.detector, &rgb(frame), boxes.as_deref())?)
    })?;
    stages.metadata.insert("image".to_string(), image.name());
    let (mut names, mut arrays) = (Vec::new(), Vec::new());
    for (name, tensor) in stages.tensors {
        names.push((name, tensor.shape));
        arrays.push(Array::F32(tensor.data));
    }
    Reply::new(&(names, stages.metadata), arrays)
}

impl Detector {
    fn open(path: PathBuf, options: Options) -> Result<Detector, Failure> {
        // A file that is no tuning is nothing to fail for: `frcnn` tells of it.
        let options = Options { tuning: Tuning::beside(&path).unwrap_or_default(), ..options };
        let bundle = Bundle::open(&path).map_err(|error| not_opened(&path, error))?;
        let detector = frcnn::Detector::new(bundle, &options).map_err(|error| match error {
            // The option is named, and `option:` says nothing more.
            frcnn::Error::Options(problem) => Failure::file(Kind::Option, &path, problem),
            other => Failure::from(other).of(&path),
        })?;
        Ok(Detector { detector, path, idle: Mutex::default(), process: std::process::id() })
    }

    /// The runtime's threads do not live on in a process that is forked off: it would wait for them for ever.
    pub(crate) fn check_process(&self) -> Result<(), Failure> {
        if self.detector.threads() == 1 || self.process == std::process::id() {
            return Ok(());
        }
        let problem = "this detector's threads are those of the process that was forked: open it in the new process, with \
                       threads=1, or start processes by spawn";
        Err(Failure::new(Kind::Option, problem))
    }

    fn found(
        &self,
        call: &Call,
        image: &Image,
        source: Source,
        max_proposals: usize,
    ) -> Result<Found, Failure> {
        self.check_process()?;
        image.with_frame(call, |frame| {
            let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = idle().pop();
            let mut session = taken.unwrap_or_else(|| self.detector.session());
            let mut made_in = Duration::ZERO;
            let found = match source {
                Source::Given(boxes) => {
                    session.detect(frame, &boxes).map(|found| (found, (boxes.len(), "given".to_string())))
                }
                Source::Learned => session
                    .detect_frame(frame)
                    .map(|found| (found, (session.proposals().len(), "rpn".to_string()))),
                Source::Made(mut by) => {
                    session.detect_with(frame, by.as_mut(), max_proposals).map(|(found, made)| {
                        made_in = made.elapsed;
                        (found, (made.boxes.len(), made.method.to_string()))
                    })
                }
            };
            let (not_finite, timings) = (session.not_finite(), *session.timings());
            idle().push(session);
            let (detections, proposals) = found?;
            let size = (frame.width(), frame.height());
            Ok(Found { detections, size, proposals, made_in, not_finite, timings })
        })
    }
}

/// The path is named once, whatever the error names.
fn not_opened(path: &Path, error: frcnn_bundle::Error) -> Failure {
    match error {
        frcnn_bundle::Error::Io { error, .. } => Failure::file(Kind::Bundle, path, error),
        frcnn_bundle::Error::TooShort(_) | frcnn_bundle::Error::Magic => {
            let problem = format!("{error}; `frcnn compile` makes one from an ONNX file");
            Failure::file(Kind::Bundle, path, problem)
        }
        damaged => Failure::file(Kind::Bundle, path, damaged),
    }
}
